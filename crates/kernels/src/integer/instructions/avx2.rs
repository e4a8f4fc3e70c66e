//! The operations by AVX2, and by AVX-VNNI: sixteen sums are two registers.

#![expect(unsafe_code, reason = "vector instructions that not every processor has")]

use std::arch::x86_64::{
    __m256, __m256i, _mm_loadl_epi64, _mm_loadu_si128, _mm_packus_epi16, _mm_setzero_si128, _mm_storeu_si128,
    _mm_unpackhi_epi8, _mm_unpackhi_epi16, _mm_unpacklo_epi8, _mm_unpacklo_epi16, _mm256_add_epi16,
    _mm256_add_epi32, _mm256_broadcastsi128_si256, _mm256_castsi256_si128, _mm256_cvtepi32_ps,
    _mm256_cvtepu8_epi16, _mm256_cvtepu8_epi32, _mm256_cvtps_epi32, _mm256_dpbusd_avx_epi32,
    _mm256_extracti128_si256, _mm256_loadu_si256, _mm256_madd_epi16, _mm256_maddubs_epi16, _mm256_max_epi32,
    _mm256_packs_epi32, _mm256_packus_epi16, _mm256_permute2x128_si256, _mm256_permute4x64_epi64,
    _mm256_permutevar8x32_epi32, _mm256_set1_epi16, _mm256_set1_epi32, _mm256_setr_epi32,
    _mm256_setzero_si256, _mm256_shuffle_epi8, _mm256_storeu_si256, _mm256_unpackhi_epi16,
    _mm256_unpacklo_epi16,
};

use super::{Integers, Pairs, Task};
use crate::isa::{self, Isa};

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Avx2(isa::avx2::Avx2);

/// Proof that the processor has AVX2, FMA and AVX-VNNI.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct AvxVnni(isa::avx2::Avx2);

impl Avx2 {
    /// # Safety
    /// The processor has AVX2 and FMA.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        // SAFETY: the caller says so.
        Self(unsafe { isa::avx2::Avx2::assumed() })
    }
}

impl AvxVnni {
    /// # Safety
    /// The processor has AVX2, FMA and AVX-VNNI.
    #[inline(always)]
    pub(in super::super) unsafe fn assumed() -> Self {
        // SAFETY: the caller says so.
        Self(unsafe { isa::avx2::Avx2::assumed() })
    }
}

/// Does work with AVX2. The caller has found that the processor has it.
pub(super) fn run<T: Task>(task: T) {
    #[target_feature(enable = "avx2,fma")]
    fn run<T: Task>(task: T) {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { Avx2::assumed() });
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

/// Does work with AVX-VNNI. The caller has found that the processor has it.
pub(super) fn run_vnni<T: Task>(task: T) {
    #[target_feature(enable = "avx2,fma,avxvnni")]
    fn run<T: Task>(task: T) {
        // SAFETY: this function is called only where the processor has the instructions.
        task.run(unsafe { AvxVnni::assumed() });
    }
    // SAFETY: `dispatch`, the only caller, has asked the processor.
    unsafe { run(task) }
}

type Sums = [__m256i; 2];

/// Writes four rows of 16 bytes as numbers of 16 bits, those of two rows interleaved.
///
/// # Safety
/// The processor has AVX2; 16 bytes can be read at each place, and 128 can be written.
#[inline(always)]
pub(super) unsafe fn interleave_words(rows: [*const u8; 4], to: *mut u8) {
    // SAFETY: the caller says so.
    unsafe {
        for pair in 0..2 {
            let first = _mm256_cvtepu8_epi16(_mm_loadu_si128(rows[2 * pair].cast()));
            let second = _mm256_cvtepu8_epi16(_mm_loadu_si128(rows[2 * pair + 1].cast()));
            // Each half of a register is interleaved on its own.
            let low = _mm256_unpacklo_epi16(first, second);
            let high = _mm256_unpackhi_epi16(first, second);
            let to = to.add(pair * 64);
            _mm256_storeu_si256(to.cast(), _mm256_permute2x128_si256::<0x20>(low, high));
            _mm256_storeu_si256(to.add(32).cast(), _mm256_permute2x128_si256::<0x31>(low, high));
        }
    }
}

/// Writes four rows of 16 bytes, interleaved.
///
/// # Safety
/// The processor has SSE2; 16 bytes can be read at each place, and 64 can be written.
#[inline(always)]
unsafe fn interleave(rows: [*const u8; 4], to: *mut u8) {
    // SAFETY: the caller says so.
    unsafe {
        let mut loaded = [_mm_setzero_si128(); 4];
        for (loaded, row) in loaded.iter_mut().zip(rows) {
            *loaded = _mm_loadu_si128(row.cast());
        }
        let rows = loaded;
        let pairs = [
            [_mm_unpacklo_epi8(rows[0], rows[1]), _mm_unpacklo_epi8(rows[2], rows[3])],
            [_mm_unpackhi_epi8(rows[0], rows[1]), _mm_unpackhi_epi8(rows[2], rows[3])],
        ];
        for (half, [first, second]) in pairs.into_iter().enumerate() {
            let to = to.add(half * 32);
            _mm_storeu_si128(to.cast(), _mm_unpacklo_epi16(first, second));
            _mm_storeu_si128(to.add(16).cast(), _mm_unpackhi_epi16(first, second));
        }
    }
}

/// What both sets have in common.
macro_rules! shared {
    () => {
        type Isa = isa::avx2::Avx2;
        type Sums = Sums;

        #[inline(always)]
        fn isa(self) -> isa::avx2::Avx2 {
            self.0
        }

        #[inline(always)]
        fn splat(self, value: i32) -> Sums {
            // SAFETY: `self` is proof that the processor has the instruction.
            [unsafe { _mm256_set1_epi32(value) }; 2]
        }

        #[inline(always)]
        unsafe fn load(self, from: *const i32) -> Sums {
            // SAFETY: `self` is proof of the instruction; the caller says that the integers are there.
            unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(8).cast())] }
        }

        #[inline(always)]
        unsafe fn store(self, value: Sums, to: *mut i32) {
            // SAFETY: `self` is proof of the instruction; the caller says that there is room.
            unsafe {
                _mm256_storeu_si256(to.cast(), value[0]);
                _mm256_storeu_si256(to.add(8).cast(), value[1]);
            }
        }

        #[inline(always)]
        unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8) {
            // SAFETY: as the caller says.
            unsafe { interleave(rows, to) }
        }

        #[inline(always)]
        fn add(self, left: Sums, right: Sums) -> Sums {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { [_mm256_add_epi32(left[0], right[0]), _mm256_add_epi32(left[1], right[1])] }
        }

        #[inline(always)]
        fn to_floats(self, sums: Sums) -> [__m256; 2] {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { [_mm256_cvtepi32_ps(sums[0]), _mm256_cvtepi32_ps(sums[1])] }
        }

        #[inline(always)]
        fn nearest(self, values: [__m256; 2]) -> Sums {
            // SAFETY: `self` is proof that the processor has the instruction.
            unsafe { [_mm256_cvtps_epi32(values[0]), _mm256_cvtps_epi32(values[1])] }
        }

        #[inline(always)]
        unsafe fn widen(self, from: *const u8) -> Sums {
            // SAFETY: `self` is proof of the instructions; the caller says that the bytes are there.
            unsafe {
                [
                    _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.cast())),
                    _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(8).cast())),
                ]
            }
        }

        #[inline(always)]
        fn at_least_zero(self, sums: Sums) -> Sums {
            // SAFETY: `self` is proof that the processor has the instructions.
            unsafe {
                let zero = _mm256_setzero_si256();
                [_mm256_max_epi32(sums[0], zero), _mm256_max_epi32(sums[1], zero)]
            }
        }

        #[inline(always)]
        unsafe fn narrow(self, sums: Sums, to: *mut u8) {
            // SAFETY: `self` is proof of the instructions; the caller says that there is room.
            unsafe {
                let words = _mm256_permute4x64_epi64::<0b1101_1000>(_mm256_packs_epi32(sums[0], sums[1]));
                let bytes =
                    _mm_packus_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256::<1>(words));
                _mm_storeu_si128(to.cast(), bytes);
            }
        }

        #[inline(always)]
        unsafe fn narrow_four(self, sums: [Sums; 4], to: *mut u8) {
            // SAFETY: `self` is proof of the instructions; the caller says that there is room.
            unsafe {
                // Four bytes of each quarter of both in turns.
                let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
                for pair in 0..2 {
                    let [first, second] = [sums[2 * pair], sums[2 * pair + 1]];
                    let low = _mm256_packs_epi32(first[0], first[1]);
                    let high = _mm256_packs_epi32(second[0], second[1]);
                    let bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(low, high), order);
                    _mm256_storeu_si256(to.add(pair * 32).cast(), bytes);
                }
            }
        }

        #[inline(always)]
        fn fused(self, left: [__m256; 2], right: [__m256; 2], sum: [__m256; 2]) -> [__m256; 2] {
            self.0.multiply_add(left, right, sum)
        }
    };
}

/// Numbers of 16 bits, or their weights: of the first two rows, and of the others.
type Words = [[__m256i; 2]; 2];

impl Integers for Avx2 {
    type Bytes = Words;
    type Weights = Words;
    type Group = __m256i;
    type Factors = [__m256i; 2];

    shared!();

    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m256i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn factors(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    fn accumulate(self, mut sums: Sums, group: __m256i, factors: [__m256i; 2]) -> Sums {
        for (sum, factors) in sums.iter_mut().zip(factors) {
            // SAFETY: `self` is proof that the processor has the instructions.
            *sum = unsafe {
                let products = _mm256_maddubs_epi16(group, factors);
                _mm256_add_epi32(*sum, _mm256_madd_epi16(products, _mm256_set1_epi16(1)))
            };
        }
        sums
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> Words {
        // SAFETY: `self` is proof of the instruction; the caller says that the numbers are there.
        unsafe {
            let first = [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())];
            let second = [_mm256_loadu_si256(from.add(64).cast()), _mm256_loadu_si256(from.add(96).cast())];
            [first, second]
        }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const u8) -> Words {
        // SAFETY: the same.
        unsafe { self.bytes(from) }
    }

    #[inline(always)]
    fn dot(self, mut sums: Sums, bytes: Words, weights: Words) -> Sums {
        // A loop: the compiler does not put the bodies of large closures where they are called.
        for (half, sum) in sums.iter_mut().enumerate() {
            // SAFETY: `self` is proof that the processor has the instructions.
            *sum = unsafe {
                let first = _mm256_madd_epi16(bytes[0][half], weights[0][half]);
                let second = _mm256_madd_epi16(bytes[1][half], weights[1][half]);
                _mm256_add_epi32(_mm256_add_epi32(*sum, first), second)
            };
        }
        sums
    }

    #[inline(always)]
    unsafe fn columns(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: `self` is proof of the instructions; the caller says the rest.
        unsafe { interleave_words(rows, to) }
    }
}

impl Pairs for Avx2 {
    const LANES: usize = 8;
    type Products = __m256i;
    type Source = __m256i;
    type Taken = [__m256i; 2];

    #[inline(always)]
    fn no_products(self) -> __m256i {
        // SAFETY: `self` is proof that the processor has the instruction.
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn sixteen(self, from: *const u8) -> __m256i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm256_broadcastsi128_si256(_mm_loadu_si128(from.cast())) }
    }

    #[inline(always)]
    unsafe fn four(self, from: *const u8) -> __m256i {
        // SAFETY: the same.
        unsafe { self.group(from) }
    }

    #[inline(always)]
    unsafe fn taken(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: the caller says that 64 bytes are there.
        unsafe { self.factors(from) }
    }

    #[inline(always)]
    fn add_products(self, products: __m256i, source: __m256i, [places, weights]: [__m256i; 2]) -> __m256i {
        // SAFETY: `self` is proof that the processor has the instructions.
        unsafe {
            let bytes = _mm256_shuffle_epi8(source, places);
            _mm256_add_epi16(products, _mm256_maddubs_epi16(bytes, weights))
        }
    }

    #[inline(always)]
    unsafe fn add_pairs(self, products: __m256i, to: *mut i32) {
        // SAFETY: `self` is proof of the instructions; the caller says that the integers are there.
        unsafe {
            let pairs = _mm256_madd_epi16(products, _mm256_set1_epi16(1));
            _mm256_storeu_si256(to.cast(), _mm256_add_epi32(_mm256_loadu_si256(to.cast()), pairs));
        }
    }
}

impl Integers for AvxVnni {
    type Bytes = [__m256i; 2];
    type Weights = [__m256i; 2];
    type Group = __m256i;
    type Factors = [__m256i; 2];

    shared!();

    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m256i {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }

    #[inline(always)]
    unsafe fn factors(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: the same.
        unsafe { self.weights(from) }
    }

    #[inline(always)]
    fn accumulate(self, sums: Sums, group: __m256i, factors: [__m256i; 2]) -> Sums {
        self.dot(sums, [group; 2], factors)
    }

    #[inline(always)]
    unsafe fn bytes(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: `self` is proof of the instruction; the caller says that the bytes are there.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    unsafe fn weights(self, from: *const u8) -> [__m256i; 2] {
        // SAFETY: `self` is proof of the instruction; the caller says that the weights are there.
        unsafe { [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(32).cast())] }
    }

    #[inline(always)]
    fn dot(self, sums: Sums, bytes: [__m256i; 2], weights: [__m256i; 2]) -> Sums {
        // SAFETY: `self` is proof that the processor has the instruction.
        unsafe {
            [
                _mm256_dpbusd_avx_epi32(sums[0], bytes[0], weights[0]),
                _mm256_dpbusd_avx_epi32(sums[1], bytes[1], weights[1]),
            ]
        }
    }
}
