//! The operations in plain Rust.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::Integers;
use crate::isa;

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Plain;

type Sums = [i32; 16];
type Floats = [f32; 16];

/// The summand of a float so that its last bit is worth 1.
const ONES: f32 = 12_582_912.0;

/// Floats below this have no such room.
const LOWEST: f32 = -4_194_304.0;

impl Integers for Plain {
    type Isa = isa::plain::Plain;
    type Sums = Sums;
    type Bytes = [u8; 64];
    type Weights = [u8; 64];
    type Group = [u8; 64];
    type Factors = [u8; 64];

    #[inline(always)]
    fn isa(self) -> isa::plain::Plain {
        isa::plain::Plain
    }

    #[inline(always)]
    fn splat(self, value: i32) -> Sums {
        [value; 16]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const i32) -> Sums {
        // SAFETY: the caller says that 16 integers can be read.
        unsafe { from.cast::<Sums>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn store(self, value: Sums, to: *mut i32) {
        // SAFETY: the caller says that 16 integers can be written.
        unsafe { to.cast::<Sums>().write_unaligned(value) }
    }

    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller says that 4 bytes can be read.
        let four = unsafe { from.cast::<[u8; 4]>().read_unaligned() };
        let mut bytes = [0; 64];
        for place in bytes.chunks_exact_mut(4) {
            place.copy_from_slice(&four);
        }
        bytes
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller says that 64 bytes can be read.
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller says that 64 bytes can be read.
        unsafe { from.cast::<[u8; 64]>().read_unaligned() }
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums, bytes: [u8; 64], weights: [u8; 64]) -> Sums {
        for ((sum, bytes), weights) in sums.iter_mut().zip(bytes.chunks_exact(4)).zip(weights.chunks_exact(4))
        {
            for (byte, weight) in bytes.iter().zip(weights) {
                *sum = sum.wrapping_add(i32::from(*byte) * i32::from(weight.cast_signed()));
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn factors(self, from: *const u8) -> [u8; 64] {
        // SAFETY: the caller says that 64 bytes can be read.
        unsafe { self.weights(from) }
    }

    #[inline(always)]
    fn accumulate(self, sums: Sums, group: [u8; 64], factors: [u8; 64]) -> Sums {
        self.dot(sums, group, factors)
    }

    #[inline(always)]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: the caller says that 16 bytes can be read at each place.
        let rows = rows.map(|row| unsafe { row.cast::<[u8; 16]>().read_unaligned() });
        let mut bytes = [0; 64];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = rows[index % 4][index / 4];
        }
        // SAFETY: the caller says that 64 bytes can be written.
        unsafe { to.cast::<[u8; 64]>().write_unaligned(bytes) }
    }

    #[inline(always)]
    fn add(self, mut left: Sums, right: Sums) -> Sums {
        for (left, right) in left.iter_mut().zip(right) {
            *left = left.wrapping_add(right);
        }
        left
    }

    #[inline(always)]
    fn to_floats(self, sums: Sums) -> Floats {
        sums.map(|sum| sum as f32)
    }

    #[inline(always)]
    fn nearest(self, values: Floats) -> Sums {
        values.map(|value| {
            if value > LOWEST {
                (value + ONES).to_bits().cast_signed().wrapping_sub(ONES.to_bits().cast_signed())
            } else {
                i32::MIN
            }
        })
    }

    #[inline(always)]
    unsafe fn widen(self, from: *const u8) -> Sums {
        // SAFETY: the caller says that 16 bytes can be read.
        unsafe { from.cast::<[u8; 16]>().read_unaligned() }.map(i32::from)
    }

    #[inline(always)]
    fn at_least_zero(self, sums: Sums) -> Sums {
        sums.map(|sum| sum.max(0))
    }

    #[inline(always)]
    unsafe fn narrow(self, sums: Sums, to: *mut u8) {
        // SAFETY: the caller says that 16 bytes can be written.
        unsafe { to.cast::<[u8; 16]>().write_unaligned(sums.map(|sum| sum.clamp(0, 255) as u8)) }
    }

    #[inline(always)]
    fn fused(self, mut left: Floats, right: Floats, sum: Floats) -> Floats {
        for ((left, right), sum) in left.iter_mut().zip(right).zip(sum) {
            *left = left.mul_add(right, sum);
        }
        left
    }
}
