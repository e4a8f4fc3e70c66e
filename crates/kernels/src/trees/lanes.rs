//! The operations that the masks of trees are written over: 16 rows at once.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use crate::Level;

/// Operations on 16 words at once. A value of such a type is proof that the processor has the
/// instructions: it is made only in [`dispatch`].
pub(super) trait Lanes: Copy {
    /// Sixteen words of 32 bits.
    type Words: Copy;
    /// Sixteen truths.
    type Truths: Copy;
    /// How many vectors of rows the registers have room for at once.
    const GROUPS: usize;

    /// All bits.
    fn ones(self) -> Self::Words;
    /// Whether each of 16 numbers is not at most the threshold. A NaN is not, unless
    /// `MISSING`.
    ///
    /// # Safety
    /// 16 floats can be read there.
    unsafe fn exceeding<const MISSING: bool>(self, from: *const f32, threshold: f32) -> Self::Truths;
    /// Where it is true, only the bits of `keep`.
    fn keep(self, words: Self::Words, truths: Self::Truths, keep: u32) -> Self::Words;
    /// The number of the first bit of one word, or of two of which the second is the higher one. At least
    /// one bit is set.
    fn first<const W: usize>(self, words: [Self::Words; W]) -> Self::Words;
    /// Adds to 16 sums the values of these numbers.
    ///
    /// # Safety
    /// `values` are 32 `W` floats, numbers are below that, and 16 sums can be read and written.
    unsafe fn add_values<const W: usize>(self, numbers: Self::Words, values: *const f32, sums: *mut f32);
    /// # Safety
    /// 16 words can be written there.
    unsafe fn store(self, words: Self::Words, to: *mut u32);
}

/// Work that is written over the operations. `run` must be inlined to be compiled for the instructions.
pub(super) trait Task {
    fn run<L: Lanes>(self, lanes: L);
}

/// Does work with the instructions of a level, or of the best one below that the processor has.
pub(super) fn dispatch<T: Task>(level: Level, task: T) {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() => x86::run_avx512(task),
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 if Level::Avx2.is_available() => x86::run_avx2(task),
        _ => task.run(Plain),
    }
}

#[derive(Clone, Copy, Debug)]
struct Plain;

impl Lanes for Plain {
    type Words = [u32; 16];
    type Truths = [bool; 16];
    const GROUPS: usize = 1;

    #[inline(always)]
    fn ones(self) -> Self::Words {
        [u32::MAX; 16]
    }

    #[inline(always)]
    unsafe fn exceeding<const MISSING: bool>(self, from: *const f32, threshold: f32) -> Self::Truths {
        // SAFETY: the caller says that 16 floats are there, and an array has no other alignment.
        let values = unsafe { *from.cast::<[f32; 16]>() };
        let is_missing = |value: f32| !MISSING && (value.is_nan() || threshold.is_nan());
        values.map(|value| value > threshold || is_missing(value))
    }

    #[inline(always)]
    fn keep(self, mut words: Self::Words, truths: Self::Truths, keep: u32) -> Self::Words {
        for (word, truth) in words.iter_mut().zip(truths) {
            *word &= if truth { keep } else { u32::MAX };
        }
        words
    }

    #[inline(always)]
    fn first<const W: usize>(self, words: [Self::Words; W]) -> Self::Words {
        std::array::from_fn(|lane| {
            let word = words.iter().rev().fold(0_u64, |all, word| all << 32 | u64::from(word[lane]));
            word.trailing_zeros() & (32 * W as u32 - 1)
        })
    }

    #[inline(always)]
    unsafe fn add_values<const W: usize>(self, numbers: Self::Words, values: *const f32, sums: *mut f32) {
        for (lane, number) in numbers.into_iter().enumerate() {
            // SAFETY: the caller says that the value and the sum are there.
            unsafe { *sums.add(lane) += *values.add(number as usize) };
        }
    }

    #[inline(always)]
    unsafe fn store(self, words: Self::Words, to: *mut u32) {
        // SAFETY: the caller says that there is room, and an array has no other alignment.
        unsafe { *to.cast() = words };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Lanes, Task};

    /// Proof that the processor has AVX-512 (F, BW, DQ, VL).
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Avx512(());

    /// Proof that the processor has AVX2.
    #[derive(Clone, Copy, Debug)]
    pub(super) struct Avx2(());

    /// The caller has found that the processor has the instructions.
    pub(super) fn run_avx512<T: Task>(task: T) {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
        fn run<T: Task>(task: T) {
            task.run(Avx512(()));
        }
        // SAFETY: `dispatch`, the only caller, has asked the processor.
        unsafe { run(task) }
    }

    /// The caller has found that the processor has the instructions.
    pub(super) fn run_avx2<T: Task>(task: T) {
        #[target_feature(enable = "avx2,fma")]
        fn run<T: Task>(task: T) {
            task.run(Avx2(()));
        }
        // SAFETY: `dispatch`, the only caller, has asked the processor.
        unsafe { run(task) }
    }

    impl Lanes for Avx512 {
        type Words = __m512i;
        type Truths = __mmask16;
        const GROUPS: usize = 4;

        #[inline(always)]
        fn ones(self) -> __m512i {
            // SAFETY: `self` is proof of the instruction.
            unsafe { _mm512_set1_epi32(-1) }
        }

        #[inline(always)]
        unsafe fn exceeding<const MISSING: bool>(self, from: *const f32, threshold: f32) -> __mmask16 {
            // SAFETY: `self` is proof of the instructions; the caller says that the floats are there.
            unsafe {
                let (values, threshold) = (_mm512_loadu_ps(from), _mm512_set1_ps(threshold));
                if MISSING {
                    _mm512_cmp_ps_mask::<_CMP_GT_OQ>(values, threshold)
                } else {
                    _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(values, threshold)
                }
            }
        }

        #[inline(always)]
        fn keep(self, words: __m512i, truths: __mmask16, keep: u32) -> __m512i {
            // SAFETY: `self` is proof of the instructions.
            unsafe { _mm512_mask_and_epi32(words, truths, words, _mm512_set1_epi32(keep as i32)) }
        }

        #[inline(always)]
        fn first<const W: usize>(self, words: [__m512i; W]) -> __m512i {
            // The first bit alone, as a float: its exponent is the bit's number and 127. The highest bit
            // is a negative number, whose sign is cut off with the upper bits.
            // SAFETY: `self` is proof of the instructions.
            unsafe {
                let zero = _mm512_setzero_si512();
                let is_empty = if W == 2 { _mm512_cmpeq_epi32_mask(words[0], zero) } else { 0 };
                let word = _mm512_mask_mov_epi32(words[0], is_empty, words[W - 1]);
                let bit = _mm512_and_si512(word, _mm512_sub_epi32(zero, word));
                let exponent = _mm512_srli_epi32::<23>(_mm512_castps_si512(_mm512_cvtepi32_ps(bit)));
                let number = _mm512_sub_epi32(exponent, _mm512_set1_epi32(127));
                let number = _mm512_and_si512(number, _mm512_set1_epi32(31));
                _mm512_mask_add_epi32(number, is_empty, number, _mm512_set1_epi32(32))
            }
        }

        #[inline(always)]
        unsafe fn add_values<const W: usize>(self, numbers: __m512i, values: *const f32, sums: *mut f32) {
            // SAFETY: `self` is proof of the instructions; the caller says that the floats are there.
            unsafe {
                let mut found =
                    _mm512_permutex2var_ps(_mm512_loadu_ps(values), numbers, _mm512_loadu_ps(values.add(16)));
                if W == 2 {
                    let (low, high) = (_mm512_loadu_ps(values.add(32)), _mm512_loadu_ps(values.add(48)));
                    let is_second = _mm512_test_epi32_mask(numbers, _mm512_set1_epi32(32));
                    let second = _mm512_permutex2var_ps(low, numbers, high);
                    found = _mm512_mask_mov_ps(found, is_second, second);
                }
                _mm512_storeu_ps(sums, _mm512_add_ps(_mm512_loadu_ps(sums), found));
            }
        }

        #[inline(always)]
        unsafe fn store(self, words: __m512i, to: *mut u32) {
            // SAFETY: `self` is proof of the instruction; the caller says that there is room.
            unsafe { _mm512_storeu_si512(to.cast(), words) }
        }
    }

    /// The operations on half of the words.
    impl Avx2 {
        /// # Safety
        /// 8 floats can be read there.
        #[inline(always)]
        unsafe fn exceeds<const MISSING: bool>(self, from: *const f32, threshold: f32) -> __m256i {
            // SAFETY: `self` is proof of the instructions; the caller says that the floats are there.
            unsafe {
                let (values, threshold) = (_mm256_loadu_ps(from), _mm256_set1_ps(threshold));
                _mm256_castps_si256(if MISSING {
                    _mm256_cmp_ps::<_CMP_GT_OQ>(values, threshold)
                } else {
                    _mm256_cmp_ps::<_CMP_NLE_UQ>(values, threshold)
                })
            }
        }

        #[inline(always)]
        fn keep_half(self, words: __m256i, truths: __m256i, keep: u32) -> __m256i {
            // SAFETY: `self` is proof of the instructions.
            unsafe {
                let struck = _mm256_andnot_si256(_mm256_set1_epi32(keep as i32), truths);
                _mm256_andnot_si256(struck, words)
            }
        }

        /// As with AVX-512.
        #[inline(always)]
        fn first_half<const W: usize>(self, words: __m256i, others: __m256i) -> __m256i {
            // SAFETY: `self` is proof of the instructions.
            unsafe {
                let zero = _mm256_setzero_si256();
                let is_empty = if W == 2 { _mm256_cmpeq_epi32(words, zero) } else { zero };
                let word = _mm256_blendv_epi8(words, others, is_empty);
                let bit = _mm256_and_si256(word, _mm256_sub_epi32(zero, word));
                let exponent = _mm256_srli_epi32::<23>(_mm256_castps_si256(_mm256_cvtepi32_ps(bit)));
                let number = _mm256_sub_epi32(exponent, _mm256_set1_epi32(127));
                let number = _mm256_and_si256(number, _mm256_set1_epi32(31));
                _mm256_add_epi32(number, _mm256_and_si256(is_empty, _mm256_set1_epi32(32)))
            }
        }
    }

    impl Lanes for Avx2 {
        type Words = [__m256i; 2];
        type Truths = [__m256i; 2];
        const GROUPS: usize = 2;

        #[inline(always)]
        fn ones(self) -> Self::Words {
            // SAFETY: `self` is proof of the instruction.
            unsafe { [_mm256_set1_epi32(-1); 2] }
        }

        #[inline(always)]
        unsafe fn exceeding<const MISSING: bool>(self, from: *const f32, threshold: f32) -> Self::Truths {
            // SAFETY: the caller says that the floats are there.
            unsafe {
                [self.exceeds::<MISSING>(from, threshold), self.exceeds::<MISSING>(from.add(8), threshold)]
            }
        }

        #[inline(always)]
        fn keep(self, words: Self::Words, truths: Self::Truths, keep: u32) -> Self::Words {
            [self.keep_half(words[0], truths[0], keep), self.keep_half(words[1], truths[1], keep)]
        }

        #[inline(always)]
        fn first<const W: usize>(self, words: [Self::Words; W]) -> Self::Words {
            let last = words[W - 1];
            [self.first_half::<W>(words[0][0], last[0]), self.first_half::<W>(words[0][1], last[1])]
        }

        #[inline(always)]
        unsafe fn add_values<const W: usize>(self, numbers: Self::Words, values: *const f32, sums: *mut f32) {
            for (half, numbers) in numbers.into_iter().enumerate() {
                // SAFETY: `self` is proof of the instructions; the caller says that the floats are there.
                unsafe {
                    let sums = sums.add(8 * half);
                    let found = _mm256_i32gather_ps::<4>(values, numbers);
                    _mm256_storeu_ps(sums, _mm256_add_ps(_mm256_loadu_ps(sums), found));
                }
            }
        }

        #[inline(always)]
        unsafe fn store(self, words: Self::Words, to: *mut u32) {
            // SAFETY: `self` is proof of the instructions; the caller says that there is room.
            unsafe {
                _mm256_storeu_si256(to.cast(), words[0]);
                _mm256_storeu_si256(to.add(8).cast(), words[1]);
            }
        }
    }
}
