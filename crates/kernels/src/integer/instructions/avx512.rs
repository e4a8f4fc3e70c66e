//! The operations by AVX-512, with and without its products of bytes.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use std::arch::x86_64::{
    __m512, __m512i, _mm_loadu_si128, _mm_storeu_si128, _mm512_add_epi16, _mm512_add_epi32,
    _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_cvtepi32_ps, _mm512_cvtepu8_epi32,
    _mm512_cvtps_epi32, _mm512_cvtusepi32_epi8, _mm512_dpbusd_epi32, _mm512_inserti32x4, _mm512_loadu_si512,
    _mm512_madd_epi16, _mm512_maddubs_epi16, _mm512_max_epi32, _mm512_packs_epi32, _mm512_packus_epi16,
    _mm512_permutexvar_epi32, _mm512_set_epi32, _mm512_set1_epi16, _mm512_set1_epi32, _mm512_set4_epi32,
    _mm512_setzero_si512, _mm512_shuffle_epi8, _mm512_storeu_si512,
};

use super::{Integers, Pairs, Task};
use crate::isa::{self, Isa};

/// Proof that the processor has AVX-512.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512(isa::avx512::Avx512);

/// Proof that the processor has AVX-512 and its VNNI.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx512Vnni(isa::avx512::Avx512);

impl Avx512 {
    /// # Safety
    /// The processor has the instructions of `Level::Avx512`.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        // SAFETY: the caller says so.
        Self(unsafe { isa::avx512::Avx512::assumed() })
    }
}

impl Avx512Vnni {
    /// # Safety
    /// The processor has the instructions of `Level::Avx512`, and VNNI.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        // SAFETY: the caller says so.
        Self(unsafe { isa::avx512::Avx512::assumed() })
    }
}

/// Does work with AVX-512. The caller has found that the processor has it.
pub(super) fn run<T: Task>(task: T) {
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn run<T: Task>(task: T) {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { Avx512::assumed() });
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

/// Does work with AVX-512 VNNI. The caller has found that the processor has it.
pub(super) fn run_vnni<T: Task>(task: T) {
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn run<T: Task>(task: T) {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { Avx512Vnni::assumed() });
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

/// What both sets have in common.
macro_rules! shared {
    () => {
        type Isa = isa::avx512::Avx512;
        type Sums = __m512i;

        #[inline(always)]
        fn isa(self) -> isa::avx512::Avx512 {
            self.0
        }

        #[inline(always)]
        fn splat(self, value: i32) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_set1_epi32(value) }
        }

        #[inline(always)]
        unsafe fn load(self, from: *const i32) -> __m512i {
            // SAFETY: `self` is proof of the instruction; the caller says that the integers are there.
            unsafe { _mm512_loadu_si512(from.cast()) }
        }

        #[inline(always)]
        unsafe fn store(self, value: __m512i, to: *mut i32) {
            // SAFETY: `self` is proof of the instruction; the caller says that there is room.
            unsafe { _mm512_storeu_si512(to.cast(), value) }
        }

        #[inline(always)]
        unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8) {
            // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there, and
            // room for them.
            unsafe {
                let all = _mm512_castsi128_si512(_mm_loadu_si128(rows[0].cast()));
                let all = _mm512_inserti32x4::<1>(all, _mm_loadu_si128(rows[1].cast()));
                let all = _mm512_inserti32x4::<2>(all, _mm_loadu_si128(rows[2].cast()));
                let all = _mm512_inserti32x4::<3>(all, _mm_loadu_si128(rows[3].cast()));
                // Four bytes of each row next to each other, then one of each.
                let order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
                let fours = _mm512_permutexvar_epi32(order, all);
                let turn = _mm512_set4_epi32(0x0f0b_0703, 0x0e0a_0602, 0x0d09_0501, 0x0c08_0400);
                _mm512_storeu_si512(to.cast(), _mm512_shuffle_epi8(fours, turn));
            }
        }

        #[inline(always)]
        fn add(self, left: __m512i, right: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_add_epi32(left, right) }
        }

        #[inline(always)]
        fn to_floats(self, sums: __m512i) -> __m512 {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_cvtepi32_ps(sums) }
        }

        #[inline(always)]
        fn nearest(self, values: __m512) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { _mm512_cvtps_epi32(values) }
        }

        #[inline(always)]
        unsafe fn widen(self, from: *const u8) -> __m512i {
            // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
            unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(from.cast())) }
        }

        #[inline(always)]
        fn at_least_zero(self, sums: __m512i) -> __m512i {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe { _mm512_max_epi32(sums, _mm512_setzero_si512()) }
        }

        #[inline(always)]
        unsafe fn narrow(self, sums: __m512i, to: *mut u8) {
            let sums = self.at_least_zero(sums);
            // SAFETY: `self` is proof of the instructions; the caller says that there is room.
            unsafe { _mm_storeu_si128(to.cast(), _mm512_cvtusepi32_epi8(sums)) }
        }

        #[inline(always)]
        unsafe fn narrow_four(self, sums: [__m512i; 4], to: *mut u8) {
            // SAFETY: `self` is proof of the instructions; the caller says that there is room.
            unsafe {
                let low = _mm512_packs_epi32(sums[0], sums[1]);
                let high = _mm512_packs_epi32(sums[2], sums[3]);
                // Four bytes of each of the four, then the next four.
                let order = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9, 5, 1, 12, 8, 4, 0);
                let bytes = _mm512_permutexvar_epi32(order, _mm512_packus_epi16(low, high));
                _mm512_storeu_si512(to.cast(), bytes);
            }
        }

        #[inline(always)]
        fn fused(self, left: __m512, right: __m512, sum: __m512) -> __m512 {
            self.0.multiply_add(left, right, sum)
        }
    };
}

/// Numbers of 16 bits, or their weights: of the first two rows, and of the others.
type Words = [__m512i; 2];

impl Integers for Avx512 {
    type Bytes = Words;
    type Weights = Words;
    type Group = __m512i;
    type Factors = __m512i;

    shared!();

    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn factors(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn accumulate(self, sums: __m512i, group: __m512i, factors: __m512i) -> __m512i {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe {
            let products = _mm512_maddubs_epi16(group, factors);
            _mm512_add_epi32(sums, _mm512_madd_epi16(products, _mm512_set1_epi16(1)))
        }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> Words {
        // SAFETY: `self` is proof of the instruction; the caller says that the numbers are there.
        unsafe { [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(64).cast())] }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const u8) -> Words {
        // SAFETY: the same.
        unsafe { self.bytes(from) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, bytes: Words, weights: Words) -> __m512i {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe {
            let first = _mm512_madd_epi16(bytes[0], weights[0]);
            let second = _mm512_madd_epi16(bytes[1], weights[1]);
            _mm512_add_epi32(_mm512_add_epi32(sums, first), second)
        }
    }

    #[inline(always)]
    unsafe fn columns(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: `self` is proof of the instructions; the caller says the rest.
        unsafe { super::avx2::interleave_words(rows, to) }
    }
}

impl Pairs for Avx512 {
    const LANES: usize = 16;
    type Products = __m512i;
    type Source = __m512i;
    type Taken = [__m512i; 2];

    #[inline(always)]
    fn no_products(self) -> __m512i {
        // SAFETY: `self` is proof that the processor has the instruction.
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn sixteen(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm512_broadcast_i32x4(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn four(self, from: *const u8) -> __m512i {
        // SAFETY: the same.
        unsafe { self.group(from) }
    }

    #[inline(always)]
    unsafe fn taken(self, from: *const u8) -> [__m512i; 2] {
        // SAFETY: `self` is proof of the instruction; the caller says that the numbers are there.
        unsafe { [_mm512_loadu_si512(from.cast()), _mm512_loadu_si512(from.add(64).cast())] }
    }

    #[inline(always)]
    fn add_products(self, products: __m512i, source: __m512i, [places, weights]: [__m512i; 2]) -> __m512i {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe {
            let bytes = _mm512_shuffle_epi8(source, places);
            _mm512_add_epi16(products, _mm512_maddubs_epi16(bytes, weights))
        }
    }

    #[inline(always)]
    unsafe fn add_pairs(self, products: __m512i, to: *mut i32) {
        // SAFETY: `self` is proof of the instructions; the caller says that the integers are there.
        unsafe {
            let pairs = _mm512_madd_epi16(products, _mm512_set1_epi16(1));
            _mm512_storeu_si512(to.cast(), _mm512_add_epi32(_mm512_loadu_si512(to.cast()), pairs));
        }
    }
}

impl Integers for Avx512Vnni {
    type Bytes = __m512i;
    type Weights = __m512i;
    type Group = __m512i;
    type Factors = __m512i;

    shared!();

    #[inline(always)]
    unsafe fn factors(self, from: *const u8) -> __m512i {
        // SAFETY: the caller says that the bytes are there.
        unsafe { self.weights(from) }
    }

    #[inline(always)]
    fn accumulate(self, sums: __m512i, group: __m512i, factors: __m512i) -> __m512i {
        self.dot(sums, group, factors)
    }

    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const u8) -> __m512i {
        // SAFETY: `self` is proof of the instruction; the caller says that the weights are there.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, bytes: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: `self` is proof that the processor has the instruction.
        unsafe { _mm512_dpbusd_epi32(sums, bytes, weights) }
    }
}
