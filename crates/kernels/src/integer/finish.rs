//! How sums become bytes.

use super::instructions::Integers;
use crate::isa::Isa;

/// The last step for sums that were multiplied with their scales.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Finish {
    /// The zero point of the results.
    pub zero_point: u8,
    /// The summand of the results.
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

/// The bytes of sums: the nearest ones. A number below 0 becomes 0 when it is written.
#[inline(always)]
pub(super) fn round<I: Integers>(
    isa: I,
    sums: I::Sums,
    scales: <I::Isa as Isa>::V,
    zero_point: u8,
) -> I::Sums {
    let value = isa.isa().multiply(isa.to_floats(sums), scales);
    nearest(isa, value, 255.0 - f32::from(zero_point), i32::from(zero_point))
}

/// The nearest integers up to a bound, and another added. A NaN becomes very low.
#[inline(always)]
pub(super) fn nearest<I: Integers>(isa: I, values: <I::Isa as Isa>::V, high: f32, shift: i32) -> I::Sums {
    let floats = isa.isa();
    isa.add(isa.nearest(floats.at_most(values, floats.splat(high))), isa.splat(shift))
}

/// The bytes of the sums of two quantised numbers. A number below 0 becomes 0 when it is written.
#[inline(always)]
pub(super) fn add<I: Integers>(isa: I, first: I::Sums, second: I::Sums, addition: &Addition) -> I::Sums {
    let floats = isa.isa();
    let shift = if addition.is_signed { 128 } else { 0 };
    let [left, right] = addition.ratios;
    let second = isa.fused(number(isa, second, shift), floats.splat(right), floats.splat(addition.fixed));
    let sum = isa.fused(number(isa, first, shift), floats.splat(left), second);
    nearest(isa, sum, (255 - shift) as f32, shift)
}

/// The numbers of bytes that are more by `shift`.
#[inline(always)]
fn number<I: Integers>(isa: I, bytes: I::Sums, shift: i32) -> <I::Isa as Isa>::V {
    isa.to_floats(isa.add(bytes, isa.splat(-shift)))
}
