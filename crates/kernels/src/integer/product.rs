//! Products of a matrix of bytes with a constant matrix, as sums of 32 bits or as real numbers.

#![expect(unsafe_code, reason = "tiles are computed through pointers; several threads write one output")]

use super::{
    GROUP, Instructions, Reading,
    filters::{Filters, Panel, Source},
    finish::{Addition, RealPointers},
    kernels::{blocks_of, kernels},
    tile::{Form, Patches, Tile, WORD},
};
use crate::{BLOCK, Part, Unfit, buffer::Shared};
use std::ops::Range;

/// The place of a window of one pixel.
static PLACE: usize = 0;

/// The right matrix of a product, in the order in which tiles take it.
#[derive(Debug)]
pub struct Matrix {
    filters: Filters,
    /// The sum of each column, in whole blocks.
    sums: Vec<i32>,
}

impl Matrix {
    /// Of `[column][row]`: numbers from -255 to 255. `None` if there are none, or not as many as the sizes
    /// say.
    pub fn new(instructions: Instructions, weights: &[i16], columns: usize, rows: usize) -> Option<Self> {
        let shape = [columns, rows, 1, 1];
        let source = Source { weights, shape, groups: 1, bias: None, scales: &[1.0], zero_point: 1 };
        let mut filters = Filters::new(instructions, &source, Reading::Whole)?;
        // With a zero point of 1 the bias is the sum of the weights, negative.
        let sums = filters.bias.iter().map(|bias| bias.wrapping_neg()).collect();
        filters.bias.fill(0);
        Some(Self { filters, sums })
    }

    /// How many columns it has.
    pub fn column_count(&self) -> usize {
        self.filters.outputs
    }

    /// How many rows it has.
    pub fn row_count(&self) -> usize {
        self.filters.inputs
    }

    /// Bytes of a row of the left matrix: whole fours.
    pub fn row_bytes(&self) -> usize {
        self.filters.inputs.next_multiple_of(GROUP)
    }

    /// Numbers for each column in whole blocks, as [`Output::Floats`] takes them.
    pub fn padded(&self, values: impl Iterator<Item = f32>) -> Vec<f32> {
        let mut padded = vec![0.0; self.sums.len()];
        for (place, value) in padded.iter_mut().zip(values.take(self.column_count())) {
            *place = value;
        }
        padded
    }
}

/// Where the products go, row by row.
#[derive(Clone, Copy, Debug)]
pub enum Output<'a> {
    /// As sums.
    Sums(Shared<'a, i32>),
    /// Multiplied with a number of each column, and another added: [`Matrix::padded`].
    Floats { products: Shared<'a, f32>, scales: &'a [f32], summands: Option<&'a [f32]> },
}

/// A product that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    pub matrix: &'a Matrix,
    /// The left matrix: each row has [`Matrix::row_bytes`]. Bytes at its end that are no columns may be
    /// anything.
    pub left: &'a [u8],
    /// How many rows it has.
    pub rows: usize,
    /// The zero point of its bytes.
    pub zero_point: u8,
    pub output: Output<'a>,
}

impl Product<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, part: Part) -> Result<(), Unfit> {
        let filters = &self.matrix.filters;
        let count = self.rows.checked_mul(filters.outputs);
        let room = match self.output {
            Output::Sums(products) => products.len(),
            Output::Floats { products, scales, summands } => {
                let blocks = self.matrix.sums.len();
                if scales.len() < blocks || summands.is_some_and(|summands| summands.len() < blocks) {
                    return Err(Unfit("the scales of a product of bytes"));
                }
                products.len()
            }
        };
        let bytes = self.rows.checked_mul(self.matrix.row_bytes());
        if count.is_none_or(|count| count > room) || bytes.is_none_or(|bytes| bytes > self.left.len()) {
            return Err(Unfit("a product of bytes"));
        }
        let zero_point = i32::from(self.zero_point);
        let bias: Vec<i32> =
            self.matrix.sums.iter().map(|sum| sum.wrapping_mul(zero_point).wrapping_neg()).collect();
        let list = kernels(filters.instructions, blocks_of(filters.instructions)).any;
        let tiles = self.rows.div_ceil(list.len());
        let panels = filters.panel_count();
        // Threads share the columns, or the rows where there are more of them.
        let by_panels = panels >= tiles;
        let (panels, tiles_here) =
            if by_panels { (part.of(panels), 0..tiles) } else { (0..panels, part.of(tiles)) };
        let mut patches = Vec::new();
        for number in panels {
            let panel = filters.panel(number);
            let own = filters.patches(number, &[PLACE], &mut patches);
            for tile in tiles_here.clone() {
                let rows = self.rows * tile / tiles..self.rows * (tile + 1) / tiles;
                self.tile(&panel, rows, &bias, own);
            }
        }
        Ok(())
    }

    /// Some rows of a panel, with its patches.
    fn tile(&self, panel: &Panel, rows: Range<usize>, bias: &[i32], patches: Patches) {
        let filters = &self.matrix.filters;
        let (first, count) = (rows.start, rows.len());
        let list = kernels(filters.instructions, panel.blocks).any;
        let Some(kernel) = list.get(count.wrapping_sub(1)) else { return };
        let column = panel.block * BLOCK;
        let place = first * filters.outputs + column;
        let (form, reals, output): (_, _, *mut u8) = match self.output {
            Output::Sums(products) => (Form::Sums, RealPointers::NONE, products.pointer(place).cast()),
            Output::Floats { products, scales, summands } => {
                let summands = summands.map_or(std::ptr::null(), |summands| summands[column..].as_ptr());
                let reals =
                    RealPointers { scales: scales[column..].as_ptr(), summands, ..RealPointers::NONE };
                (Form::Floats, reals, products.pointer(place).cast())
            }
        };
        // Columns beyond the last go to memory of their own first.
        let mut spare = [[0_u32; 2 * BLOCK]; 8];
        let width = panel.blocks * BLOCK;
        let real = width.min(filters.outputs - column);
        let is_whole = real == width;
        let (target, step) = if is_whole {
            (output, filters.outputs * WORD)
        } else {
            (spare.as_mut_ptr().cast(), 2 * BLOCK * WORD)
        };
        let step_in = self.matrix.row_bytes();
        let tile = Tile {
            input: self.left[first * step_in..].as_ptr(),
            step: step_in,
            input_row: 0,
            weights: filters.weights[panel.weights..].as_ptr(),
            passes: filters.passes,
            groups: 0,
            last_groups: filters.inputs.div_ceil(GROUP),
            places: &raw const PLACE,
            place_count: 1,
            last_places: 1,
            patches,
            bias: bias[column..].as_ptr(),
            scales: filters.scales[column..].as_ptr(),
            form,
            reals,
            zero_point: 0,
            output: target,
            output_block: BLOCK * WORD,
            output_row: 0,
            output_step: step,
            residual: std::ptr::null(),
            residual_block: 0,
            residual_row: 0,
            word: WORD,
            addition: Addition { ratios: [0.0; 2], fixed: 0.0, is_first: true, is_signed: false },
        };
        // SAFETY: `run` has found that all sizes fit; this thread alone has these rows and columns. Spare
        // memory has room for all rows of a tile and for both blocks.
        unsafe {
            kernel(&tile);
            if !is_whole {
                for (row, spare) in spare.iter().enumerate().take(count) {
                    let target = output.add(row * filters.outputs * WORD).cast::<u32>();
                    std::ptr::copy_nonoverlapping(spare.as_ptr(), target, real);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::plain::bytes;

    proptest! {
        #[test]
        fn products_are_those_of_plain_loops(
            rows in 0_usize..30, depth in 1_usize..70, columns in 1_usize..80, far in -127_i16..=128,
            zero_point in any::<u8>(), seed in any::<u64>(),
        ) {
            let weights: Vec<i16> = bytes(columns * depth, seed)
                .into_iter()
                .map(|weight| i16::from(weight.cast_signed()) + if seed % 2 == 0 { far } else { 0 })
                .collect();
            let scales: Vec<f32> = (0..columns).map(|column| 1e-4 * (column + 1) as f32).collect();
            for instructions in Instructions::ALL.into_iter().filter(|set| set.is_available()) {
                let matrix = Matrix::new(instructions, &weights, columns, depth).unwrap();
                let left = bytes(rows * matrix.row_bytes(), seed ^ 9);
                let (mut sums, mut reals) = (vec![0; rows * columns], vec![0.0; rows * columns]);
                let own = matrix.padded(scales.iter().copied());
                let summands = (seed % 3 == 0).then_some(own.as_slice());
                for index in 0..3 {
                    let product = |output| Product { matrix: &matrix, left: &left, rows, zero_point, output };
                    let part = Part { index, count: 3 };
                    product(Output::Sums(Shared::new(&mut sums))).run(part).unwrap();
                    let products = Shared::new(&mut reals);
                    product(Output::Floats { products, scales: &own, summands }).run(part).unwrap();
                }
                for row in 0..rows {
                    for column in 0..columns {
                        let sum: i32 = (0..depth)
                            .map(|place| {
                                let byte = left[row * matrix.row_bytes() + place];
                                (i32::from(byte) - i32::from(zero_point))
                                    * i32::from(weights[column * depth + place])
                            })
                            .sum();
                        prop_assert_eq!(sums[row * columns + column], sum);
                        let summand = if summands.is_some() { scales[column] } else { 0.0 };
                        prop_assert_eq!(reals[row * columns + column], sum as f32 * scales[column] + summand);
                    }
                }
            }
        }
    }

    #[test]
    fn buffers_that_do_not_fit_are_refused() {
        let matrix = Matrix::new(Instructions::Plain, &[1; 15], 3, 5).unwrap();
        assert!(Matrix::new(Instructions::Plain, &[1; 14], 3, 5).is_none());
        assert!(Matrix::new(Instructions::Plain, &[], 0, 5).is_none());
        let mut sums = [0; 6];
        let left = [1; 16];
        let run = |left: &[u8], rows: usize, sums: &mut [i32]| {
            let output = Output::Sums(Shared::new(sums));
            Product { matrix: &matrix, left, rows, zero_point: 0, output }.run(Part::WHOLE)
        };
        assert!(run(&left, 2, &mut sums).is_ok());
        assert_eq!(sums, [5; 6]);
        assert!(run(&left[..15], 2, &mut sums).is_err());
        assert!(run(&left, 2, &mut sums[..5]).is_err());
    }
}
