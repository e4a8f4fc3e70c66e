//! The numbers that trees compare and add: 64-bit floating point where the input is
//! double, otherwise 32-bit.

use std::{
    fmt::Debug,
    ops::{Add, AddAssign, Div, Neg},
};

use crate::{
    operators::{
        OperatorError, Refusal,
        operands::{doubles, floats},
    },
    tensor::{Element, Elements, Tensor},
};

/// A number of a tree.
pub(super) trait Number:
    Element + Copy + PartialOrd + Debug + Add<Output = Self> + AddAssign + Div<Output = Self> + Neg<Output = Self>
{
    /// Zero.
    const ZERO: Self;

    /// From 32-bit floating point, which attributes that are lists have.
    fn from_single(value: f32) -> Self;

    /// Rounded to 32-bit floating point.
    fn to_single(self) -> f32;

    /// Whether it is NaN.
    fn is_missing(self) -> bool;

    /// A count.
    fn from_count(count: usize) -> Self;

    /// The largest number below this one; minus infinity has none and is given itself.
    fn next_down(self) -> Self;

    /// The numbers, if they are 32-bit floating point.
    fn singles(values: &[Self]) -> Option<&[f32]>;

    /// The same.
    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]>;

    /// The elements of a tensor that is float, double, int64 or int32.
    fn read(tensor: Tensor) -> Result<Vec<Self>, OperatorError>;
}

impl Number for f32 {
    const ZERO: Self = 0.0;

    fn from_single(value: f32) -> Self {
        value
    }

    fn to_single(self) -> f32 {
        self
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }

    fn from_count(count: usize) -> Self {
        count as Self
    }

    fn next_down(self) -> Self {
        self.next_down()
    }

    fn singles(values: &[Self]) -> Option<&[f32]> {
        Some(values)
    }

    fn singles_mut(values: &mut [Self]) -> Option<&mut [f32]> {
        Some(values)
    }

    fn read(tensor: Tensor) -> Result<Vec<Self>, OperatorError> {
        floats(tensor)
    }
}

impl Number for f64 {
    const ZERO: Self = 0.0;

    fn from_single(value: f32) -> Self {
        Self::from(value)
    }

    fn to_single(self) -> f32 {
        self as f32
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }

    fn from_count(count: usize) -> Self {
        count as Self
    }

    fn next_down(self) -> Self {
        self.next_down()
    }

    fn singles(_: &[Self]) -> Option<&[f32]> {
        None
    }

    fn singles_mut(_: &mut [Self]) -> Option<&mut [f32]> {
        None
    }

    fn read(tensor: Tensor) -> Result<Vec<Self>, OperatorError> {
        doubles(tensor)
    }
}

/// The numbers of an attribute that is a tensor of float, double or float16.
pub(super) fn from_tensor<T: Number>(name: &str, tensor: &Tensor) -> Result<Vec<T>, Refusal> {
    match tensor.elements() {
        Elements::Half(values) => Ok(values.iter().map(|value| T::from_single(value.to_f32())).collect()),
        Elements::Float(_) | Elements::Double(_) => {
            T::read(tensor.clone()).map_err(|error| Refusal::new(format!("the attribute {name}: {error}")))
        }
        other => Err(Refusal::new(format!(
            "the attribute {name} is {}; numbers are expected",
            other.element_type()
        ))),
    }
}
