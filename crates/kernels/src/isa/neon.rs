//! The operations by NEON, which every 64-bit ARM processor has: sixteen floats are four registers.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use std::arch::aarch64::{
    float32x4_t, uint8x16_t, vabsq_f32, vaddq_f32, vaddq_s32, vandq_u8, vbslq_f32, vcgtq_f32, vcltzq_f32,
    vcvtnq_s32_f32, vcvtq_f32_u32, vdivq_f32, vdupq_n_f32, vdupq_n_s32, vdupq_n_u8, vfmaq_f32, vget_low_u8,
    vget_low_u16, vld1q_f32, vld1q_u8, vmovl_high_u8, vmovl_high_u16, vmovl_u8, vmovl_u16, vmulq_f32,
    vreinterpretq_f32_s32, vrndnq_f32, vshlq_n_s32, vshrq_n_u8, vst1q_f32, vsubq_f32,
};

use super::Isa;

/// The operations. No proof is needed.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Neon;

type V = [float32x4_t; 4];

/// Operations on all quarters.
macro_rules! operations {
    ($( fn $name:ident($($argument:ident),*) $body:block )*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: V),*) -> V {
                let quarter = |$($argument: float32x4_t),*| -> float32x4_t {
                    // SAFETY: every processor of this architecture has the instructions.
                    unsafe { $body }
                };
                [
                    quarter($($argument[0]),*),
                    quarter($($argument[1]),*),
                    quarter($($argument[2]),*),
                    quarter($($argument[3]),*),
                ]
            }
        )*
    };
}

/// Sixteen bytes as floats.
#[inline(always)]
fn floats(bytes: uint8x16_t) -> V {
    // SAFETY: every processor of this architecture has the instructions.
    unsafe {
        let (low, high) = (vmovl_u8(vget_low_u8(bytes)), vmovl_high_u8(bytes));
        [
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))),
            vcvtq_f32_u32(vmovl_high_u16(low)),
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))),
            vcvtq_f32_u32(vmovl_high_u16(high)),
        ]
    }
}

impl Isa for Neon {
    type V = V;

    #[inline(always)]
    fn splat(self, value: f32) -> V {
        // SAFETY: every processor of this architecture has the instruction.
        [unsafe { vdupq_n_f32(value) }; 4]
    }

    operations! {
        fn add(left, right) { vaddq_f32(left, right) }
        fn subtract(left, right) { vsubq_f32(left, right) }
        fn multiply(left, right) { vmulq_f32(left, right) }
        fn divide(left, right) { vdivq_f32(left, right) }
        fn multiply_add(left, right, sum) { vfmaq_f32(sum, left, right) }
        // A comparison with a value that is not a number is false.
        fn at_least(value, low) { vbslq_f32(vcgtq_f32(low, value), low, value) }
        fn at_most(value, high) { vbslq_f32(vcgtq_f32(value, high), high, value) }
        fn where_negative(value, then, other) { vbslq_f32(vcltzq_f32(value), then, other) }
        fn round(value) { vrndnq_f32(value) }
        fn absolute(value) { vabsq_f32(value) }
        fn power_of_two(exponent) {
            let biased = vaddq_s32(vcvtnq_s32_f32(exponent), vdupq_n_s32(127));
            vreinterpretq_f32_s32(vshlq_n_s32::<23>(biased))
        }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: the caller says that 16 floats can be read.
        unsafe { [vld1q_f32(from), vld1q_f32(from.add(4)), vld1q_f32(from.add(8)), vld1q_f32(from.add(12))] }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> V {
        // SAFETY: the caller says that 16 bytes are there.
        floats(unsafe { vld1q_u8(from) })
    }

    #[inline(always)]
    unsafe fn nibbles(self, from: *const u8) -> [V; 2] {
        // SAFETY: the caller says that 16 bytes are there.
        unsafe {
            let bytes = vld1q_u8(from);
            [floats(vandq_u8(bytes, vdupq_n_u8(15))), floats(vshrq_n_u8::<4>(bytes))]
        }
    }

    #[inline(always)]
    unsafe fn store(self, value: V, to: *mut f32) {
        // SAFETY: the caller says that 16 floats can be written.
        unsafe {
            vst1q_f32(to, value[0]);
            vst1q_f32(to.add(4), value[1]);
            vst1q_f32(to.add(8), value[2]);
            vst1q_f32(to.add(12), value[3]);
        }
    }
}
