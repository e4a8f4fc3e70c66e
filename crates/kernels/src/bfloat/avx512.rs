//! Products of words by AVX512-BF16.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use std::{
    arch::x86_64::{
        __m256bh, __m256i, __m512, __m512bh, _mm256_loadu_si256, _mm256_storeu_si256, _mm512_castsi512_ps,
        _mm512_cvtepu16_epi32, _mm512_cvtneps_pbh, _mm512_dpbf16_ps, _mm512_or_si512, _mm512_slli_epi32,
    },
    mem::transmute,
};

use super::{Pairs, Words};
use crate::isa::{Isa, avx512::Avx512};

/// Proof that the processor has AVX-512 and AVX512-BF16.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Avx512Pairs(Avx512);

impl Avx512Pairs {
    /// # Safety
    /// The processor has the instructions of `Level::Avx512`, and AVX512-BF16.
    #[inline(always)]
    pub(crate) unsafe fn assumed() -> Self {
        // SAFETY: the caller says so.
        Self(unsafe { Avx512::assumed() })
    }
}

impl Words for Avx512Pairs {
    type Isa = Avx512;
    const ARE_PAIRS: bool = true;

    #[inline(always)]
    fn isa(self) -> Avx512 {
        self.0
    }

    #[inline(always)]
    fn multiply_add(self, left: __m512, right: __m512, sum: __m512) -> __m512 {
        // SAFETY: `self` is proof of the instruction. Both types are 512 bits of any contents.
        unsafe {
            _mm512_dpbf16_ps(sum, transmute::<__m512, __m512bh>(left), transmute::<__m512, __m512bh>(right))
        }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32, is_narrow: bool) -> __m512 {
        if is_narrow {
            // SAFETY: `self` is proof of the instructions; the caller says that 32 bytes are there.
            unsafe {
                let halves = _mm512_cvtepu16_epi32(_mm256_loadu_si256(from.cast()));
                _mm512_castsi512_ps(_mm512_slli_epi32::<16>(halves))
            }
        } else {
            // SAFETY: the caller says that the floats are there.
            unsafe { self.0.load(from) }
        }
    }

    #[inline(always)]
    unsafe fn store(self, value: __m512, to: *mut f32, is_narrow: bool) {
        if is_narrow {
            // SAFETY: `self` is proof of the instructions; the caller says that there is room for 32 bytes. Both
            // types are 256 bits of any contents.
            unsafe {
                _mm256_storeu_si256(to.cast(), transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(value)))
            };
        } else {
            // SAFETY: the caller says that there is room.
            unsafe { self.0.store(value, to) };
        }
    }
}

impl Pairs for Avx512Pairs {
    #[inline(always)]
    fn pair(self, low: __m512, high: __m512) -> __m512 {
        // SAFETY: `self` is proof of the instructions. The types of 256 bits have any contents.
        unsafe {
            let low = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(low));
            let high = transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(high));
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(high));
            _mm512_castsi512_ps(_mm512_or_si512(_mm512_cvtepu16_epi32(low), high))
        }
    }
}
