//! The operations of products with numbers of 4 bits, for sets of instructions.
//!
//! Where four products of bytes are one instruction, sums have 32 bits from the start. Elsewhere a pair of
//! products has 16 bits: 15 * 127 * 2 is 3810, so that eight of them fit.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use crate::integer::instructions::{Integers, plain::Plain};

/// Units of which the products are summed before they are widened: eight fours of a column.
pub(super) const WIDENED: usize = 4;

/// Bytes of a unit: eight numbers of each of 16 columns.
pub(super) const UNIT: usize = 64;

/// Products of numbers from 0 to 15 with numbers from -127 to 127.
pub(super) trait Nibbles: Integers {
    /// Sums of the products of at most [`WIDENED`] units.
    type Partial: Copy;
    /// Four numbers from 0 to 15 for each of 16 columns.
    type Fours: Copy;
    /// Four numbers from -127 to 127, the same for all columns.
    type Left: Copy;

    /// The lower halves of 64 bytes, and the upper ones.
    ///
    /// # Safety
    /// 64 bytes can be read there.
    unsafe fn fours(self, from: *const u8) -> [Self::Fours; 2];
    /// # Safety
    /// 4 bytes can be read there.
    unsafe fn left(self, from: *const u8) -> Self::Left;
    /// What products are added to. [`Nibbles::end`] takes the same `sums`.
    fn begin(self, sums: Self::Sums) -> Self::Partial;
    fn multiply(self, partial: Self::Partial, fours: Self::Fours, left: Self::Left) -> Self::Partial;
    /// `sums`, and the products that were added.
    fn end(self, sums: Self::Sums, partial: Self::Partial) -> Self::Sums;
    /// Numbers from 0 to 255 by a number of 16 bits.
    fn times(self, numbers: Self::Sums, factor: i16) -> Self::Sums;
}

impl Nibbles for Plain {
    type Partial = [i32; 16];
    type Fours = [u8; 64];
    type Left = [i8; 4];

    #[inline(always)]
    unsafe fn fours(self, from: *const u8) -> [[u8; 64]; 2] {
        // SAFETY: the caller says that 64 bytes can be read.
        let bytes = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
        [bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4)]
    }

    #[inline(always)]
    unsafe fn left(self, from: *const u8) -> [i8; 4] {
        // SAFETY: the caller says that 4 bytes can be read.
        unsafe { from.cast::<[i8; 4]>().read_unaligned() }
    }

    #[inline(always)]
    fn begin(self, sums: [i32; 16]) -> [i32; 16] {
        sums
    }

    #[inline(always)]
    fn multiply(self, mut partial: [i32; 16], fours: [u8; 64], left: [i8; 4]) -> [i32; 16] {
        for (sum, fours) in partial.iter_mut().zip(fours.as_chunks::<4>().0) {
            for (number, left) in fours.iter().zip(left) {
                *sum += i32::from(*number) * i32::from(left);
            }
        }
        partial
    }

    #[inline(always)]
    fn end(self, _: [i32; 16], partial: [i32; 16]) -> [i32; 16] {
        partial
    }

    #[inline(always)]
    fn times(self, numbers: [i32; 16], factor: i16) -> [i32; 16] {
        numbers.map(|number| number * i32::from(factor))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_add_epi16, _mm256_add_epi32, _mm256_and_si256, _mm256_dpbusd_avx_epi32,
        _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_set1_epi8, _mm256_set1_epi16,
        _mm256_set1_epi32, _mm256_setzero_si256, _mm256_srli_epi16, _mm512_add_epi16, _mm512_add_epi32,
        _mm512_and_si512, _mm512_dpbusd_epi32, _mm512_loadu_si512, _mm512_madd_epi16, _mm512_maddubs_epi16,
        _mm512_set1_epi8, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_srli_epi16,
    };

    use super::Nibbles;
    use crate::integer::instructions::{
        avx2::{Avx2, AvxVnni},
        avx512::{Avx512, Avx512Vnni},
    };

    /// What AVX-512 has in common with and without its products of bytes.
    macro_rules! wide {
        () => {
            type Partial = __m512i;
            type Fours = __m512i;
            type Left = __m512i;

            #[inline(always)]
            unsafe fn fours(self, from: *const u8) -> [__m512i; 2] {
                // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
                unsafe {
                    let (bytes, mask) = (_mm512_loadu_si512(from.cast()), _mm512_set1_epi8(15));
                    [_mm512_and_si512(bytes, mask), _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), mask)]
                }
            }

            #[inline(always)]
            unsafe fn left(self, from: *const u8) -> __m512i {
                // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
                unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            fn times(self, numbers: __m512i, factor: i16) -> __m512i {
                // SAFETY: `self` is proof that the processor has the instructions.
                unsafe { _mm512_madd_epi16(numbers, _mm512_set1_epi16(factor)) }
            }
        };
    }

    impl Nibbles for Avx512Vnni {
        wide!();

        #[inline(always)]
        fn begin(self, sums: __m512i) -> __m512i {
            sums
        }

        #[inline(always)]
        fn multiply(self, partial: __m512i, fours: __m512i, left: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_dpbusd_epi32(partial, fours, left) }
        }

        #[inline(always)]
        fn end(self, _: __m512i, partial: __m512i) -> __m512i {
            partial
        }
    }

    impl Nibbles for Avx512 {
        wide!();

        #[inline(always)]
        fn begin(self, _: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_setzero_si512() }
        }

        #[inline(always)]
        fn multiply(self, partial: __m512i, fours: __m512i, left: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe { _mm512_add_epi16(partial, _mm512_maddubs_epi16(fours, left)) }
        }

        #[inline(always)]
        fn end(self, sums: __m512i, partial: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe { _mm512_add_epi32(sums, _mm512_madd_epi16(partial, _mm512_set1_epi16(1))) }
        }
    }

    /// What AVX2 has in common with and without AVX-VNNI.
    macro_rules! narrow {
        () => {
            type Partial = [__m256i; 2];
            type Fours = [__m256i; 2];
            type Left = __m256i;

            #[inline(always)]
            unsafe fn fours(self, from: *const u8) -> [[__m256i; 2]; 2] {
                // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
                unsafe {
                    let mask = _mm256_set1_epi8(15);
                    let first = _mm256_loadu_si256(from.cast());
                    let second = _mm256_loadu_si256(from.add(32).cast());
                    let (upper, lower) = (_mm256_srli_epi16::<4>(first), _mm256_srli_epi16::<4>(second));
                    [
                        [_mm256_and_si256(first, mask), _mm256_and_si256(second, mask)],
                        [_mm256_and_si256(upper, mask), _mm256_and_si256(lower, mask)],
                    ]
                }
            }

            #[inline(always)]
            unsafe fn left(self, from: *const u8) -> __m256i {
                // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }

            #[inline(always)]
            fn times(self, numbers: [__m256i; 2], factor: i16) -> [__m256i; 2] {
                // SAFETY: `self` is proof that the processor has the instructions.
                unsafe {
                    let factor = _mm256_set1_epi16(factor);
                    [_mm256_madd_epi16(numbers[0], factor), _mm256_madd_epi16(numbers[1], factor)]
                }
            }
        };
    }

    impl Nibbles for AvxVnni {
        narrow!();

        #[inline(always)]
        fn begin(self, sums: [__m256i; 2]) -> [__m256i; 2] {
            sums
        }

        #[inline(always)]
        fn multiply(self, partial: [__m256i; 2], fours: [__m256i; 2], left: __m256i) -> [__m256i; 2] {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe {
                [
                    _mm256_dpbusd_avx_epi32(partial[0], fours[0], left),
                    _mm256_dpbusd_avx_epi32(partial[1], fours[1], left),
                ]
            }
        }

        #[inline(always)]
        fn end(self, _: [__m256i; 2], partial: [__m256i; 2]) -> [__m256i; 2] {
            partial
        }
    }

    impl Nibbles for Avx2 {
        narrow!();

        #[inline(always)]
        fn begin(self, _: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: `self` is proof that the processor has the instruction.
            [unsafe { _mm256_setzero_si256() }; 2]
        }

        #[inline(always)]
        fn multiply(self, partial: [__m256i; 2], fours: [__m256i; 2], left: __m256i) -> [__m256i; 2] {
            // SAFETY: `self` is proof that the processor has the instructions.
            [0, 1].map(|half| unsafe {
                _mm256_add_epi16(partial[half], _mm256_maddubs_epi16(fours[half], left))
            })
        }

        #[inline(always)]
        fn end(self, sums: [__m256i; 2], partial: [__m256i; 2]) -> [__m256i; 2] {
            // SAFETY: `self` is proof that the processor has the instructions.
            [0, 1].map(|half| unsafe {
                _mm256_add_epi32(sums[half], _mm256_madd_epi16(partial[half], _mm256_set1_epi16(1)))
            })
        }
    }
}
