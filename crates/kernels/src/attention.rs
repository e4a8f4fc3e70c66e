//! Attention: `softmax(scale * Q K^T + mask) V`, head by head, without the matrix of all scores.
//!
//! A tile of queries meets a block of keys after the other. The largest score so far and the sum of the
//! exponentials are kept for each query, and earlier sums are scaled when a larger score comes
//! (online softmax: Milakov and Gimelshein, 2018; FlashAttention: Dao and others, 2022).
//! Scores are in blocks of 16 keys, the order in which the second product takes its rows.

#![expect(unsafe_code, reason = "tiles read and write through pointers")]

mod mask;
mod weights;

use std::{cell::RefCell, ops::Range};

use super::{
    BLOCK, Level, Part, Unfit,
    buffer::{Buffer, Shared},
    isa::dispatch,
    products::{
        Arrange, HIGHEST, WIDEST,
        tile::{Kernels, Tile, kernels, width},
    },
};
use mask::{Line, Lines};
pub use mask::{Mask, Steps};
use weights::Weigh;

/// Keys that are taken at once: the scores of a tile stay in the nearest cache.
const KEYS: usize = 512;

thread_local! {
    /// Memory of the keys, the values, a tile's queries, scores and sums.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Rows of heads: where they are in a buffer. The numbers of a row are side by side.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a> {
    pub values: &'a [f32],
    /// Where the first row begins.
    pub offset: usize,
    /// From an entry of the batch to the next, from a head to the next, from a row to the next.
    pub steps: [usize; 3],
}

impl<'a> Heads<'a> {
    fn row(&self, batch: usize, head: usize, row: usize, size: usize) -> &'a [f32] {
        let start = self.offset + batch * self.steps[0] + head * self.steps[1] + row * self.steps[2];
        &self.values[start..start + size]
    }

    fn fits(&self, sizes: [usize; 3], size: usize) -> bool {
        fits(self.values.len(), self.offset, self.steps, sizes, size)
    }
}

/// Whether the last of `sizes` rows is within a buffer.
fn fits(len: usize, offset: usize, steps: [usize; 3], sizes: [usize; 3], size: usize) -> bool {
    let last = steps
        .iter()
        .zip(sizes)
        .try_fold(offset, |place, (step, size)| place.checked_add(step.checked_mul(size.checked_sub(1)?)?));
    last.and_then(|last| last.checked_add(size)).is_some_and(|end| end <= len)
}

/// An attention that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    pub level: Level,
    pub batch: usize,
    pub heads: usize,
    /// How many heads of queries have the same keys and values.
    pub share: usize,
    /// Rows of queries, and of keys.
    pub queries: usize,
    pub keys: usize,
    /// Numbers of a row of queries and keys, and of values.
    pub size: usize,
    pub value_size: usize,
    pub query: Heads<'a>,
    pub key: Heads<'a>,
    pub value: Heads<'a>,
    pub scale: f32,
    pub mask: Mask<'a>,
    /// Where the rows of the output are: from an entry of the batch to the next, from a head, from a row.
    pub output: [usize; 3],
}

#[derive(Debug, Default)]
struct Scratch {
    keys: Buffer,
    values: Buffer,
    queries: Buffer,
    scores: Buffer,
    sums: Buffer,
    lines: Lines,
}

fn grow(buffer: &mut Buffer, count: usize) {
    if buffer.len() < count {
        *buffer = Buffer::zeros(count);
    }
}

impl Attention<'_> {
    /// Computes this thread's share of the heads. A query that has no finite score gives NaN.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let Self { batch, heads, queries, keys, size, value_size, .. } = *self;
        if batch * heads * queries * value_size == 0 {
            return Ok(());
        }
        let rows = [batch, heads, queries];
        let is_apart = self.is_apart();
        let is_fit = keys > 0
            && self.share > 0
            && heads.is_multiple_of(self.share)
            && self.query.fits(rows, size)
            && self.key.fits([batch, heads / self.share, keys], size)
            && self.value.fits([batch, heads / self.share, keys], value_size)
            && fits(output.len(), 0, self.output, rows, value_size)
            && is_apart
            && self.mask.fits([batch, heads, queries, keys]);
        if !is_fit {
            return Err(Unfit("an attention"));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.lines.clear();
            for index in part.of(batch * heads) {
                self.head(index / heads, index % heads, scratch, output);
            }
        });
        Ok(())
    }

    /// Whether no two rows of the output have a place in common: the steps, from the smallest to the
    /// largest, are each at least as long as what the smaller ones reach.
    fn is_apart(&self) -> bool {
        let mut axes =
            [0, 1, 2].map(|axis| (self.output[axis], [self.batch, self.heads, self.queries][axis]));
        axes.sort_unstable();
        let mut reach = self.value_size;
        for (step, size) in axes {
            if size > 1 {
                if step < reach {
                    return false;
                }
                reach += step * (size - 1);
            }
        }
        true
    }

    fn head(&self, batch: usize, head: usize, scratch: &mut Scratch, output: Shared<'_>) {
        let Self { level, queries, keys, size, value_size, .. } = *self;
        let kernels = kernels(level);
        let wide = width(level);
        let key_columns = keys.next_multiple_of(wide);
        let value_columns = value_size.next_multiple_of(wide);
        grow(&mut scratch.keys, key_columns * size);
        grow(&mut scratch.values, value_columns * keys);
        grow(&mut scratch.queries, HIGHEST * size.next_multiple_of(BLOCK));
        grow(&mut scratch.scores, HIGHEST * KEYS.min(key_columns));
        grow(&mut scratch.sums, HIGHEST * value_columns);
        // Keys: `[panel][number of a row][key]`. Values: `[panel][key][number of a row]`.
        for key in 0..keys {
            let row = self.key.row(batch, head / self.share, key, size);
            let panel = &mut scratch.keys[key / wide * wide * size..][..wide * size];
            for (value, place) in row.iter().zip(panel.iter_mut().skip(key % wide).step_by(wide)) {
                *place = *value;
            }
            let row = self.value.row(batch, head / self.share, key, value_size);
            for (panel, values) in row.chunks(wide).enumerate() {
                let start = (panel * keys + key) * wide;
                scratch.values[start..start + values.len()].copy_from_slice(values);
            }
        }
        // What an earlier head left behind the last key would only cost time if it were not a number.
        for key in keys..key_columns {
            let panel = &mut scratch.keys[key / wide * wide * size..][..wide * size];
            panel.iter_mut().skip(key % wide).step_by(wide).for_each(|place| *place = 0.0);
        }
        let tiles = queries.div_ceil(kernels.rows());
        for index in 0..tiles {
            let own = Part { index, count: tiles }.of(queries);
            self.tile(batch, head, own, kernels, scratch, output);
        }
    }

    fn tile(
        &self,
        batch: usize,
        head: usize,
        own: Range<usize>,
        kernels: &Kernels,
        scratch: &mut Scratch,
        output: Shared<'_>,
    ) {
        let Self { level, keys, size, value_size, .. } = *self;
        let rows = own.len();
        let wide = width(level);
        let Scratch { keys: packed, values, queries, scores, sums, lines } = scratch;
        let queries = &mut queries[..rows * size.next_multiple_of(BLOCK)];
        let first = self.query.row(batch, head, own.start, size).as_ptr();
        let step = self.query.steps[2];
        dispatch(
            level,
            Arrange { from: first, step, rows, steps: size, target: queries, factor: self.scale },
        );
        let zeros = [0.0_f32; WIDEST];
        let value_columns = value_size.next_multiple_of(wide);
        let (mut largest, mut totals) = ([f32::NEG_INFINITY; HIGHEST], [0.0_f32; HIGHEST]);
        for start in (0..keys).step_by(KEYS) {
            let count = KEYS.min(keys - start);
            for first in (0..count).step_by(wide) {
                let tile = Tile {
                    left: queries.as_ptr(),
                    left_block: rows * BLOCK,
                    panel: packed[(start + first) * size..].as_ptr(),
                    depth: size,
                    ahead: queries.as_ptr(),
                    ahead_lines: 0,
                    before: zeros.as_ptr(),
                    before_step: [0, BLOCK],
                    output: scores[first * rows..].as_mut_ptr(),
                    output_step: [BLOCK, rows * BLOCK],
                };
                // SAFETY: the queries have `size` numbers in each row, the panel for each key; the scores
                // have room for `rows` times the keys of a block, in whole panels.
                unsafe { kernels.run(rows, wide / BLOCK, &tile) };
            }
            let mut factors = [1.0_f32; HIGHEST];
            for (place, row) in own.clone().enumerate() {
                let line: Line<'_> = lines.line(&self.mask, [batch, head, row], start..start + count);
                let weigh = Weigh {
                    scores: scores[place * BLOCK..].as_mut_ptr(),
                    step: rows * BLOCK,
                    count,
                    line,
                    largest: largest[place],
                };
                // The scores of a row are in `count` rounded up to whole blocks, `step` apart.
                let weighed = dispatch(level, weigh);
                factors[place] = weighed.factor;
                largest[place] = weighed.largest;
                totals[place] = totals[place] * weighed.factor + weighed.total;
            }
            if start > 0 {
                for (row, factor) in sums.chunks_exact_mut(value_columns).zip(factors).take(rows) {
                    row.iter_mut().for_each(|sum| *sum *= factor);
                }
            }
            for first in (0..value_columns).step_by(wide) {
                let target = sums[first..].as_mut_ptr();
                let tile = Tile {
                    left: scores.as_ptr(),
                    left_block: rows * BLOCK,
                    panel: values[first * keys + start * wide..].as_ptr(),
                    depth: count,
                    ahead: scores.as_ptr(),
                    ahead_lines: 0,
                    before: if start == 0 { zeros.as_ptr() } else { target },
                    before_step: [if start == 0 { 0 } else { value_columns }, BLOCK],
                    output: target,
                    output_step: [value_columns, BLOCK],
                };
                // SAFETY: there is a score for each row and key, and a value for each key and column;
                // the sums have room for `rows` times the columns.
                unsafe { kernels.run(rows, wide / BLOCK, &tile) };
            }
        }
        for (place, (row, total)) in own.zip(totals).enumerate() {
            let to = batch * self.output[0] + head * self.output[1] + row * self.output[2];
            let factor = 1.0 / total;
            // SAFETY: the place is within the output, and no other row of a head has it.
            if let Some(target) = unsafe { output.part(to, value_size) } {
                for (target, sum) in target.iter_mut().zip(&sums[place * value_columns..]) {
                    *target = sum * factor;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
