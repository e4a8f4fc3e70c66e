//! Attention of floats by the kernel of tiles.

use adytum_kernels::{
    attention::{Attention, Heads as Rows, Mask, Steps},
    buffer::Shared,
};

use super::{Heads, Problem};
use crate::{
    operators::{Context, OperatorError, arguments::tensor_of, number::Real, share::share},
    tensor::{ElementType, Tensor, strides},
};

/// Queries from which on it is worth it to put keys in the order of tiles.
const QUERIES: usize = 4;

/// The changes of scores as numbers that are added, each row once.
struct Added {
    values: Vec<f32>,
    steps: Steps,
    /// The rows `[batch][head][query]` that may look at no key.
    blind: Vec<bool>,
}

impl<T: Real> Heads<'_, T> {
    fn rows(&self) -> Option<Rows<'_>> {
        let steps = [self.batch_step, self.head_step, self.row_step];
        T::as_floats(self.values).map(|values| Rows { values, offset: 0, steps })
    }
}

impl<T: Real> Problem<'_, T> {
    /// The result by the kernel. `None` for types and forms that it does not have, for few queries, and for scores that
    /// somebody asks for.
    pub(super) fn by_tiles(
        &self,
        context: &Context<'_>,
        bias: &impl Fn(usize, usize, usize, &mut [T]) -> Result<(), OperatorError>,
    ) -> Result<Option<Tensor>, OperatorError> {
        let (Some(query), Some(key), Some(value)) = (self.query.rows(), self.key.rows(), self.value.rows())
        else {
            return Ok(None);
        };
        let Heads { batch, heads, rows, size, .. } = self.query;
        let (keys, value_size) = (self.key.rows, self.value.size);
        let is_plain = self.stage.is_none()
            && self.softcap == T::ZERO
            && self.rounding.is_exact()
            && self.softmax_rounding.is_exact();
        if !is_plain || rows < QUERIES || keys == 0 {
            return Ok(None);
        }
        let (shape, output) = if self.side_by_side {
            let row = heads * value_size;
            (vec![batch, rows, row], [rows * row, value_size, row])
        } else {
            let head = rows * value_size;
            (vec![batch, heads, rows, value_size], [heads * head, head, value_size])
        };
        let added = self.added(context, bias)?;
        let mut result = vec![0.0_f32; context.reserve(ElementType::Float, &shape)?];
        let attention = Attention {
            level: self.level,
            batch,
            heads,
            share: heads / self.key.heads,
            queries: rows,
            keys,
            size,
            value_size,
            query,
            key,
            value,
            scale: self.scale.to_f64() as f32,
            mask: added.as_ref().map_or(Mask::None, |added| Mask::Add(&added.values, added.steps)),
            output,
        };
        let cost = result.len().saturating_mul(keys);
        share(context, Shared::new(&mut result), cost, |output, part| attention.run(output, part))?;
        // A query that may look at nothing gives zeros.
        if let Some(added) = added.filter(|added| added.blind.contains(&true)) {
            let counts = added.steps.map(|step| step.checked_div(keys).unwrap_or(0));
            for place in 0..batch {
                for head in 0..heads {
                    for row in 0..rows {
                        if added.blind[place * counts[0] + head * counts[1] + row * counts[2]] {
                            let start = place * output[0] + head * output[1] + row * output[2];
                            result[start..start + value_size].fill(0.0);
                        }
                    }
                }
            }
        }
        tensor_of(shape, result).map(Some)
    }

    /// The numbers to add to the scores; `None` if nothing changes them.
    fn added(
        &self,
        context: &Context<'_>,
        bias: &impl Fn(usize, usize, usize, &mut [T]) -> Result<(), OperatorError>,
    ) -> Result<Option<Added>, OperatorError> {
        let Some(differs) = self.differs else { return Ok(None) };
        let all = [self.query.batch, self.query.heads, self.query.rows];
        let [batch, heads, rows] = std::array::from_fn(|axis| if differs[axis] { all[axis] } else { 1 });
        let keys = self.key.rows;
        let mut values =
            Vec::with_capacity(context.reserve(ElementType::Float, &[batch, heads, rows, keys])?);
        let mut blind = Vec::with_capacity(context.reserve(ElementType::Bool, &[batch, heads, rows])?);
        let mut line = vec![T::ZERO; keys];
        for place in 0..batch {
            for head in 0..heads {
                for row in 0..rows {
                    line.fill(T::ZERO);
                    bias(place, head, row, &mut line)?;
                    blind.push(line.iter().all(|value| *value == T::LOWEST));
                    values.extend_from_slice(T::as_floats(&line).unwrap_or_default());
                }
            }
        }
        let mut steps = [0; 4];
        for (axis, step) in strides(&[batch, heads, rows, keys]).into_iter().enumerate().take(4) {
            let is_own = differs.get(axis).copied().unwrap_or(true);
            steps[axis] = if is_own { step } else { 0 };
        }
        Ok(Some(Added { values, steps, blind }))
    }
}
