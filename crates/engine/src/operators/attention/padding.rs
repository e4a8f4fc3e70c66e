//! Masks of com.microsoft's attention, which say which keys are padding.

use crate::{
    operators::{OperatorError, arguments::unfit, number::Real},
    tensor::Tensor,
};

/// Which keys are padding.
#[derive(Debug)]
pub(super) enum Padding {
    /// For each of the batch, the first key that counts and the first that does not.
    Ranges(Vec<(i64, i64)>),
    /// For each of the batch and each key, or also for each query: above 0 if it counts.
    Marks { marks: Vec<i32>, queries: usize, keys: usize },
}

impl Padding {
    /// Of a mask of lengths (batch), of ends and starts (twice the batch), of marks (batch,
    /// keys) or (batch, queries, keys).
    pub(super) fn new(
        mask: &Tensor,
        batch: usize,
        queries: usize,
        keys: usize,
    ) -> Result<Self, OperatorError> {
        let Some(values) = mask.values::<i32>() else {
            return unfit(format!("a mask is {}; expected int32", mask.element_type()));
        };
        match mask.shape() {
            [length] if *length == batch => {
                Ok(Self::Ranges(values.iter().map(|end| (0, i64::from(*end))).collect()))
            }
            [length] if *length == 2 * batch => {
                let (ends, starts) = values.split_at(batch);
                Ok(Self::Ranges(
                    starts.iter().zip(ends).map(|(a, b)| (i64::from(*a), i64::from(*b))).collect(),
                ))
            }
            [first, last] if (*first, *last) == (batch, keys) => {
                Ok(Self::Marks { marks: values.to_vec(), queries: 1, keys })
            }
            [first, middle, last] if (*first, *middle, *last) == (batch, queries, keys) => {
                Ok(Self::Marks { marks: values.to_vec(), queries, keys })
            }
            shape => unfit(format!("a mask of the shape {shape:?} is for {batch} by {queries} by {keys}")),
        }
    }

    /// Whether each of the batch, each head and each query has marks of its own.
    pub(super) fn differs(&self) -> [bool; 3] {
        [true, false, matches!(self, Self::Marks { queries: 2.., .. })]
    }

    /// Adds `filter` to the scores of keys that are padding.
    pub(super) fn add<T: Real>(&self, batch: usize, query: usize, scores: &mut [T], filter: T) {
        match self {
            Self::Ranges(ranges) => {
                let (start, end) = ranges[batch];
                for (key, score) in scores.iter_mut().enumerate() {
                    if !(start..end).contains(&(key as i64)) {
                        *score += filter;
                    }
                }
            }
            Self::Marks { marks, queries, keys } => {
                let row = batch * queries + if *queries == 1 { 0 } else { query };
                for (score, mark) in scores.iter_mut().zip(&marks[row * keys..(row + 1) * keys]) {
                    if *mark <= 0 {
                        *score += filter;
                    }
                }
            }
        }
    }
}
