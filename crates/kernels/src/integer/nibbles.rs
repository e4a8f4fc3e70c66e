//! Products of rows of floats with a matrix of 4-bit numbers, by way of int8.
//!
//! Rows become numbers of int8 with a scale for each block, so the sum of a block is one of integers, and exact.
//! The matrix is put in the order of the kernels at load: for each block of 16 columns, and of numbers that share a
//! scale, the scales of the columns, then eight numbers of each of them, and so on. A byte has two numbers of a column, the
//! second one four rows below the first. So a row by the matrix reads every byte once, in its order.

#![expect(unsafe_code, reason = "tiles are computed through pointers; several threads write one output")]

mod operations;
mod rows;
#[cfg(test)]
mod tests;
mod tile;

use self::{
    operations::UNIT,
    rows::{LONGEST, Layout, arrange},
    tile::{SCALES, Tile, kernels},
};
use super::{Instructions, memory::Bytes};
use crate::{
    BLOCK, Part, Unfit,
    arena::{Arena, Room},
    blocked::{Source, Zeros},
    buffer::Shared,
};

/// Rows that go by while a panel of the matrix is in the cache of the second level.
const ROWS: usize = 120;

/// A matrix of 4-bit numbers in the order of the kernels.
#[derive(Debug)]
pub struct Matrix {
    instructions: Instructions,
    layout: Layout,
    columns: usize,
    /// `[block of columns][block]` of scales and units.
    panels: Room,
    /// `[block of columns][block][column]`, unless all are 8.
    zeros: Option<Bytes>,
    /// The summands of the columns, in whole blocks.
    bias: Vec<f32>,
}

impl Matrix {
    /// Whether blocks of this length can be multiplied so.
    pub fn takes(block: usize) -> bool {
        (BLOCK..=LONGEST).contains(&block) && block.is_multiple_of(BLOCK)
    }

    /// Puts a matrix in order. `None` for numbers of 8 bits, for zeros that are floats, for blocks of another length, and
    /// if numbers, scales and bias are not as many as the sizes say.
    pub fn new(
        instructions: Instructions,
        arena: &mut Arena,
        source: &Source<'_>,
        bias: Option<&[f32]>,
    ) -> Option<Self> {
        let &Source { bits, depth, columns, block, numbers, scales, zeros } = source;
        let fits = source.fits() && bits == 4 && Self::takes(block);
        if !fits || bias.is_some_and(|bias| bias.len() != columns) {
            return None;
        }
        let layout = Layout { depth, block };
        let blocks = layout.blocks();
        let zeros = match zeros {
            Zeros::Middle => None,
            Zeros::Packed(zeros) => Some(zeros),
            Zeros::Plain(_) => return None,
        };
        let record = record_bytes(block);
        let panels = columns.div_ceil(BLOCK);
        let room = panels.checked_mul(blocks)?.checked_mul(record)?;
        let mut packed = arena.zeros(room / size_of::<f32>())?;
        let mut packed_zeros = zeros.map(|_| Bytes::zeros(panels * blocks * BLOCK));
        for (index, record) in packed.bytes_mut().chunks_exact_mut(record).enumerate() {
            let (panel, block_index) = (index / blocks, index % blocks);
            let (own_scales, units) = record.split_at_mut(SCALES);
            for own in 0..BLOCK.min(columns - panel * BLOCK) {
                let column = panel * BLOCK + own;
                let place = column * blocks + block_index;
                own_scales[4 * own..][..4].copy_from_slice(&scales[place].to_ne_bytes());
                let own_numbers = &numbers[place * block / 2..][..block / 2];
                for (four, unit) in own_numbers.as_chunks::<4>().0.iter().zip(units.chunks_exact_mut(UNIT)) {
                    let [first, second, third, fourth] = *four;
                    unit[4 * own..][..4].copy_from_slice(&[
                        first & 15 | third << 4,
                        first >> 4 | third & 0xf0,
                        second & 15 | fourth << 4,
                        second >> 4 | fourth & 0xf0,
                    ]);
                }
                if let (Some(from), Some(to)) = (zeros, packed_zeros.as_deref_mut()) {
                    to[index * BLOCK + own] = source.packed_zero(from, column, block_index);
                }
            }
        }
        let mut padded = vec![0.0; panels * BLOCK];
        if let Some(bias) = bias {
            padded[..columns].copy_from_slice(bias);
        }
        Some(Self { instructions, layout, columns, panels: packed, zeros: packed_zeros, bias: padded })
    }

    /// How many numbers a row has.
    pub fn depth(&self) -> usize {
        self.layout.depth
    }

    /// How many columns the matrix has.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Bytes of a row in the form that [`Matrix::multiply`] takes.
    pub fn row_bytes(&self) -> usize {
        self.layout.step()
    }

    /// Writes this thread's share of rows in the form that [`Matrix::multiply`] takes: [`Matrix::row_bytes`] for each.
    /// A block with a number that is not finite becomes one whose products are not numbers. One whose numbers are all
    /// below 2^-121 becomes zeros.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn arrange(&self, rows: &[f32], output: Shared<'_, u8>, part: Part) -> Result<(), Unfit> {
        arrange(self.instructions, self.layout, rows, output, part)
    }

    /// Writes this thread's share of the products of rows that [`Matrix::arrange`] wrote.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn multiply(&self, rows: &[u8], output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let step = self.layout.step();
        let count = rows.len() / step;
        let room = count.checked_mul(self.columns);
        if rows.len() != count * step || room.is_none_or(|room| room > output.len()) {
            return Err(Unfit("a product with numbers of 4 bits"));
        }
        let kernels = kernels(self.instructions);
        let panels = self.columns.div_ceil(BLOCK);
        let groups = panels.div_ceil(kernels.blocks);
        // Threads share the columns, or the rows where there are more of them.
        let (groups, own_rows) =
            if groups >= part.count { (part.of(groups), 0..count) } else { (0..groups, part.of(count)) };
        let mut first = own_rows.start;
        while first < own_rows.end {
            let some = ROWS.min(own_rows.end - first);
            for group in groups.clone() {
                let panel = group * kernels.blocks;
                self.panel(panel, kernels.blocks.min(panels - panel), rows, (first, some), output);
            }
            first += some;
        }
        Ok(())
    }

    /// Some rows by one or two blocks of columns.
    fn panel(
        &self,
        panel: usize,
        blocks: usize,
        rows: &[u8],
        (first, count): (usize, usize),
        output: Shared<'_>,
    ) {
        let kernels = kernels(self.instructions);
        let list = if blocks == kernels.blocks { kernels.rows } else { kernels.narrow };
        let (layout, step) = (self.layout, self.layout.step());
        let panel_step = layout.blocks() * record_bytes(layout.block);
        let zeros_step = layout.blocks() * BLOCK;
        let column = panel * BLOCK;
        let width = blocks * BLOCK;
        let used = width.min(self.columns - column);
        let tiles = count.div_ceil(list.len());
        // Columns beyond the last go to memory of their own first.
        let mut edge = [[0.0_f32; 2 * BLOCK]; HIGHEST];
        for index in 0..tiles {
            let own = Part { index, count: tiles }.of(count);
            let start = first + own.start;
            let Some(kernel) = list.get(own.len().wrapping_sub(1)) else { continue };
            let place = start * self.columns + column;
            let is_whole = used == width;
            let (target, output_step) = if is_whole {
                (output.pointer(place), self.columns)
            } else {
                (edge.as_mut_ptr().cast(), 2 * BLOCK)
            };
            let tile = Tile {
                rows: rows[start * step..].as_ptr(),
                layout,
                panel: self.panels.bytes()[panel * panel_step..].as_ptr(),
                panel_step,
                zeros: self
                    .zeros
                    .as_ref()
                    .map_or(std::ptr::null(), |zeros| zeros[panel * zeros_step..].as_ptr()),
                zeros_step,
                bias: self.bias[column..].as_ptr(),
                output: target,
                output_step,
            };
            // SAFETY: `multiply` has found that the rows are there and that the output has room; this thread alone has
            // these rows and columns. `new` made panels, zeros and bias for whole blocks of columns. The edge has room for the
            // rows of a tile and for two blocks.
            unsafe {
                kernel(&tile);
                if !is_whole {
                    for (row, edge) in edge.iter().enumerate().take(own.len()) {
                        let target = output.pointer(place + row * self.columns);
                        std::ptr::copy_nonoverlapping(edge.as_ptr(), target, used);
                    }
                }
            }
        }
    }
}

/// Rows of the highest tile of any set of instructions.
const HIGHEST: usize = 6;

/// Bytes of a block of 16 columns: their scales and numbers.
fn record_bytes(block: usize) -> usize {
    SCALES + block / 8 * UNIT
}
