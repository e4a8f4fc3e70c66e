//! Scales and zero points as inputs.

use super::number::{integers, singles};
use crate::{
    operators::{Definition, OperatorError, Refusal, operands::Operands},
    tensor::{ElementType, Tensor},
};

/// A scale and a zero point of a whole tensor.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// The real size of one step.
    pub(super) scale: f32,
    /// The integer of the real number 0.
    pub(super) zero_point: i32,
}

/// Refuses a scale that is not a floating point number.
pub(super) fn check_scale(definition: &Definition<'_>, index: usize) -> Result<ElementType, Refusal> {
    match definition.tensor_type(index)? {
        element_type @ (ElementType::Float | ElementType::Half | ElementType::Bfloat16) => Ok(element_type),
        _ => Err(definition.unsupported_type(index)),
    }
}

impl Scale {
    /// Reads both inputs. A zero point that is left out is 0.
    pub(super) fn take(
        operands: &mut Operands,
        scale: usize,
        zero_point: usize,
    ) -> Result<Self, OperatorError> {
        Ok(Self {
            scale: single_scale(operands, scale)?,
            zero_point: single_zero_point(operands, zero_point)?,
        })
    }

    /// The real number of an integer.
    pub(super) fn dequantize(self, value: i32) -> f32 {
        (value - self.zero_point) as f32 * self.scale
    }
}

/// The only number of a scale.
pub(super) fn single_scale(operands: &mut Operands, index: usize) -> Result<f32, OperatorError> {
    let tensor = operands.tensor(index)?;
    match singles(&tensor)?.as_slice() {
        [scale] => Ok(*scale),
        scales => Err(not_single(index, scales.len())),
    }
}

/// The only number of a zero point; 0 if it is left out.
pub(super) fn single_zero_point(operands: &mut Operands, index: usize) -> Result<i32, OperatorError> {
    let Some(tensor) = operands.optional_tensor(index)? else { return Ok(0) };
    match integers(&tensor)?.as_slice() {
        [zero_point] => Ok(*zero_point),
        zero_points => Err(not_single(index, zero_points.len())),
    }
}

fn not_single(index: usize, found: usize) -> OperatorError {
    OperatorError::inputs(format!("input {index} has {found} values; one is expected"))
}

/// One value of all rows or columns, or one of each.
#[derive(Clone, Debug)]
pub(super) struct Each<T>(Vec<T>);

impl<T: Copy> Each<T> {
    /// The same for all.
    pub(super) fn same(value: T) -> Self {
        Self(vec![value])
    }

    /// Values of which there must be one, or `count`.
    pub(super) fn new(name: &str, values: Vec<T>, count: usize) -> Result<Self, OperatorError> {
        if values.len() == 1 || (values.len() == count && count > 0) {
            return Ok(Self(values));
        }
        if count == 0 {
            // Nothing is computed with them.
            return Ok(Self(values));
        }
        Err(OperatorError::inputs(format!(
            "there are {} values of {name}; 1 or {count} are expected",
            values.len()
        )))
    }

    /// That of a row or column below the count.
    pub(super) fn of(&self, index: usize) -> T {
        if self.0.len() == 1 { self.0[0] } else { self.0[index] }
    }

    /// Another value of each.
    pub(super) fn map<U>(&self, change: impl Fn(T) -> U) -> Each<U> {
        Each(self.0.iter().map(|value| change(*value)).collect())
    }
}

/// The zero points of rows or columns; 0 if the input is left out.
pub(super) fn each_zero_point(tensor: Option<&Tensor>, count: usize) -> Result<Each<i32>, OperatorError> {
    match tensor {
        None => Ok(Each::same(0)),
        Some(tensor) => Each::new("a zero point", integers(tensor)?, count),
    }
}
