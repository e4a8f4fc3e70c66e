//! The operations that kernels of integers are written over, and their forms for sets of instructions.
//!
//! As in [`crate::isa`], a value of a type that is [`Integers`] is proof that the processor has the
//! instructions.

#[cfg(target_arch = "x86_64")]
pub(super) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(super) mod avx512;
pub(super) mod plain;

#[cfg(target_arch = "x86_64")]
use crate::amx;
use crate::{Level, isa::Isa};

/// A set of instructions for products of bytes, the smallest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Instructions {
    /// What every processor has.
    Plain,
    /// AVX2: products of 16-bit numbers, in pairs.
    Avx2,
    /// AVX-VNNI: four products of bytes at once, in registers of 256 bits.
    AvxVnni,
    /// AVX-512 without products of bytes: of 16-bit numbers, in pairs.
    Avx512,
    /// AVX-512 VNNI.
    Avx512Vnni,
    /// The same, with the tile registers of AMX for convolutions.
    Amx,
}

impl Instructions {
    /// All sets.
    pub const ALL: [Self; 6] =
        [Self::Plain, Self::Avx2, Self::AvxVnni, Self::Avx512, Self::Avx512Vnni, Self::Amx];

    /// Whether this processor has them.
    pub fn is_available(self) -> bool {
        match self {
            Self::Plain => true,
            Self::Avx2 => Level::Avx2.is_available(),
            Self::Avx512 => Level::Avx512.is_available(),
            #[cfg(target_arch = "x86_64")]
            Self::AvxVnni => Level::Avx2.is_available() && is_x86_feature_detected!("avxvnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => Level::Avx512.is_available() && is_x86_feature_detected!("avx512vnni"),
            #[cfg(target_arch = "x86_64")]
            Self::Amx => Self::Avx512Vnni.is_available() && amx::multiplies_bytes(),
            #[cfg(not(target_arch = "x86_64"))]
            Self::AvxVnni | Self::Avx512Vnni | Self::Amx => false,
        }
    }

    /// The best set of this processor within a level.
    pub fn of(level: Level) -> Self {
        match level {
            Level::Avx512 if Self::Amx.is_available() => Self::Amx,
            Level::Avx512 if Self::Avx512Vnni.is_available() => Self::Avx512Vnni,
            Level::Avx512 if Self::Avx512.is_available() => Self::Avx512,
            // A processor with AVX-512 is asked for AVX2 only to see what others do, most of which do
            // not have the products of bytes.
            Level::Avx512 | Level::Avx2 if Self::AvxVnni.is_available() && !Self::Avx512.is_available() => {
                Self::AvxVnni
            }
            Level::Avx512 | Level::Avx2 if Self::Avx2.is_available() => Self::Avx2,
            _ => Self::Plain,
        }
    }

    /// Where two products of bytes are summed in 16 bits ([`Pairs`]): the sums of a register.
    pub(super) fn pairs(self) -> Option<usize> {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 if self.is_available() => Some(avx2::Avx2::LANES),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 if self.is_available() => Some(avx512::Avx512::LANES),
            _ => None,
        }
    }

    /// The bytes of a number in the rows that convolutions by channels read. Where two products are summed in 16 bits,
    /// numbers are widened to 16 bits first.
    pub(super) fn word(self) -> usize {
        if self.pairs().is_some() { 2 } else { 1 }
    }
}

/// Operations on 16 sums at once, and on four bytes for each of them.
pub(super) trait Integers: Copy {
    /// The operations on floats.
    type Isa: Isa;
    /// Sixteen 32-bit integers.
    type Sums: Copy;
    /// Four numbers for each sum, as [`Integers::columns`] writes them.
    type Bytes: Copy;
    /// Their weights.
    type Weights: Copy;
    /// What tiles multiply at once, the same for each sum: four bytes.
    type Group: Copy;
    /// The weights of a group for each sum.
    type Factors: Copy;

    fn isa(self) -> Self::Isa;
    fn splat(self, value: i32) -> Self::Sums;
    /// # Safety
    /// 16 integers can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn load(self, from: *const i32) -> Self::Sums;
    /// # Safety
    /// 16 integers can be written there.
    #[expect(unsafe_code, reason = "writes through a pointer")]
    unsafe fn store(self, value: Self::Sums, to: *mut i32);
    /// # Safety
    /// 4 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn group(self, from: *const u8) -> Self::Group;
    /// # Safety
    /// 64 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn factors(self, from: *const u8) -> Self::Factors;
    /// The sums, and to each the products of a group and its weights. It wraps. Of [`Pairs`], the first two weights
    /// and the other two must each have products whose sum fits 16 bits.
    fn accumulate(self, sums: Self::Sums, group: Self::Group, factors: Self::Factors) -> Self::Sums;
    /// # Safety
    /// 64 bytes, or 128 where numbers have 16 bits, can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn bytes(self, from: *const u8) -> Self::Bytes;
    /// # Safety
    /// The same.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn weights(self, from: *const u8) -> Self::Weights;
    /// The sums, and to each the products of its four numbers and weights. It wraps.
    fn dot(self, sums: Self::Sums, bytes: Self::Bytes, weights: Self::Weights) -> Self::Sums;
    /// Writes the first bytes of four rows of 16, then the second bytes, and so on.
    ///
    /// # Safety
    /// 16 bytes can be read at each place, and 64 can be written.
    #[expect(unsafe_code, reason = "reads and writes through pointers")]
    unsafe fn interleave(self, rows: [*const u8; 4], to: *mut u8);
    /// The same, as [`Integers::bytes`] reads it: of numbers of 16 bits, those of the first two rows come first,
    /// then those of the others.
    ///
    /// # Safety
    /// 16 bytes can be read at each place, and 64, or 128, can be written.
    #[expect(unsafe_code, reason = "reads and writes through pointers")]
    #[inline(always)]
    unsafe fn columns(self, rows: [*const u8; 4], to: *mut u8) {
        // SAFETY: the caller says so.
        unsafe { self.interleave(rows, to) }
    }
    /// Wraps.
    fn add(self, left: Self::Sums, right: Self::Sums) -> Self::Sums;
    fn to_floats(self, sums: Self::Sums) -> <Self::Isa as Isa>::V;
    /// The nearest integers, halves to the even one, of values that are at most 2^22. All below -2^22, and
    /// what is not a number, become integers below -2^22.
    fn nearest(self, values: <Self::Isa as Isa>::V) -> Self::Sums;
    /// # Safety
    /// 16 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn widen(self, from: *const u8) -> Self::Sums;
    /// The larger of each integer and 0.
    fn at_least_zero(self, sums: Self::Sums) -> Self::Sums;
    /// Writes integers as the nearest bytes.
    ///
    /// # Safety
    /// 16 bytes can be written there.
    #[expect(unsafe_code, reason = "writes through a pointer")]
    unsafe fn narrow(self, sums: Self::Sums, to: *mut u8);
    /// The same for four times 16 integers, one behind the other.
    ///
    /// # Safety
    /// 64 bytes can be written there.
    #[expect(unsafe_code, reason = "writes through a pointer")]
    #[inline(always)]
    unsafe fn narrow_four(self, sums: [Self::Sums; 4], to: *mut u8) {
        for (number, sums) in sums.into_iter().enumerate() {
            // SAFETY: the caller says that there is room.
            unsafe { self.narrow(sums, to.add(number * 16)) };
        }
    }
    /// `left * right + sum`, rounded once on every processor.
    fn fused(
        self,
        left: <Self::Isa as Isa>::V,
        right: <Self::Isa as Isa>::V,
        sum: <Self::Isa as Isa>::V,
    ) -> <Self::Isa as Isa>::V;
}

/// Sets of instructions that sum the products of two bytes and two weights in 16 bits. They need products of their own
/// for weights with larger sums.
pub(super) trait Pairs: Integers {
    /// The sums of a register.
    const LANES: usize;
    /// Two sums of 16 bits for each sum of a register.
    type Products: Copy;
    /// Bytes of which each sum takes four.
    type Source: Copy;
    /// The places of the bytes that each sum takes, and their weights.
    type Taken: Copy;

    fn no_products(self) -> Self::Products;
    /// # Safety
    /// 16 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn sixteen(self, from: *const u8) -> Self::Source;
    /// # Safety
    /// 4 bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn four(self, from: *const u8) -> Self::Source;
    /// Four places for each sum of a register, then four weights for each. A place from 128 on is of a byte that is 0.
    ///
    /// # Safety
    /// 8 times [`Pairs::LANES`] bytes can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn taken(self, from: *const u8) -> Self::Taken;
    /// The sums, and to each the products of two bytes and two weights. It wraps.
    fn add_products(
        self,
        products: Self::Products,
        source: Self::Source,
        taken: Self::Taken,
    ) -> Self::Products;
    /// Adds to each sum of a register its two sums of 16 bits. It wraps.
    ///
    /// # Safety
    /// [`Pairs::LANES`] integers can be read and written there.
    #[expect(unsafe_code, reason = "reads and writes through a pointer")]
    unsafe fn add_pairs(self, products: Self::Products, to: *mut i32);
}

/// Work that is written over the operations.
pub(super) trait Task {
    /// Does it. Must be inlined to be compiled for the instructions.
    fn run<I: Integers>(self, isa: I);
}

/// Does work with a set of instructions, or with plain Rust if the processor does not have the set.
#[inline]
pub(super) fn dispatch<T: Task>(instructions: Instructions, task: T) {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Amx | Instructions::Avx512Vnni if instructions.is_available() => avx512::run_vnni(task),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 if instructions.is_available() => avx512::run(task),
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni if instructions.is_available() => avx2::run_vnni(task),
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 if instructions.is_available() => avx2::run(task),
        _ => task.run(plain::Plain),
    }
}
