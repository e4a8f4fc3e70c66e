//! How sums become bytes, or real numbers.

#![expect(unsafe_code, reason = "numbers of channels are read through pointers")]

use super::instructions::Integers;
use crate::{BLOCK, convolution, isa::Isa, planes::Planes};

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

/// How sums become real numbers: a sum times the scale of its channel; that times the factor, and the summand
/// added; the image added; then at least the first bound, at most the second. A NaN stays so.
#[derive(Clone, Copy, Debug)]
pub struct Reals<'a> {
    /// For each output channel, in whole blocks.
    pub scales: &'a [f32],
    /// Factors and summands for each output channel, in whole blocks.
    pub line: Option<[&'a [f32]; 2]>,
    /// Images as large as the output.
    pub residual: Option<convolution::Images<'a>>,
    pub bounds: [f32; 2],
}

impl<'a> Reals<'a> {
    /// Whether there are enough numbers for an output.
    pub(super) fn fits(&self, output: &Planes) -> bool {
        let channels = output.blocks * BLOCK;
        let residual = self.residual.is_none_or(|residual| {
            residual.planes.lanes == BLOCK
                && residual.planes.blocks == output.blocks
                && residual.planes.is_as_large_as(output)
                && residual.values.len() >= residual.planes.len()
        });
        let line = self.line.is_none_or(|line| line.iter().all(|numbers| numbers.len() >= channels));
        self.scales.len() >= channels && line && residual
    }

    /// The numbers from a block of channels on.
    pub(super) fn pointers(&self, block: usize) -> RealPointers {
        let of = |numbers: &'a [f32]| numbers[block * BLOCK..].as_ptr();
        let null = std::ptr::null();
        RealPointers {
            scales: of(self.scales),
            factors: self.line.map_or(null, |[factors, _]| of(factors)),
            summands: self.line.map_or(null, |[_, summands]| of(summands)),
            bounds: self.bounds,
        }
    }
}

/// Where the numbers of [`Reals`] are for a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct RealPointers {
    pub(super) scales: *const f32,
    /// The factor of each channel, or null.
    pub(super) factors: *const f32,
    /// The summand of each channel, or null. Without factors, they are added alone.
    pub(super) summands: *const f32,
    pub(super) bounds: [f32; 2],
}

impl RealPointers {
    /// None at all.
    pub(super) const NONE: Self = Self {
        scales: std::ptr::null(),
        factors: std::ptr::null(),
        summands: std::ptr::null(),
        bounds: [f32::NEG_INFINITY, f32::INFINITY],
    };

    /// The numbers of the block that is behind by `blocks`.
    ///
    /// # Safety
    /// There are 16 numbers of each kind for that block.
    #[inline(always)]
    pub(super) unsafe fn line<I: Isa>(&self, isa: I, blocks: usize) -> Line<I> {
        let load = |numbers: *const f32| {
            // SAFETY: the caller says that the numbers are there.
            (!numbers.is_null()).then(|| unsafe { isa.load(numbers.add(blocks * BLOCK)) })
        };
        let one = || isa.splat(1.0);
        Line {
            scale: load(self.scales).unwrap_or_else(one),
            factor: load(self.factors),
            summand: load(self.summands),
            bounds: (self.bounds != Self::NONE.bounds)
                .then(|| [isa.splat(self.bounds[0]), isa.splat(self.bounds[1])]),
        }
    }
}

/// The numbers of 16 channels.
#[derive(Clone, Copy)]
pub(super) struct Line<I: Isa> {
    scale: I::V,
    factor: Option<I::V>,
    summand: Option<I::V>,
    bounds: Option<[I::V; 2]>,
}

impl<I: Isa> Line<I> {
    /// What 16 sums become.
    #[inline(always)]
    pub(super) fn of(&self, isa: I, sums: I::V, added: Option<I::V>) -> I::V {
        let mut value = isa.multiply(sums, self.scale);
        value = match (self.factor, self.summand) {
            (Some(factor), Some(summand)) => isa.multiply_add(value, factor, summand),
            (None, Some(summand)) => isa.add(value, summand),
            _ => value,
        };
        if let Some(added) = added {
            value = isa.add(value, added);
        }
        match self.bounds {
            Some([low, high]) => isa.at_most(isa.at_least(value, low), high),
            None => value,
        }
    }
}
