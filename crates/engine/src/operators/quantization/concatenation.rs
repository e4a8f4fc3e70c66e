//! `QLinearConcat`: tensors of several scales joined in one.

use super::{
    elementwise::rescale,
    number::{Bytes, Quantized, byte_type, check_same_type},
    scales::{Scale, check_scale},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, output, volume},
    },
    tensor::{ElementType, Value},
};

#[derive(Debug)]
struct Concatenation {
    axis: i64,
    count: usize,
    element_type: ElementType,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let inputs = definition.inputs.len();
    if inputs < 5 || !(inputs - 2).is_multiple_of(3) || definition.outputs > 1 {
        return Err(Refusal::new(format!(
            "{inputs} inputs were found; 2 and 3 for each tensor are expected"
        )));
    }
    check_scale(definition, 0)?;
    let element_type = byte_type(definition, 1)?;
    let count = (inputs - 2) / 3;
    for tensor in 0..count {
        let first = 2 + 3 * tensor;
        let own = byte_type(definition, first)?;
        check_scale(definition, first + 1)?;
        check_same_type(definition, first + 2, own)?;
    }
    let axis = definition
        .attributes
        .integer("axis")?
        .ok_or_else(|| Refusal::new("the attribute axis is missing"))?;
    Ok(Built::tensor(Concatenation { axis, count, element_type }, element_type))
}

impl Concatenation {
    fn run_as<T: Quantized>(
        &self,
        operands: &mut Operands,
        context: &Context<'_>,
    ) -> Result<Value, OperatorError> {
        let to = Scale::take(operands, 0, 1)?;
        let mut parts = Vec::with_capacity(self.count);
        let mut shape: Option<Vec<usize>> = None;
        let mut axis = 0;
        for index in 0..self.count {
            let first = 2 + 3 * index;
            let tensor = operands.tensor(first)?;
            let from = Scale::take(operands, first + 1, first + 2)?;
            let own = tensor.shape();
            let joined = shape.get_or_insert_with(|| own.to_vec());
            if index == 0 {
                let rank = own.len() as i64;
                let from_start = if self.axis < 0 { self.axis + rank } else { self.axis };
                axis =
                    usize::try_from(from_start).ok().filter(|axis| *axis < own.len()).ok_or_else(|| {
                        OperatorError::inputs(format!("the dimension {} is not one of {rank}", self.axis))
                    })?;
            } else {
                let fits = own.len() == joined.len()
                    && own
                        .iter()
                        .zip(joined.iter())
                        .enumerate()
                        .all(|(index, (a, b))| index == axis || a == b);
                if !fits {
                    return Err(OperatorError::inputs(format!(
                        "a tensor of the shape {own:?} does not join {joined:?}"
                    )));
                }
                joined[axis] = joined[axis]
                    .checked_add(own[axis])
                    .ok_or_else(|| OperatorError::TooLarge { shape: own.to_vec() })?;
            }
            let step = volume(&own[axis..]);
            context.reserve(T::TYPE, own)?;
            parts.push((step, rescale::<T>(Bytes::new(&tensor)?, from, to)));
        }
        let shape = shape.unwrap_or_default();
        let mut joined = Vec::with_capacity(context.reserve(T::TYPE, &shape)?);
        // Without elements there is nothing to join, however long the dimensions are.
        let outer = if volume(&shape) == 0 { 0 } else { volume(&shape[..axis]) };
        for index in 0..outer {
            for (step, values) in &parts {
                joined.extend_from_slice(&values[index * step..(index + 1) * step]);
            }
        }
        output(shape, joined)
    }
}

impl Operator for Concatenation {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        Ok(vec![match self.element_type {
            ElementType::Int8 => self.run_as::<i8>(&mut operands, context)?,
            _ => self.run_as::<u8>(&mut operands, context)?,
        }])
    }
}
