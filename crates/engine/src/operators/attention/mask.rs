//! Masks of attention: which keys a query may look at, or what is added to its scores.

use crate::{
    operators::{OperatorError, arguments::unfit, cast::as_doubles, number::Real},
    tensor::{Tensor, strides},
};

/// A mask, broadcast over the batch, the heads, the queries and the keys.
pub(crate) struct Mask<T> {
    /// The values to add: minus infinity where a key may not be looked at.
    added: Vec<T>,
    /// Steps of the batch, the heads, the queries, the keys.
    steps: [usize; 4],
    /// Keys beyond this many may not be looked at.
    keys: usize,
}

impl<T: Real> Mask<T> {
    /// A mask of truths, true for keys that count, or of numbers that are added. Its last
    /// dimension may be shorter than there are keys.
    pub(crate) fn new(tensor: &Tensor, sizes: [usize; 4]) -> Result<Self, OperatorError> {
        let shape = tensor.shape();
        if shape.len() > 4 {
            return unfit(format!("a mask of the shape {shape:?} has more than 4 dimensions"));
        }
        let mut padded = vec![1; 4 - shape.len()];
        padded.extend(shape);
        let own = strides(&padded);
        let mut steps = [0; 4];
        for axis in 0..4 {
            if padded[axis] != 1 {
                let fits = padded[axis] == sizes[axis] || (axis == 3 && padded[axis] < sizes[axis]);
                if !fits {
                    return unfit(format!("a mask of the shape {shape:?} does not broadcast to {sizes:?}"));
                }
                steps[axis] = own[axis];
            }
        }
        let added = match tensor.values::<bool>() {
            Some(truths) => truths.iter().map(|truth| if *truth { T::ZERO } else { T::LOWEST }).collect(),
            None => as_doubles(tensor)?.into_iter().map(T::from_f64).collect(),
        };
        let keys = if padded[3] == 1 { sizes[3] } else { padded[3] };
        Ok(Self { added, steps, keys })
    }

    /// Whether each of the batch, each head and each query has numbers of its own.
    pub(crate) fn differs(&self) -> [bool; 3] {
        [self.steps[0] > 0, self.steps[1] > 0, self.steps[2] > 0]
    }

    /// Adds the mask to a row of scores.
    pub(crate) fn add(&self, batch: usize, head: usize, query: usize, scores: &mut [T]) {
        let start = batch * self.steps[0] + head * self.steps[1] + query * self.steps[2];
        for (key, score) in scores.iter_mut().enumerate() {
            if key < self.keys {
                *score += self.added[start + key * self.steps[3]];
            } else {
                *score = T::LOWEST;
            }
        }
    }
}

/// Takes keys before `from` and from `to` on out of a row of scores.
pub(crate) fn limit<T: Real>(scores: &mut [T], from: i64, to: i64) {
    let end = scores.len();
    let place = |key: i64| usize::try_from(key.max(0)).map_or(end, |key| key.min(end));
    let (from, to) = (place(from), place(to));
    scores[..from].fill(T::LOWEST);
    scores[to.max(from)..].fill(T::LOWEST);
}
