//! 16-bit floats (bfloat16, bf16): the upper half of a 32-bit float, so 8 bits of a number are kept.
//!
//! Two of them are in a word of 32 bits, the lower half first, as the instruction `VDPBF16PS` takes them. It adds
//! the products of two words to a sum of 32 bits. [`dot`] is that instruction in plain Rust, with the same
//! bits. Words are kept in buffers of floats, which are only places of 32 bits then.

#[cfg(target_arch = "x86_64")]
mod avx512;
pub(crate) mod images;
mod plain;
pub(crate) mod rows;

#[cfg(target_arch = "x86_64")]
pub(crate) use avx512::Avx512Pairs;
pub(crate) use plain::PlainPairs;

#[cfg(target_arch = "x86_64")]
use super::amx;
use super::{BLOCK, Level, isa::Isa};

/// Words of a pixel of a block of 16 channels.
pub const WORDS: usize = BLOCK / 2;

/// What a place of a float among weights and inputs has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A float.
    Single,
    /// A pair of 16-bit floats, of two channels.
    Pair,
    /// The same, multiplied by the tile registers of AMX.
    Tile,
}

impl Form {
    /// The form of 16-bit floats for a level.
    pub fn of_pairs(level: Level) -> Self {
        #[cfg(target_arch = "x86_64")]
        if is_available(level) && amx::Amx::of_machine().bfloats {
            return Self::Tile;
        }
        let _ = level;
        Self::Pair
    }

    /// Whether they are 16-bit floats.
    pub fn is_narrow(self) -> bool {
        self != Self::Single
    }
}

/// Whether kernels of this level multiply 16-bit floats with instructions of the processor.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no other processor has them yet"))]
pub fn is_available(level: Level) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level == Level::Avx512 && level.is_available() && is_x86_feature_detected!("avx512bf16")
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        false
    }
}

/// How numbers are in the words of inputs and weights, and how words are multiplied.
pub(crate) trait Words: Copy {
    /// The operations on floats.
    type Isa: Isa;
    /// Whether they can be pairs.
    const ARE_PAIRS: bool;

    fn isa(self) -> Self::Isa;
    /// The sum, and the products of the numbers of each word.
    fn multiply_add(
        self,
        left: <Self::Isa as Isa>::V,
        right: <Self::Isa as Isa>::V,
        sum: <Self::Isa as Isa>::V,
    ) -> <Self::Isa as Isa>::V;
    /// Sixteen numbers: floats, or 16-bit floats in 8 words.
    ///
    /// # Safety
    /// They can be read there.
    #[expect(unsafe_code, reason = "reads through a pointer")]
    unsafe fn load(self, from: *const f32, is_narrow: bool) -> <Self::Isa as Isa>::V;
    /// Writes sixteen numbers as floats, or as 16-bit floats in 8 words.
    ///
    /// # Safety
    /// They can be written there.
    #[expect(unsafe_code, reason = "writes through a pointer")]
    unsafe fn store(self, value: <Self::Isa as Isa>::V, to: *mut f32, is_narrow: bool);
}

/// Words that are floats.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Singles<I>(pub(crate) I);

impl<I: Isa> Words for Singles<I> {
    type Isa = I;
    const ARE_PAIRS: bool = false;

    #[inline(always)]
    fn isa(self) -> I {
        self.0
    }

    #[inline(always)]
    fn multiply_add(self, left: I::V, right: I::V, sum: I::V) -> I::V {
        self.0.multiply_add(left, right, sum)
    }

    #[expect(unsafe_code, reason = "reads through a pointer")]
    #[inline(always)]
    unsafe fn load(self, from: *const f32, _: bool) -> I::V {
        // SAFETY: the caller says that the floats are there. Kernels of floats are never given narrow images.
        unsafe { self.0.load(from) }
    }

    #[expect(unsafe_code, reason = "writes through a pointer")]
    #[inline(always)]
    unsafe fn store(self, value: I::V, to: *mut f32, _: bool) {
        // SAFETY: the caller says that there is room. Kernels of floats are never given narrow images.
        unsafe { self.0.store(value, to) }
    }
}

/// Words that are pairs.
pub(crate) trait Pairs: Words {
    /// The words of two lists of numbers, each rounded: those of `low` in the lower halves.
    fn pair(self, low: <Self::Isa as Isa>::V, high: <Self::Isa as Isa>::V) -> <Self::Isa as Isa>::V;
}

/// Work that is written over words that are pairs.
pub(crate) trait PairTask {
    /// Does it. Must be inlined to be compiled for the instructions.
    fn run<W: Pairs>(self, words: W);
}

/// Does work on 16-bit floats with the instructions of a level, or in plain Rust.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "no other processor has them yet"))]
#[inline]
pub(crate) fn dispatch<T: PairTask>(level: Level, task: T) {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) {
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn run<T: PairTask>(task: T) {
            // SAFETY: this function is called only where the processor has the instructions.
            task.run(unsafe { Avx512Pairs::assumed() });
        }
        #[expect(unsafe_code, reason = "instructions that not every processor has")]
        // SAFETY: the processor was asked.
        return unsafe { run(task) };
    }
    task.run(PlainPairs);
}

/// A number with zero in the place of one that is smaller than every normal one, as the instructions take and
/// give them.
fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0.0_f32.copysign(value) } else { value }
}

/// The nearest 16-bit float, halves to the even one. A NaN stays one.
pub fn round(value: f32) -> u16 {
    let bits = flush(value).to_bits();
    let rounded = if value.is_nan() { bits | 0x40_0000 } else { bits + 0x7fff + (bits >> 16 & 1) };
    (rounded >> 16) as u16
}

/// The number that a 16-bit float is.
pub fn widen(half: u16) -> f32 {
    f32::from_bits(u32::from(half) << 16)
}

/// The word of two numbers, each rounded.
pub(crate) fn word(low: f32, high: f32) -> f32 {
    f32::from_bits(u32::from(round(high)) << 16 | u32::from(round(low)))
}

/// The sum, and the products of the numbers of two words: first of the upper ones, then of the lower ones. Each
/// step is rounded once, and takes and gives zero for what is smaller than every normal number.
///
/// Source: `VDPBF16PS` in the Intel 64 and IA-32 Architectures Software Developer's Manual.
pub fn dot(sum: f32, left: f32, right: f32) -> f32 {
    let [left, right] = [left, right].map(|word| {
        let bits = word.to_bits();
        [widen((bits >> 16) as u16), widen(bits as u16)].map(flush)
    });
    let first = flush(left[0].mul_add(right[0], flush(sum)));
    flush(left[1].mul_add(right[1], first))
}

/// The sum, and the products of up to 16 words with as many, as AMX adds them: those of the lower numbers and those of
/// the upper numbers by themselves, then both sums, then all.
///
/// Source: `TDPBF16PS` in the Intel 64 and IA-32 Architectures Software Developer's Manual.
pub fn dot_of_tiles(sum: f32, words: impl Iterator<Item = (f32, f32)>) -> f32 {
    let halves =
        |word: f32| [word.to_bits() as u16, (word.to_bits() >> 16) as u16].map(|half| flush(widen(half)));
    let mut both = [0.0_f32; 2];
    for (left, right) in words {
        for (both, (left, right)) in both.iter_mut().zip(halves(left).into_iter().zip(halves(right))) {
            *both = flush(left.mul_add(right, *both));
        }
    }
    flush(flush(sum) + flush(both[0] + both[1]))
}

#[cfg(test)]
mod tests;
