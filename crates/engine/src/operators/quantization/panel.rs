//! Matrices of small integers, made ready to be multiplied.

use super::{
    kernel::{self, BLOCK},
    number::Bytes,
};
use crate::{
    operators::{Context, OperatorError},
    tensor::ElementType,
};

/// The left matrix: rows of 16-bit integers, each a quantised number less its zero
/// point. Each row has the same depth, with a zero at the end where it is odd.
#[derive(Debug)]
pub(super) struct Rows {
    depth: usize,
    values: Vec<i16>,
}

impl Rows {
    /// Rows of zeros, if the run may have them.
    pub(super) fn new(rows: usize, depth: usize, context: &Context<'_>) -> Result<Self, OperatorError> {
        let depth = even(depth)?;
        let count = context.reserve(ElementType::Int16, &[rows, depth])?;
        Ok(Self { depth, values: vec![0; count] })
    }

    /// Fills a row.
    pub(super) fn fill(&mut self, index: usize, bytes: Bytes<'_>, zero_point: i32) {
        fn fill<T: Copy + Into<i16>>(row: &mut [i16], bytes: &[T], zero_point: i16) {
            for (place, byte) in row.iter_mut().zip(bytes) {
                *place = (*byte).into() - zero_point;
            }
        }
        let row = &mut self.values[index * self.depth..(index + 1) * self.depth];
        match bytes {
            Bytes::Signed(bytes) => fill(row, bytes, zero_point as i16),
            Bytes::Unsigned(bytes) => fill(row, bytes, zero_point as i16),
        }
    }

    /// A row.
    pub(super) fn row(&self, index: usize) -> &[i16] {
        &self.values[index * self.depth..(index + 1) * self.depth]
    }
}

/// The depth with a place for a zero where it is odd; at least 2.
fn even(depth: usize) -> Result<usize, OperatorError> {
    let even = depth.max(1).checked_next_multiple_of(2);
    even.ok_or_else(|| OperatorError::TooLarge { shape: vec![depth] })
}

/// The right matrix: columns in blocks of [`BLOCK`]. In a block lie the first two numbers
/// of each of its columns, then the next two: `[blocks, depth / 2, BLOCK, 2]`.
#[derive(Debug)]
pub(super) struct Columns {
    depth: usize,
    count: usize,
    values: Vec<i16>,
}

impl Columns {
    /// Columns of zeros, if the run may have them.
    pub(super) fn new(columns: usize, depth: usize, context: &Context<'_>) -> Result<Self, OperatorError> {
        let depth = even(depth)?;
        let blocks = columns.div_ceil(BLOCK).max(1);
        let count = context.reserve(ElementType::Int16, &[blocks, depth, BLOCK])?;
        Ok(Self { depth, count: columns, values: vec![0; count] })
    }

    /// How many columns there are.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Uses the first columns only.
    pub(super) fn set_count(&mut self, columns: usize) {
        self.count = columns.min(self.values.len() / self.depth);
    }

    /// The places of one step of the depth in one block of columns: every second of these.
    pub(super) fn step_mut(&mut self, block: usize, step: usize) -> &mut [i16] {
        let start = (block * self.depth + step / 2 * 2) * BLOCK + step % 2;
        &mut self.values[start..(start + 2 * BLOCK).min((block + 1) * self.depth * BLOCK)]
    }

    /// The places of two steps of the depth, `step` and the next, in one block of columns:
    /// first both numbers of its first column. `step` is even.
    pub(super) fn pair_mut(&mut self, block: usize, step: usize) -> &mut [i16] {
        let start = (block * self.depth + step) * BLOCK;
        &mut self.values[start..start + 2 * BLOCK]
    }

    /// Fills the columns from a matrix `[depth, width]`, from its column `first` on.
    pub(super) fn fill(
        &mut self,
        bytes: Bytes<'_>,
        width: usize,
        first: usize,
        zero_point: impl Fn(usize) -> i32,
    ) {
        fn fill<T: Copy + Into<i16>>(
            columns: &mut Columns,
            bytes: &[T],
            width: usize,
            first: usize,
            zero_points: &[i16],
        ) {
            for (block, zero_points) in zero_points.chunks(BLOCK).enumerate() {
                let first = first + block * BLOCK;
                for (step, line) in bytes.chunks_exact(width).enumerate() {
                    let line = &line[first..first + zero_points.len()];
                    let places = columns.step_mut(block, step).iter_mut().step_by(2);
                    for ((place, byte), zero_point) in places.zip(line).zip(zero_points) {
                        *place = (*byte).into() - zero_point;
                    }
                }
            }
        }
        let zero_points = (0..self.count).map(|column| zero_point(first + column) as i16).collect::<Vec<_>>();
        match bytes {
            Bytes::Signed(bytes) => fill(self, bytes, width, first, &zero_points),
            Bytes::Unsigned(bytes) => fill(self, bytes, width, first, &zero_points),
        }
    }
}

/// The product of two matrices. That of row `i` and column `j` goes to
/// `products[i * stride + j]`. Sums that do not fit 32 bits wrap, as in ONNX Runtime.
pub(super) fn multiply(rows: &Rows, columns: &Columns, products: &mut [i32], stride: usize) {
    let size = columns.depth * BLOCK;
    for (block, values) in columns.values.chunks_exact(size).enumerate() {
        let first = block * BLOCK;
        if first >= columns.count {
            return;
        }
        let count = BLOCK.min(columns.count - first);
        let products = &mut products[first..];
        kernel::multiply(&rows.values, rows.depth.min(columns.depth), values, |row, sums| {
            products[row * stride..][..count].copy_from_slice(&sums[..count]);
        });
    }
}
