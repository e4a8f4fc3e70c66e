//! Rounding of an operator's steps to a type that is narrower than the one computed in.
//!
//! ONNX defines `Softmax` and `Attention` by functions of operators on the inputs' type, so each
//! step of them is rounded to that type. Sums are made in 32 bits and rounded once.

use half::{bf16, f16};

use super::number::Real;
use crate::tensor::ElementType;

/// The type that the numbers of a step are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rounding {
    /// The type that is computed in.
    Exact,
    Half,
    Bfloat16,
}

impl Rounding {
    /// To a type.
    pub(crate) fn to(element_type: ElementType) -> Self {
        match element_type {
            ElementType::Half => Self::Half,
            ElementType::Bfloat16 => Self::Bfloat16,
            _ => Self::Exact,
        }
    }

    pub(crate) fn is_exact(self) -> bool {
        self == Self::Exact
    }

    /// A number, rounded.
    pub(crate) fn round<T: Real>(self, value: T) -> T {
        match self {
            Self::Exact => value,
            Self::Half => T::from_f64(f16::from_f64(value.to_f64()).to_f64()),
            Self::Bfloat16 => T::from_f64(bf16::from_f64(value.to_f64()).to_f64()),
        }
    }

    /// Rounds numbers.
    pub(crate) fn round_all<T: Real>(self, values: &mut [T]) {
        if !self.is_exact() {
            values.iter_mut().for_each(|value| *value = self.round(*value));
        }
    }

    /// The softmax of a row, each step of it rounded.
    pub(crate) fn normalize<T: Real>(self, row: &mut [T]) {
        self.round_all(row);
        let shift = row.iter().fold(T::LOWEST, |greatest, value| greatest.greatest(*value));
        let mut sum = T::ZERO;
        for value in row.iter_mut() {
            *value = self.round(self.round(*value - shift).exp());
            sum += *value;
        }
        let sum = self.round(sum);
        row.iter_mut().for_each(|value| *value = self.round(*value / sum));
    }
}
