//! Rows of small integers, made ready to be multiplied.

use super::{kernel, number::Bytes};
use crate::{
    operators::{Context, OperatorError},
    tensor::ElementType,
};

/// Rows of 16-bit integers, each a quantised number less its zero point. Each row has
/// the same depth, filled with zeros to a multiple of the kernel's width.
#[derive(Debug)]
pub(super) struct Panel {
    depth: usize,
    rows: usize,
    values: Vec<i16>,
}

impl Panel {
    /// Rows of zeros, if the run may have them.
    pub(super) fn new(rows: usize, depth: usize, context: &Context<'_>) -> Result<Self, OperatorError> {
        let depth = depth.next_multiple_of(kernel::WIDTH).max(kernel::WIDTH);
        let count = context.reserve(ElementType::Int16, &[rows, depth])?;
        Ok(Self { depth, rows, values: vec![0; count] })
    }

    /// How many rows there are.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Uses the first rows only.
    pub(super) fn set_rows(&mut self, rows: usize) {
        self.rows = rows.min(self.values.len() / self.depth);
    }

    /// A row, to be filled.
    pub(super) fn row_mut(&mut self, index: usize) -> &mut [i16] {
        &mut self.values[index * self.depth..(index + 1) * self.depth]
    }

    /// Fills a row from contiguous bytes.
    pub(super) fn fill_row(&mut self, index: usize, bytes: Bytes<'_>, zero_point: i32) {
        fn fill<T: Copy + Into<i16>>(row: &mut [i16], bytes: &[T], zero_point: i16) {
            for (place, byte) in row.iter_mut().zip(bytes) {
                *place = (*byte).into() - zero_point;
            }
        }
        let row = self.row_mut(index);
        match bytes {
            Bytes::Signed(bytes) => fill(row, bytes, zero_point as i16),
            Bytes::Unsigned(bytes) => fill(row, bytes, zero_point as i16),
        }
    }

    /// Fills the rows from the columns of a matrix: row `r` becomes column `first + r`.
    /// The matrix is `[depth, columns]`.
    pub(super) fn fill_columns(
        &mut self,
        bytes: Bytes<'_>,
        columns: usize,
        first: usize,
        zero_point: impl Fn(usize) -> i32,
    ) {
        fn fill<T: Copy + Into<i16>>(
            panel: &mut Panel,
            bytes: &[T],
            columns: usize,
            first: usize,
            zero_points: &[i16],
        ) {
            for (step, line) in bytes.chunks_exact(columns).enumerate() {
                let line = &line[first..first + zero_points.len()];
                for (index, (byte, zero_point)) in line.iter().zip(zero_points).enumerate() {
                    panel.values[index * panel.depth + step] = (*byte).into() - zero_point;
                }
            }
        }
        let zero_points = (0..self.rows).map(|row| zero_point(first + row) as i16).collect::<Vec<_>>();
        match bytes {
            Bytes::Signed(bytes) => fill(self, bytes, columns, first, &zero_points),
            Bytes::Unsigned(bytes) => fill(self, bytes, columns, first, &zero_points),
        }
    }
}

/// The products of each row of `left` with each row of `right`. The product of rows `i`
/// and `j` goes to `products[i * stride + j]`. Sums that do not fit 32 bits wrap, as in
/// ONNX Runtime.
pub(super) fn multiply(left: &Panel, right: &Panel, products: &mut [i32], stride: usize) {
    kernel::multiply(
        kernel::Rows { values: &left.values[..left.rows * left.depth], depth: left.depth },
        kernel::Rows { values: &right.values[..right.rows * right.depth], depth: right.depth },
        products,
        stride,
    );
}
