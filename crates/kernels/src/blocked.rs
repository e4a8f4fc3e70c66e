//! Products of rows of floats with a matrix of 4- or 8-bit numbers in blocks, each of which has a scale and a zero.
//!
//! A weight is `(number - zero) * scale`, rounded after each step. The matrix is put in the order of the kernels at load:
//! 16 columns, step after step of the depth. It is never there as floats as a whole. Up to three rows take each weight
//! where it is unpacked. For more rows, a panel is unpacked into the cache of the second level, in the order of the
//! products of floats, and their tiles multiply it. Both add the products of an output in one chain over
//! the depth, which begins with the bias. So an answer does not depend on the rows that come with it.

#![expect(unsafe_code, reason = "tiles are computed through pointers; several threads write one output")]

mod few;
#[cfg(test)]
mod tests;
mod unpack;

use std::{cell::RefCell, ops::Range};

use super::{
    BLOCK, Level, Part, Unfit,
    arena::{Arena, Room},
    buffer::{Buffer, Shared},
    isa::dispatch,
    products::{
        Arrange, HIGHEST, WIDEST,
        tile::{Tile, kernels, width},
    },
};
use few::{Few, MOST};
use unpack::Unpack;

/// Steps of the depth that are unpacked at once: a panel of them stays in the second cache, with the rows.
const DEPTH: usize = 768;

/// Rows that are taken at once, at most.
const ROWS: usize = 210;

thread_local! {
    /// Rows in the order of the tiles, and a panel.
    static MEMORY: RefCell<[Buffer; 2]> = RefCell::default();
}

/// The zeros of the blocks.
#[derive(Clone, Copy, Debug)]
pub enum Zeros<'a> {
    /// In the middle: 8 for 4 bits, 128 for 8.
    Middle,
    /// Numbers of as many bits as the matrix has, each column's in bytes of its own.
    Packed(&'a [u8]),
    /// One for each block.
    Plain(&'a [f32]),
}

/// A matrix as models store it: column after column, block after block.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    pub numbers: &'a [u8],
    /// Bits of a number: 4 or 8. The first of two in a byte is in its lower half.
    pub bits: usize,
    /// `[column][block]`.
    pub scales: &'a [f32],
    pub zeros: Zeros<'a>,
    /// The matrix has `depth` rows and `columns` columns.
    pub depth: usize,
    pub columns: usize,
    /// How many numbers of a column share a scale.
    pub block: usize,
}

impl Source<'_> {
    /// The blocks of a column.
    pub(super) fn blocks(&self) -> usize {
        self.depth.div_ceil(self.block)
    }

    /// The bytes of this many numbers.
    pub(super) fn bytes(&self, count: usize) -> usize {
        count.div_ceil(8 / self.bits)
    }

    /// Whether blocks are whole bytes, and there are as many numbers, scales and zeros as the sizes say.
    pub(super) fn fits(&self) -> bool {
        let sizes = matches!(self.bits, 4 | 8)
            && self.depth > 0
            && self.columns > 0
            && self.block > 0
            && self.block.is_multiple_of(2);
        if !sizes {
            return false;
        }
        let blocks = self.blocks();
        let Some(places) = self.columns.checked_mul(blocks) else { return false };
        let zeros = match self.zeros {
            Zeros::Middle => true,
            Zeros::Packed(zeros) => Some(zeros.len()) == self.columns.checked_mul(self.bytes(blocks)),
            Zeros::Plain(zeros) => zeros.len() == places,
        };
        zeros
            && self.scales.len() == places
            && Some(self.numbers.len()) == places.checked_mul(self.bytes(self.block))
    }

    /// The zero of a block, if they are packed in these bytes.
    pub(super) fn packed_zero(&self, zeros: &[u8], column: usize, block: usize) -> u8 {
        if self.bits == 8 {
            return zeros[column * self.blocks() + block];
        }
        zeros[column * self.bytes(self.blocks()) + block / 2] >> (4 * (block % 2)) & 15
    }
}

/// The zeros of a packed matrix, `[panel of 16 columns][block][column]`.
#[derive(Debug)]
enum Kept {
    /// All are this one.
    One(f32),
    Bytes(Vec<u8>),
    Floats(Buffer),
}

/// A matrix in the order of the kernels, and numbers that are added to each row of a product.
#[derive(Debug)]
pub struct Matrix {
    level: Level,
    bits: usize,
    depth: usize,
    columns: usize,
    block: usize,
    /// `[panel of 16 columns][two steps]` of units: two numbers of each column.
    numbers: Room,
    /// `[panel of 16 columns][block][column]`.
    scales: Room,
    zeros: Kept,
    /// One for each column, zeros up to whole panels.
    bias: Buffer,
}

/// Bytes of a unit: two numbers of each of 16 columns.
const fn unit_bytes(bits: usize) -> usize {
    2 * BLOCK * bits / 8
}

impl Matrix {
    /// Puts a matrix in order. `None` for blocks of an odd length, if there are not as many numbers, scales, zeros and
    /// summands as the sizes say, and if there is no memory.
    pub fn new(level: Level, arena: &mut Arena, source: &Source<'_>, bias: Option<&[f32]>) -> Option<Self> {
        let &Source { bits, depth, columns, block, scales, .. } = source;
        if !source.fits() || bias.is_some_and(|bias| bias.len() != columns) {
            return None;
        }
        let (blocks, panels, units) = (source.blocks(), columns.div_ceil(BLOCK), depth.div_ceil(2));
        let places = panels.checked_mul(blocks)?.checked_mul(BLOCK)?;
        let unit = unit_bytes(bits);
        let room = panels.checked_mul(units)?.checked_mul(unit)?;
        let mut numbers = arena.zeros(room / size_of::<f32>())?;
        // A column is its blocks, one after another.
        let column_bytes = blocks * source.bytes(block);
        for (panel, target) in numbers.bytes_mut().chunks_exact_mut(units * unit).enumerate() {
            for lane in 0..BLOCK.min(columns - panel * BLOCK) {
                let column = &source.numbers[(panel * BLOCK + lane) * column_bytes..][..column_bytes];
                if bits == 4 {
                    for (unit, byte) in target.chunks_exact_mut(unit).zip(column) {
                        unit[lane] = *byte;
                    }
                } else {
                    for (step, byte) in target.chunks_exact_mut(BLOCK).zip(&column[..depth]) {
                        step[lane] = *byte;
                    }
                }
            }
        }
        let mut packed_scales = arena.zeros(places)?;
        let place = |column: usize, index: usize| (column / BLOCK * blocks + index) * BLOCK + column % BLOCK;
        for (column, scales) in scales.chunks_exact(blocks).enumerate() {
            for (index, scale) in scales.iter().enumerate() {
                packed_scales[place(column, index)] = *scale;
            }
        }
        let all = (0..columns).flat_map(|column| (0..blocks).map(move |index| (column, index)));
        let zeros = match source.zeros {
            Zeros::Middle => Kept::One(f32::from(1_u8 << (bits - 1))),
            Zeros::Packed(zeros) => {
                let mut kept = vec![0_u8; places];
                for (column, index) in all {
                    kept[place(column, index)] = source.packed_zero(zeros, column, index);
                }
                Kept::Bytes(kept)
            }
            Zeros::Plain(zeros) => {
                let mut kept = Buffer::zeros(places);
                for ((column, index), zero) in all.zip(zeros) {
                    kept[place(column, index)] = *zero;
                }
                Kept::Floats(kept)
            }
        };
        let mut padded = Buffer::zeros(columns.next_multiple_of(WIDEST));
        if let Some(bias) = bias {
            padded[..columns].copy_from_slice(bias);
        }
        Some(Self { level, bits, depth, columns, block, numbers, scales: packed_scales, zeros, bias: padded })
    }

    /// How many numbers a row has.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// How many columns the matrix has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    fn blocks(&self) -> usize {
        self.depth.div_ceil(self.block)
    }

    /// Computes this thread's share of the products of rows, `[rows][columns]`.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn multiply(&self, rows: &[f32], output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let count = rows.len() / self.depth;
        if rows.len() != count * self.depth || count.checked_mul(self.columns) != Some(output.len()) {
            return Err(Unfit("a product with numbers of 4 or 8 bits"));
        }
        let width = width(self.level);
        let panels = self.columns.div_ceil(width);
        // Threads share the columns, or the rows where there are more of them.
        let (panels, own) =
            if panels >= part.count { (part.of(panels), 0..count) } else { (0..panels, part.of(count)) };
        if panels.is_empty() || own.is_empty() {
            return Ok(());
        }
        if count <= MOST {
            let ends = [panels.start, panels.end].map(|panel| panel * width / BLOCK);
            let panels = ends[0]..ends[1].min(self.columns.div_ceil(BLOCK));
            let wide = width > BLOCK;
            dispatch(self.level, Few { matrix: self, rows, own, panels, wide, output });
            return Ok(());
        }
        MEMORY.with_borrow_mut(|memory| {
            let blocks = own.len().div_ceil(ROWS);
            for block in 0..blocks {
                let some = Part { index: block, count: blocks }.of(own.len());
                let some = own.start + some.start..own.start + some.end;
                self.many(rows, some, panels.clone(), memory, output);
            }
        });
        Ok(())
    }

    /// Some rows by some panels.
    fn many(
        &self,
        rows: &[f32],
        own: Range<usize>,
        panels: Range<usize>,
        [arranged, unpacked]: &mut [Buffer; 2],
        output: Shared<'_>,
    ) {
        let (kernels, width) = (kernels(self.level), width(self.level));
        let tiles = own.len().div_ceil(kernels.rows());
        let tile_rows = |index: usize| Part { index, count: tiles }.of(own.len());
        let most = DEPTH.min(self.depth).next_multiple_of(BLOCK);
        for (buffer, room) in [(&mut *arranged, own.len() * most), (&mut *unpacked, most * WIDEST)] {
            if buffer.len() < room {
                *buffer = Buffer::zeros(room);
            }
        }
        let mut edge = [0.0_f32; HIGHEST * WIDEST];
        for start in (0..self.depth).step_by(DEPTH) {
            let steps = DEPTH.min(self.depth - start);
            let room = steps.next_multiple_of(BLOCK);
            for index in 0..tiles {
                let tile = tile_rows(index);
                let target = &mut arranged[tile.start * room..tile.end * room];
                let from = rows[(own.start + tile.start) * self.depth + start..].as_ptr();
                let arrange =
                    Arrange { from, step: self.depth, rows: tile.len(), steps, target, factor: 1.0 };
                dispatch(self.level, arrange);
            }
            for panel in panels.clone() {
                let first = panel * width;
                let used = width.min(self.columns - first);
                let own_width = used.next_multiple_of(BLOCK);
                let target = &mut unpacked[..steps * own_width];
                dispatch(self.level, Unpack { matrix: self, panel: first / BLOCK, start, steps, target });
                for index in 0..tiles {
                    let tile = tile_rows(index);
                    let place = (own.start + tile.start) * self.columns + first;
                    let is_whole = used == own_width;
                    let (target, target_row) = if is_whole {
                        (output.pointer(place), self.columns)
                    } else {
                        (edge.as_mut_ptr(), own_width)
                    };
                    let copy = |edge: *mut f32, is_back: bool| {
                        for row in 0..tile.len() {
                            let outside = output.pointer(place + row * self.columns);
                            let inside = edge.wrapping_add(row * own_width);
                            let (from, to) = if is_back { (inside, outside) } else { (outside, inside) };
                            // SAFETY: the output has `used` numbers there, which are this thread's, and so has the edge.
                            unsafe { std::ptr::copy_nonoverlapping(from, to, used) };
                        }
                    };
                    if !is_whole && start > 0 {
                        copy(target, false);
                    }
                    let (before, before_row) = if start == 0 {
                        (self.bias[first..].as_ptr(), 0)
                    } else {
                        (target.cast_const(), target_row)
                    };
                    let ready = Tile {
                        left: arranged[tile.start * room..].as_ptr(),
                        left_block: tile.len() * BLOCK,
                        panel: unpacked.as_ptr(),
                        depth: steps,
                        ahead: std::ptr::null(),
                        ahead_lines: 0,
                        before,
                        before_step: [before_row, BLOCK],
                        output: target,
                        output_step: [target_row, BLOCK],
                    };
                    // SAFETY: the tile has `tile.len()` rows and `own_width` columns. All that it reads is within the
                    // slices above, and it writes outputs of this thread or the edge.
                    unsafe { kernels.run(tile.len(), own_width / BLOCK, &ready) };
                    if !is_whole {
                        copy(target, true);
                    }
                }
            }
        }
    }
}
