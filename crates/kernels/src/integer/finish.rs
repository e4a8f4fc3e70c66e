//! How sums become bytes.

use super::instructions::Integers;
use crate::isa::Isa;

/// What becomes of sums that were multiplied with their scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finish {
    /// The zero point of the results.
    pub zero_point: u8,
    /// What is added to the results.
    pub addition: Option<Addition>,
}

/// The sum of two quantised numbers: `first * ratios[0] + (second * ratios[1] + fixed)`, each product and its
/// sum rounded once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Addition {
    /// The scales of both numbers by that of the sum.
    pub ratios: [f32; 2],
    /// What the zero points are worth.
    pub fixed: f32,
    /// Of convolutions: whether their own result is the first number, and the image the second.
    pub is_first: bool,
    /// Whether the numbers are of int8, and bytes are 128 more.
    pub is_signed: bool,
}

/// The bytes of sums: the nearest ones.
#[inline(always)]
pub(super) fn round<I: Integers>(
    isa: I,
    sums: I::Sums,
    scales: <I::Isa as Isa>::V,
    zero_point: u8,
) -> I::Sums {
    let floats = isa.isa();
    let zero = f32::from(zero_point);
    let value = floats.multiply(isa.to_floats(sums), scales);
    clip(isa, value, 0.0 - zero, 255.0 - zero, i32::from(zero_point))
}

/// The nearest integers within bounds, and another added. What is not a number becomes the lowest.
#[inline(always)]
pub(super) fn clip<I: Integers>(
    isa: I,
    values: <I::Isa as Isa>::V,
    low: f32,
    high: f32,
    shift: i32,
) -> I::Sums {
    let floats = isa.isa();
    let values = floats.at_most(floats.at_least(floats.splat(low), values), floats.splat(high));
    isa.add(isa.nearest(values), isa.splat(shift))
}

/// The bytes of the sums of two quantised numbers.
#[inline(always)]
pub(super) fn add<I: Integers>(isa: I, first: I::Sums, second: I::Sums, addition: &Addition) -> I::Sums {
    let floats = isa.isa();
    let shift = if addition.is_signed { 128 } else { 0 };
    let real = |bytes| isa.to_floats(isa.add(bytes, isa.splat(-shift)));
    let [left, right] = addition.ratios;
    let second = isa.fused(real(second), floats.splat(right), floats.splat(addition.fixed));
    let sum = isa.fused(real(first), floats.splat(left), second);
    clip(isa, sum, (-shift) as f32, (255 - shift) as f32, shift)
}
