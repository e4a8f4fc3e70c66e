//! The types of quantised numbers, and rounding to them.

use crate::{
    operators::{Definition, OperatorError, Refusal, operands::broken},
    tensor::{Element, ElementType, Elements, Tensor},
};

/// An integer type that real numbers are quantised to.
pub(super) trait Quantized: Element + Copy + Into<i32> {
    /// The smallest value.
    const MINIMUM: i32;
    /// The largest value.
    const MAXIMUM: i32;

    /// From a value within the limits.
    fn from_wide(value: i32) -> Self;

    /// The nearest value, halves to even, of `value + zero_point`. NaN becomes the
    /// smallest, as in ONNX Runtime on x86.
    fn round(value: f32, zero_point: i32) -> Self {
        let low = (Self::MINIMUM - zero_point) as f32;
        let high = (Self::MAXIMUM - zero_point) as f32;
        let clamped = if value > low { value.min(high) } else { low };
        Self::from_wide(nearest(clamped) + zero_point)
    }
}

/// The nearest integer, halves to even, of a number between -2^22 and 2^22.
///
/// `f32::round_ties_even` is a call of a function for each number on a processor of which
/// the compiler knows no more than x86-64. This is two instructions for any count of numbers
/// at once: in 2^23 + 2^22 and what is added to it the last bit of the fraction is worth 1,
/// so the addition itself rounds.
pub(super) fn nearest(value: f32) -> i32 {
    const ONES: f32 = 12_582_912.0;
    ((value + ONES).to_bits() as i32).wrapping_sub(ONES.to_bits() as i32)
}

macro_rules! quantized {
    ($($integer:ty),*) => { $(
        impl Quantized for $integer {
            const MINIMUM: i32 = <$integer>::MIN as i32;
            const MAXIMUM: i32 = <$integer>::MAX as i32;

            fn from_wide(value: i32) -> Self {
                value.clamp(Self::MINIMUM, Self::MAXIMUM) as $integer
            }
        }
    )* };
}
quantized!(i8, u8, i16, u16);

/// Computes an expression for the Rust type of a quantised element type; `None` for
/// another type.
macro_rules! for_quantized_type {
    ($element_type:expr, $type:ident => $result:expr) => {
        match $element_type {
            $crate::tensor::ElementType::Int8 => {
                type $type = i8;
                Some($result)
            }
            $crate::tensor::ElementType::Uint8 => {
                type $type = u8;
                Some($result)
            }
            $crate::tensor::ElementType::Int16 => {
                type $type = i16;
                Some($result)
            }
            $crate::tensor::ElementType::Uint16 => {
                type $type = u16;
                Some($result)
            }
            _ => None,
        }
    };
}
pub(super) use for_quantized_type;

/// The elements of a tensor of int8 or uint8.
#[derive(Clone, Copy, Debug)]
pub(super) enum Bytes<'a> {
    /// int8
    Signed(&'a [i8]),
    /// uint8
    Unsigned(&'a [u8]),
}

impl<'a> Bytes<'a> {
    /// Those of a tensor that the definition said is int8 or uint8.
    pub(super) fn new(tensor: &'a Tensor) -> Result<Self, OperatorError> {
        match tensor.elements() {
            Elements::Int8(values) => Ok(Self::Signed(values)),
            Elements::Uint8(values) => Ok(Self::Unsigned(values)),
            _ => Err(broken("a tensor is not of 8-bit integers")),
        }
    }

    /// One element.
    pub(super) fn get(self, index: usize) -> i32 {
        match self {
            Self::Signed(values) => values[index].into(),
            Self::Unsigned(values) => values[index].into(),
        }
    }

    /// A part of them.
    pub(super) fn part(self, start: usize, length: usize) -> Self {
        match self {
            Self::Signed(values) => Self::Signed(&values[start..start + length]),
            Self::Unsigned(values) => Self::Unsigned(&values[start..start + length]),
        }
    }
}

/// The element type of an input that must be int8 or uint8.
pub(super) fn byte_type(definition: &Definition<'_>, index: usize) -> Result<ElementType, Refusal> {
    match definition.tensor_type(index)? {
        element_type @ (ElementType::Int8 | ElementType::Uint8) => Ok(element_type),
        _ => Err(definition.unsupported_type(index)),
    }
}

/// Refuses an input that is there and is of another type.
pub(super) fn check_same_type(
    definition: &Definition<'_>,
    index: usize,
    expected: ElementType,
) -> Result<(), Refusal> {
    match definition.input_type(index) {
        None => Ok(()),
        Some(found) if found.tensor() == Some(expected) => Ok(()),
        Some(_) => Err(definition.unsupported_type(index)),
    }
}

/// The integers of a tensor of any integer type up to 32 bits, widened.
pub(super) fn integers(tensor: &Tensor) -> Result<Vec<i32>, OperatorError> {
    fn widen<T: Copy + Into<i32>>(values: &[T]) -> Vec<i32> {
        values.iter().map(|value| (*value).into()).collect()
    }
    Ok(match tensor.elements() {
        Elements::Int8(values) => widen(values),
        Elements::Uint8(values) => widen(values),
        Elements::Int16(values) => widen(values),
        Elements::Uint16(values) => widen(values),
        Elements::Int32(values) => values.to_vec(),
        _ => return Err(broken("a zero point is not a small integer")),
    })
}

/// The numbers of a tensor of float, float16 or bfloat16.
pub(super) fn singles(tensor: &Tensor) -> Result<Vec<f32>, OperatorError> {
    Ok(match tensor.elements() {
        Elements::Float(values) => values.to_vec(),
        Elements::Half(values) => values.iter().map(|value| value.to_f32()).collect(),
        Elements::Bfloat16(values) => values.iter().map(|value| value.to_f32()).collect(),
        _ => return Err(broken("a scale is not a floating point number")),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn halves_are_rounded_to_even_and_the_rest_saturates() {
        assert_eq!([0.5, 1.5, 2.5, -0.5, -1.5].map(|x| i8::round(x, 0)), [0, 2, 2, 0, -2]);
        assert_eq!([0.5, 1.5, 300.0, -300.0].map(|x| u8::round(x, 3)), [3, 5, 255, 0]);
        assert_eq!([f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(|x| i8::round(x, 5)), [-128, 127, -128]);
        assert_eq!(u16::round(70000.0, 0), 65535);
    }

    proptest! {
        #[test]
        fn the_nearest_integer_is_that_of_the_standard_library(value in -4_194_304.0_f32..4_194_304.0) {
            prop_assert_eq!(nearest(value), value.round_ties_even() as i32);
            let half = value.trunc() + 0.5;
            prop_assert_eq!(nearest(half), half.round_ties_even() as i32);
        }
    }
}
