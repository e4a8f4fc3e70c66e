//! The operations by AVX-512.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use std::arch::x86_64::{
    __m512, _CMP_LT_OQ, _MM_HINT_T1, _knot_mask16, _mm_loadu_si128, _mm_prefetch, _mm512_abs_ps,
    _mm512_add_epi32, _mm512_add_ps, _mm512_and_si512, _mm512_castpd_ps, _mm512_castps_pd,
    _mm512_castps_si512, _mm512_castsi512_ps, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtps_epi32, _mm512_div_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_mask_blend_ps,
    _mm512_mask_permutexvar_ps, _mm512_max_ps, _mm512_min_ps, _mm512_movepi32_mask, _mm512_mul_ps,
    _mm512_roundscale_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_shuffle_f32x4,
    _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_sub_ps, _mm512_unpackhi_pd,
    _mm512_unpackhi_ps, _mm512_unpacklo_pd, _mm512_unpacklo_ps,
};

use super::{Isa, Task};

/// Proof that the processor has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512(());

impl Avx512 {
    /// # Safety
    /// The processor has the instructions of `Level::Avx512`.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        Self(())
    }
}

/// Does work with the instructions. The caller has found that the processor has them.
pub(super) fn run<T: Task>(task: T) -> T::Output {
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn run<T: Task>(task: T) -> T::Output {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { Avx512::assumed() })
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

/// Operations of one instruction or a few. A value of this type is the proof that they are there.
macro_rules! operations {
    ($( fn $name:ident($($argument:ident: $type:ty),*) $body:block )*) => {
        $(
            #[inline(always)]
            fn $name(self, $($argument: $type),*) -> __m512 {
                // SAFETY: `self` is proof that the processor has the instructions.
                unsafe { $body }
            }
        )*
    };
}

impl Isa for Avx512 {
    type V = __m512;

    operations! {
        fn splat(value: f32) { _mm512_set1_ps(value) }
        fn add(left: __m512, right: __m512) { _mm512_add_ps(left, right) }
        fn subtract(left: __m512, right: __m512) { _mm512_sub_ps(left, right) }
        fn multiply(left: __m512, right: __m512) { _mm512_mul_ps(left, right) }
        fn divide(left: __m512, right: __m512) { _mm512_div_ps(left, right) }
        fn multiply_add(left: __m512, right: __m512, sum: __m512) { _mm512_fmadd_ps(left, right, sum) }
        // Of what is not a number, or of two equal ones, these instructions give the second.
        fn at_least(value: __m512, low: __m512) { _mm512_max_ps(low, value) }
        fn at_most(value: __m512, high: __m512) { _mm512_min_ps(high, value) }
        fn where_negative(value: __m512, then: __m512, other: __m512) {
            let is_negative = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(value, _mm512_setzero_ps());
            _mm512_mask_blend_ps(is_negative, other, then)
        }
        fn round(value: __m512) { _mm512_roundscale_ps::<0>(value) }
        fn absolute(value: __m512) { _mm512_abs_ps(value) }
        fn power_of_two(exponent: __m512) {
            let biased = _mm512_add_epi32(_mm512_cvtps_epi32(exponent), _mm512_set1_epi32(127));
            _mm512_castsi512_ps(_mm512_slli_epi32::<23>(biased))
        }
    }

    #[inline(always)]
    fn prefetch(self, from: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, which reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(from.cast()) }
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: `self` is proof of the instruction; the caller says that the floats are there.
        unsafe { _mm512_loadu_ps(from) }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> __m512 {
        // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()))) }
    }

    #[inline(always)]
    unsafe fn nibbles(self, from: *const u8) -> [__m512; 2] {
        // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
        unsafe {
            let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast()));
            let low = _mm512_and_si512(bytes, _mm512_set1_epi32(15));
            [_mm512_cvtepi32_ps(low), _mm512_cvtepi32_ps(_mm512_srli_epi32::<4>(bytes))]
        }
    }

    #[inline(always)]
    fn pick(self, from: __m512, places: __m512, other: __m512) -> __m512 {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            let places = _mm512_castps_si512(places);
            let taken = _knot_mask16(_mm512_movepi32_mask(places));
            _mm512_mask_permutexvar_ps(other, taken, places, from)
        }
    }

    #[inline(always)]
    fn turned(self, rows: [__m512; 16]) -> [__m512; 16] {
        // SAFETY: `self` is proof of the instructions.
        unsafe {
            // Squares of four by four: of each four rows, those columns whose number has the rest `k`. Closures
            // would not be compiled for the instructions.
            let mut squares = [[rows[0]; 4]; 4];
            for (group, square) in squares.iter_mut().enumerate() {
                let [a, b, c, d] =
                    [rows[4 * group], rows[4 * group + 1], rows[4 * group + 2], rows[4 * group + 3]];
                let low = _mm512_castps_pd(_mm512_unpacklo_ps(a, b));
                let high = _mm512_castps_pd(_mm512_unpackhi_ps(a, b));
                let other_low = _mm512_castps_pd(_mm512_unpacklo_ps(c, d));
                let other_high = _mm512_castps_pd(_mm512_unpackhi_ps(c, d));
                *square = [
                    _mm512_castpd_ps(_mm512_unpacklo_pd(low, other_low)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(low, other_low)),
                    _mm512_castpd_ps(_mm512_unpacklo_pd(high, other_high)),
                    _mm512_castpd_ps(_mm512_unpackhi_pd(high, other_high)),
                ];
            }
            let mut columns = rows;
            for k in 0..4 {
                let [a, b, c, d] = [squares[0][k], squares[1][k], squares[2][k], squares[3][k]];
                let even = (_mm512_shuffle_f32x4::<0x88>(a, b), _mm512_shuffle_f32x4::<0x88>(c, d));
                let odd = (_mm512_shuffle_f32x4::<0xdd>(a, b), _mm512_shuffle_f32x4::<0xdd>(c, d));
                columns[k] = _mm512_shuffle_f32x4::<0x88>(even.0, even.1);
                columns[4 + k] = _mm512_shuffle_f32x4::<0x88>(odd.0, odd.1);
                columns[8 + k] = _mm512_shuffle_f32x4::<0xdd>(even.0, even.1);
                columns[12 + k] = _mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1);
            }
            columns
        }
    }

    #[inline(always)]
    unsafe fn store(self, value: __m512, to: *mut f32) {
        // SAFETY: `self` is proof of the instruction; the caller says that there is room.
        unsafe { _mm512_storeu_ps(to, value) }
    }
}
