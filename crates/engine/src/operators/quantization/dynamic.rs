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
    let (low, high) = range(values);
    let (scale, zero_point) = fitting(low, high);
    Scale { scale, zero_point: zero_point.into() }
}

/// The scale and zero point with which numbers of this range fit uint8. The range has 0.
pub(crate) fn fitting(low: f32, high: f32) -> (f32, u8) {
    let scale = if low == high { 1.0 } else { (high - low) / 255.0 };
    (scale, (0.0 - low / scale).clamp(0.0, 255.0).round_ties_even() as u8)
}

/// The smallest and the largest of numbers and 0. NaN counts for nothing.
fn range(values: &[f32]) -> (f32, f32) {
    // Each lane is compared on its own, so that many are compared at once.
    const LANES: usize = 16;
    let (mut low, mut high) = ([0.0_f32; LANES], [0.0_f32; LANES]);
    for values in values.chunks(LANES) {
        for ((low, high), value) in low.iter_mut().zip(&mut high).zip(values) {
            *low = if *value < *low { *value } else { *low };
            *high = if *value > *high { *value } else { *high };
        }
    }
    (low.into_iter().fold(0.0, f32::min), high.into_iter().fold(0.0, f32::max))
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_range_is_that_of_all_numbers(
            values in proptest::collection::vec(prop_oneof![8 => -9.0_f32..9.0, 1 => Just(f32::NAN)], 0..70),
        ) {
            let low = values.iter().copied().fold(0.0, f32::min);
            let high = values.iter().copied().fold(0.0, f32::max);
            prop_assert_eq!(range(&values), (low, high));
        }
    }
}
