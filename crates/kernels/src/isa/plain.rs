//! The operations in plain Rust.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::Isa;

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Plain;

type V = [f32; 16];

#[inline(always)]
fn each(left: V, right: V, function: impl Fn(f32, f32) -> f32) -> V {
    let mut result = left;
    for (value, right) in result.iter_mut().zip(right) {
        *value = function(*value, right);
    }
    result
}

impl Isa for Plain {
    type V = V;

    #[inline(always)]
    fn splat(self, value: f32) -> V {
        [value; 16]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller says that 16 floats can be read.
        unsafe { from.cast::<V>().read_unaligned() }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> V {
        // SAFETY: the caller says that 16 bytes are there.
        unsafe { *from.cast::<[u8; 16]>() }.map(f32::from)
    }

    #[inline(always)]
    unsafe fn nibbles(self, from: *const u8) -> [V; 2] {
        // SAFETY: the caller says that 16 bytes are there.
        let bytes = unsafe { *from.cast::<[u8; 16]>() };
        [bytes.map(|byte| f32::from(byte & 15)), bytes.map(|byte| f32::from(byte >> 4))]
    }

    #[inline(always)]
    unsafe fn store(self, value: V, to: *mut f32) {
        // SAFETY: the caller says that 16 floats can be written.
        unsafe { to.cast::<V>().write_unaligned(value) }
    }

    #[inline(always)]
    fn add(self, left: V, right: V) -> V {
        each(left, right, |left, right| left + right)
    }

    #[inline(always)]
    fn subtract(self, left: V, right: V) -> V {
        each(left, right, |left, right| left - right)
    }

    #[inline(always)]
    fn multiply(self, left: V, right: V) -> V {
        each(left, right, |left, right| left * right)
    }

    #[inline(always)]
    fn divide(self, left: V, right: V) -> V {
        each(left, right, |left, right| left / right)
    }

    #[inline(always)]
    fn multiply_add(self, left: V, right: V, sum: V) -> V {
        each(each(left, right, |left, right| left * right), sum, |product, sum| product + sum)
    }

    #[inline(always)]
    fn at_least(self, value: V, low: V) -> V {
        each(value, low, |value, low| if low > value { low } else { value })
    }

    #[inline(always)]
    fn at_most(self, value: V, high: V) -> V {
        each(value, high, |value, high| if high < value { high } else { value })
    }

    #[inline(always)]
    fn where_negative(self, value: V, then: V, other: V) -> V {
        let mut result = other;
        for ((result, value), then) in result.iter_mut().zip(value).zip(then) {
            if value < 0.0 {
                *result = then;
            }
        }
        result
    }

    #[inline(always)]
    fn round(self, value: V) -> V {
        // Adding 1.5 * 2^23 leaves no room for a fraction.
        each(value, value, |value, _| (value + 12_582_912.0) - 12_582_912.0)
    }

    #[inline(always)]
    fn absolute(self, value: V) -> V {
        value.map(f32::abs)
    }

    #[inline(always)]
    fn power_of_two(self, exponent: V) -> V {
        exponent.map(|exponent| f32::from_bits(((exponent as i32 + 127) as u32) << 23))
    }
}
