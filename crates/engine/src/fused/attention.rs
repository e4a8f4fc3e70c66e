//! Attention of queries, keys and values that are where the products before it have put them.

use adytum_kernels::{
    Level,
    attention::{Attention, Heads, Mask},
    buffer::Shared,
};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{tensor_of, unfit, values_of},
        share::share,
    },
    tensor::{ElementType, Tensor, Value},
};

/// The place of an input of [`FusedAttention`].
const QUERY: usize = 0;
const KEY: usize = 1;
const VALUE: usize = 2;
const MASK: usize = 3;

/// Where a tensor has the rows of its heads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// `[batch][row][..]`: heads of `size` numbers are side by side in a row, from `offset` on.
    SideBySide { offset: usize, heads: usize, size: usize },
    /// `[batch][row][head][size]`.
    Rows,
    /// `[batch][head][row][size]`.
    Split,
}

/// Where the rows of the result are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `[batch][row][head * size]`.
    SideBySide,
    /// `[batch][row][head][size]`.
    Rows,
    /// `[batch][head][row][size]`.
    Split,
}

/// What input 3 does to the scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Masking {
    Nothing,
    /// It is added.
    Add,
    /// This number is in the place of the scores where it is false.
    Keep(f32),
    /// This number is in the place of the scores where the mask is true.
    Fill(f32),
}

/// `softmax(scale * Q K^T + mask) V`.
#[derive(Debug)]
pub(crate) struct FusedAttention {
    pub(crate) level: Level,
    /// Of queries, keys and values.
    pub(crate) sources: [Source; 3],
    pub(crate) scale: f32,
    pub(crate) masking: Masking,
    pub(crate) target: Target,
}

/// The rows of the heads of a tensor: their sizes, their places.
struct View<'a> {
    /// `[batch, heads, rows]`.
    sizes: [usize; 3],
    size: usize,
    heads: Heads<'a>,
}

impl<'a> View<'a> {
    fn new(tensor: &'a Tensor, source: Source) -> Result<Self, OperatorError> {
        let values = values_of::<f32>(tensor)?;
        let view = |sizes, size, offset, steps| Self { sizes, size, heads: Heads { values, offset, steps } };
        match (source, tensor.shape()) {
            (Source::SideBySide { offset, heads, size }, &[batch, rows, length])
                if offset + heads * size <= length =>
            {
                Ok(view([batch, heads, rows], size, offset, [rows * length, size, length]))
            }
            (Source::Rows, &[batch, rows, heads, size]) => {
                Ok(view([batch, heads, rows], size, 0, [rows * heads * size, size, heads * size]))
            }
            (Source::Split, &[batch, heads, rows, size]) => {
                Ok(view([batch, heads, rows], size, 0, [heads * rows * size, rows * size, size]))
            }
            (_, shape) => unfit(format!("a tensor of the shape {shape:?} does not have the rows of heads")),
        }
    }

    /// The rows for other numbers of entries: one entry is there for all.
    fn spread(mut self, sizes: [usize; 3]) -> Heads<'a> {
        for (axis, size) in sizes.into_iter().enumerate() {
            if self.sizes[axis] != size {
                self.heads.steps[axis] = 0;
            }
        }
        self.heads
    }
}

/// The size that some sizes are spread to: that of those that are not 1.
fn joined(sizes: &[usize]) -> Result<usize, OperatorError> {
    let found = sizes.iter().copied().find(|size| *size != 1).unwrap_or(1);
    if sizes.iter().all(|size| *size == 1 || *size == found) {
        Ok(found)
    } else {
        unfit(format!("the sizes {sizes:?} of queries, keys, values and mask do not fit"))
    }
}

/// The sizes of a mask for scores of four dimensions.
fn mask_sizes(mask: Option<&Tensor>) -> Result<[usize; 4], OperatorError> {
    let mut sizes = [1; 4];
    let shape = mask.map_or(&[][..], Tensor::shape);
    match sizes.len().checked_sub(shape.len()) {
        Some(first) => sizes[first..].copy_from_slice(shape),
        None => return unfit(format!("a mask of the shape {shape:?} has more dimensions than scores")),
    }
    Ok(sizes)
}

impl FusedAttention {
    /// What it does, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = "attention".to_owned();
        if let Source::SideBySide { heads, size, .. } = self.sources[0] {
            text.push_str(&format!(" of {heads} heads of {size}"));
        }
        match self.masking {
            Masking::Nothing => {}
            Masking::Add => text.push_str(", with a mask that is added"),
            Masking::Keep(_) | Masking::Fill(_) => text.push_str(", with a mask that chooses"),
        }
        text
    }
}

impl Operator for FusedAttention {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let query = View::new(arguments.tensor(QUERY)?, self.sources[QUERY])?;
        let key = View::new(arguments.tensor(KEY)?, self.sources[KEY])?;
        let value = View::new(arguments.tensor(VALUE)?, self.sources[VALUE])?;
        let mask = match self.masking {
            Masking::Nothing => None,
            Masking::Add | Masking::Keep(_) | Masking::Fill(_) => Some(arguments.tensor(MASK)?),
        };
        let of_mask = mask_sizes(mask)?;
        let [.., keys] = key.sizes;
        if query.size != key.size || value.sizes[2] != keys || (of_mask[3] != keys && of_mask[3] != 1) {
            return unfit(format!(
                "queries of {}, {keys} keys of {}, {} values and a mask of {} do not fit",
                query.size, key.size, value.sizes[2], of_mask[3]
            ));
        }
        let batch = joined(&[query.sizes[0], key.sizes[0], value.sizes[0], of_mask[0]])?;
        let heads = joined(&[query.sizes[1], key.sizes[1], value.sizes[1], of_mask[1]])?;
        let queries = joined(&[query.sizes[2], of_mask[2]])?;
        let (size, value_size) = (query.size, value.size);
        let (shape, output) = match self.target {
            Target::SideBySide => (
                vec![batch, queries, heads.saturating_mul(value_size)],
                [queries * heads * value_size, value_size, heads * value_size],
            ),
            Target::Rows => (
                vec![batch, queries, heads, value_size],
                [queries * heads * value_size, value_size, heads * value_size],
            ),
            Target::Split => (
                vec![batch, heads, queries, value_size],
                [heads * queries * value_size, queries * value_size, value_size],
            ),
        };
        let count = context.reserve(ElementType::Float, &shape)?;
        let mut result = vec![0.0; count];
        let steps = {
            let mut steps = crate::tensor::strides(&of_mask);
            for (step, size) in steps.iter_mut().zip(of_mask) {
                if size == 1 {
                    *step = 0;
                }
            }
            [steps[0], steps[1], steps[2], steps[3]]
        };
        let keeps: Vec<bool> = match (self.masking, mask) {
            (Masking::Fill(_), Some(mask)) => values_of::<bool>(mask)?.iter().map(|fills| !fills).collect(),
            _ => Vec::new(),
        };
        let mask = match (self.masking, mask) {
            (Masking::Fill(other), _) => Mask::Keep { keeps: &keeps, steps, other },
            (Masking::Add, Some(mask)) => Mask::Add(values_of(mask)?, steps),
            (Masking::Keep(other), Some(mask)) => Mask::Keep { keeps: values_of(mask)?, steps, other },
            _ => Mask::None,
        };
        if keys > 0 && count > 0 {
            let attention = Attention {
                level: self.level,
                batch,
                heads,
                share: 1,
                queries,
                keys,
                size,
                value_size,
                query: query.spread([batch, heads, queries]),
                key: key.spread([batch, heads, keys]),
                value: value.spread([batch, heads, keys]),
                scale: self.scale,
                mask,
                output,
            };
            let cost = count.saturating_mul(keys);
            share(context, Shared::new(&mut result), cost, |output, part| attention.run(output, part))?;
        }
        Ok(vec![Value::Tensor(tensor_of(shape, result)?)])
    }
}
