//! The operations by AVX2 and FMA: sixteen floats are two registers.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use std::arch::x86_64::{
    __m256, _CMP_LT_OQ, _MM_HINT_T1, _mm_loadl_epi64, _mm_prefetch, _mm256_add_epi32, _mm256_add_ps,
    _mm256_and_si256, _mm256_andnot_ps, _mm256_blendv_ps, _mm256_castps_si256, _mm256_castsi256_ps,
    _mm256_cmp_ps, _mm256_cvtepi32_ps, _mm256_cvtepu8_epi32, _mm256_cvtps_epi32, _mm256_div_ps,
    _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_max_ps, _mm256_min_ps, _mm256_mul_ps, _mm256_permute2f128_ps,
    _mm256_permutevar8x32_ps, _mm256_round_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setzero_ps,
    _mm256_shuffle_ps, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_ps, _mm256_sub_ps,
    _mm256_unpackhi_ps, _mm256_unpacklo_ps,
};

use super::{Isa, Task};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx2(());

impl Avx2 {
    /// # Safety
    /// The processor has the instructions of `Level::Avx2`.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        Self(())
    }
}

/// Does work with the instructions. The caller has found that the processor has them.
pub(super) fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma")]
    fn run<T: Task>(task: T) -> T::Output {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { Avx2::assumed() })
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

type V = [__m256; 2];

/// Operations on both halves. A value of this type is the proof that they are there.
macro_rules! operations {
    ($( fn $name:ident($($argument:ident),*) $body:block )*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: V),*) -> V {
                let half = |$($argument: __m256),*| -> __m256 {
                    // SAFETY: `self` is proof that the processor has the instructions.
                    unsafe { $body }
                };
                [half($($argument[0]),*), half($($argument[1]),*)]
            }
        )*
    };
}

impl Isa for Avx2 {
    type V = V;

    #[inline(always)]
    fn splat(self, value: f32) -> V {
        // SAFETY: `self` is proof that the processor has the instruction.
        [unsafe { _mm256_set1_ps(value) }; 2]
    }

    operations! {
        fn add(left, right) { _mm256_add_ps(left, right) }
        fn subtract(left, right) { _mm256_sub_ps(left, right) }
        fn multiply(left, right) { _mm256_mul_ps(left, right) }
        fn divide(left, right) { _mm256_div_ps(left, right) }
        fn multiply_add(left, right, sum) { _mm256_fmadd_ps(left, right, sum) }
        // Of what is not a number, or of two equal ones, these instructions give the second.
        fn at_least(value, low) { _mm256_max_ps(low, value) }
        fn at_most(value, high) { _mm256_min_ps(high, value) }
        fn where_negative(value, then, other) {
            _mm256_blendv_ps(other, then, _mm256_cmp_ps::<_CMP_LT_OQ>(value, _mm256_setzero_ps()))
        }
        fn round(value) { _mm256_round_ps::<0>(value) }
        fn absolute(value) { _mm256_andnot_ps(_mm256_set1_ps(-0.0), value) }
        fn power_of_two(exponent) {
            let biased = _mm256_add_epi32(_mm256_cvtps_epi32(exponent), _mm256_set1_epi32(127));
            _mm256_castsi256_ps(_mm256_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> V {
        // SAFETY: `self` is proof of the instruction; the caller says that the floats are there.
        unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> V {
        // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
        unsafe {
            let first = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            let second = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            [_mm256_cvtepi32_ps(first), _mm256_cvtepi32_ps(second)]
        }
    }

    #[inline(always)]
    unsafe fn nibbles(self, from: *const u8) -> [V; 2] {
        // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
        unsafe {
            let first = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast()));
            let second = _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast()));
            let mask = _mm256_set1_epi32(15);
            let low = [_mm256_and_si256(first, mask), _mm256_and_si256(second, mask)];
            let high = [_mm256_srli_epi32::<4>(first), _mm256_srli_epi32::<4>(second)];
            [
                [_mm256_cvtepi32_ps(low[0]), _mm256_cvtepi32_ps(low[1])],
                [_mm256_cvtepi32_ps(high[0]), _mm256_cvtepi32_ps(high[1])],
            ]
        }
    }

    #[inline(always)]
    fn pick(self, from: V, places: V, other: V) -> V {
        let half = |places: __m256, other: __m256| -> __m256 {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe {
                let numbers = _mm256_castps_si256(places);
                let low = _mm256_permutevar8x32_ps(from[0], numbers);
                let high = _mm256_permutevar8x32_ps(from[1], numbers);
                // The bit of 8 becomes the sign.
                let is_high = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(numbers));
                _mm256_blendv_ps(_mm256_blendv_ps(low, high, is_high), other, places)
            }
        };
        [half(places[0], other[0]), half(places[1], other[1])]
    }

    #[inline(always)]
    fn turned(self, rows: [V; 16]) -> [V; 16] {
        let mut columns = rows;
        for half in 0..2 {
            for other in 0..2 {
                let mut square = [rows[0][0]; 8];
                for (value, row) in square.iter_mut().zip(&rows[8 * half..8 * half + 8]) {
                    *value = row[other];
                }
                // SAFETY: `self` is proof that the processor has the instructions.
                let square = unsafe { turned_square(square) };
                for (column, value) in columns[8 * other..8 * other + 8].iter_mut().zip(square) {
                    column[half] = value;
                }
            }
        }
        columns
    }

    #[inline(always)]
    unsafe fn store(self, value: V, to: *mut f32) {
        // SAFETY: `self` is proof of the instruction; the caller says that there is room.
        unsafe {
            _mm256_storeu_ps(to, value[0]);
            _mm256_storeu_ps(to.add(8), value[1]);
        }
    }
}

/// The columns of eight rows.
///
/// # Safety
/// The processor has AVX.
#[inline(always)]
unsafe fn turned_square(rows: [__m256; 8]) -> [__m256; 8] {
    // SAFETY: the caller says so.
    unsafe {
        // In each half of a register, four columns of four rows.
        let mut fours = rows;
        for group in 0..2 {
            let first = 4 * group;
            let [a, b, c, d] = [rows[first], rows[first + 1], rows[first + 2], rows[first + 3]];
            let (low, high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
            let (other_low, other_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
            fours[4 * group] = _mm256_shuffle_ps::<0x44>(low, other_low);
            fours[4 * group + 1] = _mm256_shuffle_ps::<0xee>(low, other_low);
            fours[4 * group + 2] = _mm256_shuffle_ps::<0x44>(high, other_high);
            fours[4 * group + 3] = _mm256_shuffle_ps::<0xee>(high, other_high);
        }
        let mut columns = rows;
        for column in 0..4 {
            columns[column] = _mm256_permute2f128_ps::<0x20>(fours[column], fours[4 + column]);
            columns[4 + column] = _mm256_permute2f128_ps::<0x31>(fours[column], fours[4 + column]);
        }
        columns
    }
}
