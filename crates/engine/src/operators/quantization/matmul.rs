//! `MatMulInteger` and `QLinearMatMul`.

use super::{
    number::{Bytes, Quantized, byte_type, check_same_type, singles},
    panel::{Columns, Rows, multiply},
    scales::{Each, Scale, check_scale, each_zero_point},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output},
        pairing::Pairing,
    },
    tensor::{ElementType, Shape, Tensor, Value},
};

/// How many columns of the right matrix are made ready at once.
const COLUMNS: usize = 64;

/// The shapes of a product of matrices, or of stacks of them.
pub(super) struct Stacks {
    /// The rows of the left matrix.
    pub(super) rows: usize,
    /// The columns of the left, the rows of the right matrix.
    pub(super) depth: usize,
    /// The columns of the right matrix.
    pub(super) columns: usize,
    /// The shape of the result.
    pub(super) shape: Shape,
    /// Which matrices of the left and of the right make each of the result.
    pairs: Pairing,
}

impl Stacks {
    /// By the rules of NumPy's `matmul`: a vector is a row on the left, a column on the right.
    pub(super) fn new(left: &[usize], right: &[usize]) -> Result<Self, OperatorError> {
        let wrong = || {
            OperatorError::inputs(format!(
                "matrices of the shapes {left:?} and {right:?} can't be multiplied"
            ))
        };
        let (left_stack, rows, depth) = match left {
            [] => return Err(wrong()),
            [depth] => (&[][..], None, *depth),
            [stack @ .., rows, depth] => (stack, Some(*rows), *depth),
        };
        let (right_stack, right_depth, columns) = match right {
            [] => return Err(wrong()),
            [depth] => (&[][..], *depth, None),
            [stack @ .., depth, columns] => (stack, *depth, Some(*columns)),
        };
        if depth != right_depth {
            return Err(wrong());
        }
        let pairs = Pairing::new(left_stack, right_stack)?;
        let mut shape = pairs.shape().to_vec();
        shape.extend(rows);
        shape.extend(columns);
        Ok(Self { rows: rows.unwrap_or(1), depth, columns: columns.unwrap_or(1), shape, pairs })
    }

    /// The products of 8-bit matrices less their zero points, those of the left by row,
    /// those of the right by column.
    pub(super) fn multiply(
        &self,
        (left, left_zero_points): (Bytes<'_>, &Each<i32>),
        (right, right_zero_points): (Bytes<'_>, &Each<i32>),
        context: &Context<'_>,
    ) -> Result<Vec<i32>, OperatorError> {
        let mut products = vec![0_i32; context.reserve(ElementType::Int32, &self.shape)?];
        if products.is_empty() || self.depth == 0 {
            return Ok(products);
        }
        let mut rows = Rows::new(self.rows, self.depth, context)?;
        let mut columns = Columns::new(COLUMNS.min(self.columns), self.depth, context)?;
        let mut filled = None;
        let mut results = products.chunks_exact_mut(self.rows * self.columns);
        self.pairs.try_for_each(|left_index, right_index| {
            let Some(products) = results.next() else { return Ok(()) };
            if filled != Some(left_index) {
                for row in 0..self.rows {
                    let start = (left_index * self.rows + row) * self.depth;
                    rows.fill(row, left.part(start, self.depth), left_zero_points.of(row));
                }
                filled = Some(left_index);
            }
            let size = self.depth * self.columns;
            let right = right.part(right_index * size, size);
            for first in (0..self.columns).step_by(COLUMNS) {
                context.check()?;
                columns.set_count(COLUMNS.min(self.columns - first));
                columns.fill(right, self.columns, first, |column| right_zero_points.of(column));
                multiply(&rows, &columns, &mut products[first..], self.columns);
            }
            Ok(())
        })?;
        Ok(products)
    }
}

/// Both matrices must be int8 or uint8; a zero point has its matrix's type.
pub(super) fn check_matrices(
    definition: &Definition<'_>,
    left: usize,
    right: usize,
    zero_points: (usize, usize),
) -> Result<(), Refusal> {
    check_same_type(definition, zero_points.0, byte_type(definition, left)?)?;
    check_same_type(definition, zero_points.1, byte_type(definition, right)?)
}

#[derive(Debug)]
struct MatMulInteger;

pub(super) fn build_integer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 2..=4, 1)?;
    check_matrices(definition, 0, 1, (2, 3))?;
    Ok(Built::tensor(MatMulInteger, ElementType::Int32))
}

impl Operator for MatMulInteger {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (left, right) = (operands.tensor(0)?, operands.tensor(1)?);
        let stacks = Stacks::new(left.shape(), right.shape())?;
        let left_zero_points = each_zero_point(operands.optional_tensor(2)?.as_ref(), stacks.rows)?;
        let right_zero_points = each_zero_point(operands.optional_tensor(3)?.as_ref(), stacks.columns)?;
        let products = stacks.multiply(
            (Bytes::new(&left)?, &left_zero_points),
            (Bytes::new(&right)?, &right_zero_points),
            context,
        )?;
        Ok(vec![output(stacks.shape, products)?])
    }
}

#[derive(Debug)]
struct QLinearMatMul {
    to: ElementType,
}

pub(super) fn build_linear(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 8..=8, 1)?;
    check_matrices(definition, 0, 3, (2, 5))?;
    for scale in [1, 4, 6] {
        check_scale(definition, scale)?;
    }
    let to = byte_type(definition, 7)?;
    Ok(Built::tensor(QLinearMatMul { to }, to))
}

/// 32-bit sums scaled by column to an 8-bit type.
pub(super) fn requantize<T: Quantized>(
    sums: &[i32],
    columns: usize,
    scales: &Each<f32>,
    zero_point: i32,
) -> Vec<T> {
    let mut quantized = Vec::with_capacity(sums.len());
    for row in sums.chunks_exact(columns.max(1)) {
        quantized.extend(
            row.iter().enumerate().map(|(column, sum)| T::round(*sum as f32 * scales.of(column), zero_point)),
        );
    }
    quantized
}

/// [`requantize`] to the type of an output.
pub(super) fn requantized_output(
    shape: impl Into<Shape>,
    (sums, columns): (&[i32], usize),
    scales: &Each<f32>,
    (to, zero_point): (ElementType, i32),
) -> Result<Value, OperatorError> {
    match to {
        ElementType::Int8 => output(shape, requantize::<i8>(sums, columns, scales, zero_point)),
        _ => output(shape, requantize::<u8>(sums, columns, scales, zero_point)),
    }
}

/// The scales of columns.
pub(super) fn each_scale(tensor: &Tensor, count: usize) -> Result<Each<f32>, OperatorError> {
    Each::new("a scale", singles(tensor)?, count)
}

impl Operator for QLinearMatMul {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (left, right) = (operands.tensor(0)?, operands.tensor(3)?);
        let stacks = Stacks::new(left.shape(), right.shape())?;
        let left_scale = Scale::take(&mut operands, 1, 2)?;
        let right_scales = each_scale(&operands.tensor(4)?, stacks.columns)?;
        let right_zero_points = each_zero_point(operands.optional_tensor(5)?.as_ref(), stacks.columns)?;
        let to = Scale::take(&mut operands, 6, 7)?;
        let products = stacks.multiply(
            (Bytes::new(&left)?, &Each::same(left_scale.zero_point)),
            (Bytes::new(&right)?, &right_zero_points),
            context,
        )?;
        let scales = right_scales.map(|scale| left_scale.scale * scale / to.scale);
        Ok(vec![requantized_output(
            stacks.shape,
            (&products, stacks.columns),
            &scales,
            (self.to, to.zero_point),
        )?])
    }
}
