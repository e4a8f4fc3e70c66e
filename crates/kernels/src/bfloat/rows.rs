//! Rows of floats on their way into tiles of 16-bit floats.

#![expect(unsafe_code, reason = "reads and writes through pointers")]

use super::{PairTask, WORDS, Words, word};
use crate::BLOCK;

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
