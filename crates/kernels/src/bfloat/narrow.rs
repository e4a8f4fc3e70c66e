//! Images and rows of floats become 16-bit floats.

#![expect(unsafe_code, reason = "reads and writes through pointers; several threads write one output")]

use super::{PlainPairs, WORDS, Words, is_available, word};
use crate::{
    BLOCK, Level, Part, Unfit, buffer::Shared, convolution::Images, isa::Isa, planes::Planes,
};

/// Work that is written over words.
pub(crate) trait PairTask {
    /// Does it. Must be inlined to be compiled for the instructions.
    fn run<W: Words>(self, words: W);
}

/// Does work on 16-bit floats with the instructions of a level, or in plain Rust.
#[inline]
pub(crate) fn dispatch_pairs<T: PairTask>(level: Level, task: T) {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) {
        #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
        fn run<T: PairTask>(task: T) {
            // SAFETY: this function is called only where the processor has the instructions.
            task.run(unsafe { super::Avx512Pairs::assumed() });
        }
        // SAFETY: the processor was asked.
        return unsafe { run(task) };
    }
    let _ = is_available(level);
    task.run(PlainPairs);
}

/// Rounds images in blocks to 16-bit floats. The border of the output is not written. Computes this
/// thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn narrow(
    level: Level,
    input: Images<'_>,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == WORDS
        && planes.blocks == output.blocks
        && planes.is_as_large_as(&output)
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("images that become narrow"));
    }
    dispatch_pairs(level, NarrowImages { input, output, buffer, part });
    Ok(())
}

struct NarrowImages<'a> {
    input: Images<'a>,
    output: Planes,
    buffer: Shared<'a>,
    part: Part,
}

impl PairTask for NarrowImages<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let Self { input, output, buffer, part } = self;
        let (height, width) = (output.height, output.width);
        for number in part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            let source = &input.values[input.planes.at(block, image, y, 0)..][..width * BLOCK];
            // SAFETY: this thread alone has this row of the output.
            let target = unsafe { buffer.part(output.at(block, image, y, 0), width * WORDS) };
            let Some(target) = target else { continue };
            for (target, source) in target.chunks_exact_mut(WORDS).zip(source.chunks_exact(BLOCK)) {
                // SAFETY: there are 16 floats, and room for 8 words.
                unsafe { words.store(words.load(source.as_ptr(), false), target.as_mut_ptr(), true) };
            }
        }
    }
}

/// Puts rows of floats in the order of a tile, as words: `[block of 16 words][row][16]`. A row whose length is odd
/// has a zero at its end.
pub(crate) struct ArrangePairs<'a> {
    /// The first row. There are `rows`, each of `count` floats, `step` apart.
    pub(crate) from: *const f32,
    pub(crate) step: usize,
    pub(crate) rows: usize,
    pub(crate) count: usize,
    /// As many words as `rows` times half of `count`, rounded up to whole blocks.
    pub(crate) target: &'a mut [f32],
}

impl PairTask for ArrangePairs<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let whole = self.count / (2 * BLOCK);
        let mut places = self.target.chunks_exact_mut(self.rows * BLOCK);
        for (block, places) in places.by_ref().take(whole).enumerate() {
            for (row, place) in places.chunks_exact_mut(BLOCK).enumerate() {
                let from = self.from.wrapping_add(row * self.step + block * 2 * BLOCK);
                let to = place.as_mut_ptr();
                // SAFETY: each row has 32 floats for each whole block, and each place has room for 16 words.
                unsafe {
                    words.store(words.load(from, false), to, true);
                    words.store(words.load(from.wrapping_add(BLOCK), false), to.add(WORDS), true);
                }
            }
        }
        let rest = self.count % (2 * BLOCK);
        for (row, place) in places.next().into_iter().flat_map(|all| all.chunks_exact_mut(BLOCK)).enumerate()
        {
            let from = self.from.wrapping_add(row * self.step + whole * 2 * BLOCK);
            // SAFETY: the row has `count` floats.
            let values = unsafe { std::slice::from_raw_parts(from, rest) };
            for (place, pair) in place.iter_mut().zip(values.chunks(2)) {
                *place = word(pair[0], pair.get(1).copied().unwrap_or(0.0));
            }
        }
    }
}
