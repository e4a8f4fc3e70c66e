//! Products of matrices of `com.microsoft`: `QGemm`, `MatMulIntegerToFloat`,
//! `DynamicQuantizeMatMul`.

use super::{
    dynamic::{fitting_scale, quantize},
    matmul::{Stacks, check_matrices, each_scale, requantized_output},
    number::{Bytes, byte_type, check_same_type},
    scales::{Each, Scale, check_scale, each_zero_point, single_scale, single_zero_point},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
        pairing::Pairing,
    },
    tensor::{ElementType, Tensor, Value},
};

/// A bias that is added to each row.
fn take_bias(
    operands: &mut Operands,
    index: usize,
    columns: usize,
) -> Result<Option<Vec<f32>>, OperatorError> {
    let Some(bias) = operands.optional_tensor(index)? else { return Ok(None) };
    if bias.shape() != [columns] {
        return Err(OperatorError::inputs(format!(
            "the bias has the shape {:?}; [{columns}] is expected",
            bias.shape()
        )));
    }
    values::<f32>(&bias).map(|bias| Some(bias.to_vec()))
}

/// Scaled sums plus a bias.
fn real_output(
    stacks: Stacks,
    sums: &[i32],
    scales: &Each<f32>,
    bias: Option<&[f32]>,
) -> Result<Value, OperatorError> {
    let mut real = Vec::with_capacity(sums.len());
    for row in sums.chunks_exact(stacks.columns.max(1)) {
        real.extend(
            row.iter()
                .enumerate()
                .map(|(column, sum)| *sum as f32 * scales.of(column) + bias.map_or(0.0, |bias| bias[column])),
        );
    }
    output(stacks.shape, real)
}

#[derive(Debug)]
struct MatMulIntegerToFloat;

pub(super) fn build_to_float(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 4..=7, 1)?;
    check_matrices(definition, 0, 1, (4, 5))?;
    for index in [2, 3, 6] {
        check_same_type(definition, index, ElementType::Float)?;
    }
    check_scale(definition, 2)?;
    check_scale(definition, 3)?;
    Ok(Built::tensor(MatMulIntegerToFloat, ElementType::Float))
}

impl Operator for MatMulIntegerToFloat {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (left, right) = (operands.tensor(0)?, operands.tensor(1)?);
        let stacks = Stacks::new(left.shape(), right.shape())?;
        let left_scale = Scale::take(&mut operands, 2, 4)?;
        let right_scales = each_scale(&operands.tensor(3)?, stacks.columns)?;
        let right_zero_points = each_zero_point(operands.optional_tensor(5)?.as_ref(), stacks.columns)?;
        let bias = take_bias(&mut operands, 6, stacks.columns)?;
        let sums = stacks.multiply(
            (Bytes::new(&left)?, &Each::same(left_scale.zero_point)),
            (Bytes::new(&right)?, &right_zero_points),
            context,
        )?;
        let scales = right_scales.map(|scale| left_scale.scale * scale);
        Ok(vec![real_output(stacks, &sums, &scales, bias.as_deref())?])
    }
}

#[derive(Debug)]
struct DynamicQuantizeMatMul;

pub(super) fn build_dynamic(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 3..=5, 1)?;
    check_same_type(definition, 0, ElementType::Float)?;
    check_same_type(definition, 3, byte_type(definition, 1)?)?;
    check_same_type(definition, 2, ElementType::Float)?;
    check_same_type(definition, 4, ElementType::Float)?;
    check_scale(definition, 2)?;
    definition.tensor_type(0)?;
    Ok(Built::tensor(DynamicQuantizeMatMul, ElementType::Float))
}

impl Operator for DynamicQuantizeMatMul {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (left, right) = (operands.tensor(0)?, operands.tensor(1)?);
        let stacks = Stacks::new(left.shape(), right.shape())?;
        let right_scales = each_scale(&operands.tensor(2)?, stacks.columns)?;
        let right_zero_points = each_zero_point(operands.optional_tensor(3)?.as_ref(), stacks.columns)?;
        let bias = take_bias(&mut operands, 4, stacks.columns)?;
        let left = values::<f32>(&left)?;
        let left_scale = fitting_scale(left);
        context.reserve(ElementType::Uint8, &[left.len()])?;
        let left = quantize(left, left_scale);
        let sums = stacks.multiply(
            (Bytes::Unsigned(&left), &Each::same(left_scale.zero_point)),
            (Bytes::new(&right)?, &right_zero_points),
            context,
        )?;
        let scales = right_scales.map(|scale| left_scale.scale * scale);
        Ok(vec![real_output(stacks, &sums, &scales, bias.as_deref())?])
    }
}

#[derive(Debug)]
struct QGemm {
    alpha: f32,
    turns_left: bool,
    turns_right: bool,
    /// The type of the output: 8 bits, or float.
    to: ElementType,
}

pub(super) fn build_gemm(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 6..=9, 1)?;
    check_matrices(definition, 0, 3, (2, 5))?;
    check_scale(definition, 1)?;
    check_scale(definition, 4)?;
    check_same_type(definition, 6, ElementType::Int32)?;
    let to = if definition.has_input(7) {
        check_scale(definition, 7)?;
        if definition.has_input(8) { byte_type(definition, 8)? } else { byte_type(definition, 0)? }
    } else {
        ElementType::Float
    };
    let attributes = definition.attributes;
    let gemm = QGemm {
        alpha: attributes.float("alpha")?.unwrap_or(1.0),
        turns_left: attributes.integer("transA")?.unwrap_or(0) != 0,
        turns_right: attributes.integer("transB")?.unwrap_or(0) != 0,
        to,
    };
    Ok(Built::tensor(gemm, to))
}

/// A matrix with its rows and columns exchanged.
fn turned(matrix: &Tensor) -> Result<Tensor, OperatorError> {
    fn turn<T: Copy>(values: &[T], rows: usize, columns: usize) -> Vec<T> {
        (0..columns).flat_map(|column| (0..rows).map(move |row| values[row * columns + column])).collect()
    }
    let [rows, columns] = *matrix.shape() else {
        return Err(OperatorError::inputs(format!(
            "a matrix is expected; the shape is {:?}",
            matrix.shape()
        )));
    };
    if matrix.is_empty() {
        return Err(OperatorError::inputs("a matrix has no elements"));
    }
    let value = match Bytes::new(matrix)? {
        Bytes::Signed(values) => output([columns, rows], turn(values, rows, columns))?,
        Bytes::Unsigned(values) => output([columns, rows], turn(values, rows, columns))?,
    };
    value.into_tensor().ok_or_else(|| crate::operators::operands::broken("a matrix is not a tensor"))
}

impl Operator for QGemm {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (mut left, mut right) = (operands.tensor(0)?, operands.tensor(3)?);
        if self.turns_left {
            left = turned(&left)?;
        }
        if self.turns_right {
            right = turned(&right)?;
        }
        if left.rank() != 2 || right.rank() != 2 {
            return Err(OperatorError::inputs("two matrices are expected"));
        }
        let stacks = Stacks::new(left.shape(), right.shape())?;
        let left_scale = Scale::take(&mut operands, 1, 2)?;
        let right_scales = each_scale(&operands.tensor(4)?, stacks.columns)?;
        let right_zero_points = each_zero_point(operands.optional_tensor(5)?.as_ref(), stacks.columns)?;
        let mut sums = stacks.multiply(
            (Bytes::new(&left)?, &Each::same(left_scale.zero_point)),
            (Bytes::new(&right)?, &right_zero_points),
            context,
        )?;
        if let Some(bias) = operands.optional_tensor(6)? {
            let pairing = Pairing::new(&stacks.shape, bias.shape())?;
            if pairing.shape() != stacks.shape {
                return Err(OperatorError::inputs(format!(
                    "a bias of the shape {:?} does not fit",
                    bias.shape()
                )));
            }
            let bias = values::<i32>(&bias)?;
            pairing.for_each(|sum, index| sums[sum] = sums[sum].wrapping_add(bias[index]));
        }
        let scales = right_scales.map(|scale| self.alpha * left_scale.scale * scale);
        if self.to == ElementType::Float {
            return Ok(vec![real_output(stacks, &sums, &scales, None)?]);
        }
        let (to_scale, zero_point) = (single_scale(&mut operands, 7)?, single_zero_point(&mut operands, 8)?);
        let scales = scales.map(|scale| scale / to_scale);
        Ok(vec![requantized_output(stacks.shape, (&sums, stacks.columns), &scales, (self.to, zero_point))?])
    }
}
