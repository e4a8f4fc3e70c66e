//! `DynamicQuantizeLinear`, and the scale that fits numbers.

use super::{number::Quantized, scales::Scale};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
    },
    tensor::{ElementType, Tensor, Value, ValueType},
};

/// The scale and zero point with which numbers, and 0, fit uint8.
pub(super) fn fitting_scale(values: &[f32]) -> Scale {
    let (low, high) =
        values.iter().fold((0.0_f32, 0.0_f32), |(low, high), value| (low.min(*value), high.max(*value)));
    let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
    let zero_point = (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even() as i32;
    Scale { scale, zero_point }
}

/// Numbers as uint8.
pub(super) fn quantize(values: &[f32], scale: Scale) -> Vec<u8> {
    values.iter().map(|value| u8::round(value / scale.scale, scale.zero_point)).collect()
}

#[derive(Debug)]
struct DynamicQuantize;

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 1..=1, 3)?;
    match definition.tensor_type(0)? {
        ElementType::Float => {
            let types = [ElementType::Uint8, ElementType::Float, ElementType::Uint8].map(ValueType::Tensor);
            Ok(Built { operator: Box::new(DynamicQuantize), types: types.to_vec() })
        }
        _ => Err(definition.unsupported_type(0)),
    }
}

impl Operator for DynamicQuantize {
    fn run(&self, inputs: Vec<Option<Value>>, _: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let tensor = Operands::new(inputs).tensor(0)?;
        let values = values::<f32>(&tensor)?;
        let scale = fitting_scale(values);
        Ok(vec![
            output(tensor.shape(), quantize(values, scale))?,
            Tensor::scalar(scale.scale).into(),
            Tensor::scalar(u8::from_wide(scale.zero_point)).into(),
        ])
    }
}
