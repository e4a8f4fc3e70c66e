//! Products of words in plain Rust: what the instructions of processors are compared with.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use super::{Pairs, Words, dot, round, widen, word};
use crate::{
    BLOCK,
    isa::{Isa, plain::Plain},
};

/// What every processor has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PlainPairs;

impl Words for PlainPairs {
    type Isa = Plain;
    const ARE_PAIRS: bool = true;

    #[inline(always)]
    fn isa(self) -> Plain {
        Plain
    }

    #[inline(always)]
    fn multiply_add(self, left: [f32; BLOCK], right: [f32; BLOCK], sum: [f32; BLOCK]) -> [f32; BLOCK] {
        std::array::from_fn(|lane| dot(sum[lane], left[lane], right[lane]))
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32, is_narrow: bool) -> [f32; BLOCK] {
        if is_narrow {
            // SAFETY: the caller says that 16 halves can be read.
            unsafe { from.cast::<[u16; BLOCK]>().read_unaligned() }.map(widen)
        } else {
            // SAFETY: the caller says that 16 floats can be read.
            unsafe { Plain.load(from) }
        }
    }

    #[inline(always)]
    unsafe fn store(self, value: [f32; BLOCK], to: *mut f32, is_narrow: bool) {
        if is_narrow {
            // SAFETY: the caller says that 16 halves can be written.
            unsafe { to.cast::<[u16; BLOCK]>().write_unaligned(value.map(round)) };
        } else {
            // SAFETY: the caller says that 16 floats can be written.
            unsafe { Plain.store(value, to) };
        }
    }
}

impl Pairs for PlainPairs {
    #[inline(always)]
    fn pair(self, low: [f32; BLOCK], high: [f32; BLOCK]) -> [f32; BLOCK] {
        std::array::from_fn(|lane| word(low[lane], high[lane]))
    }
}
