//! Products with a constant matrix of bytes that was put in the order of the kernels when the model was
//! loaded: `MatMulInteger`, `MatMulIntegerToFloat`, `DynamicQuantizeMatMul`.

use super::{
    dynamic::{fitting_scale, quantize},
    number::Bytes,
    scales::{Scale, single_scale, single_zero_point},
};
use crate::{
    operators::{
        Context, Operator, OperatorError,
        operands::{Operands, output, values},
    },
    tensor::{ElementType, Shape, Tensor, Value},
};
use adytum_kernels::{
    Part, Unfit,
    buffer::Shared,
    integer::product::{Matrix, Output, Product},
};

/// Multiplications for which another thread is worth waking.
const SHARE: usize = 1_000_000;

/// What a product gives.
#[derive(Debug)]
pub(crate) enum Form {
    /// Sums of 32 bits. Inputs: the left matrix, its zero point.
    Sums,
    /// Real numbers: a scale for each column or for all, and a number that is added to each column.
    Floats { scales: Vec<f32>, bias: Option<Vec<f32>>, left: Left },
}

/// The left matrix of a product that gives real numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    /// Bytes. Inputs: they, their scale, their zero point.
    Bytes,
    /// Real numbers, which become bytes first.
    Floats,
}

/// A product with a constant matrix.
#[derive(Debug)]
pub(crate) struct PackedProduct {
    matrix: Matrix,
    form: Form,
    /// [`Matrix::padded`].
    bias: Option<Vec<f32>>,
}

impl PackedProduct {
    pub(crate) fn new(matrix: Matrix, mut form: Form) -> Self {
        let bias = match &mut form {
            Form::Sums => None,
            Form::Floats { bias, .. } => bias.take().map(|bias| matrix.padded(bias.into_iter())),
        };
        Self { matrix, form, bias }
    }

    fn of_bytes(
        &self,
        left: Bytes<'_>,
        shape: &[usize],
        from: Scale,
        context: &Context<'_>,
    ) -> Result<Value, OperatorError> {
        let (depth, columns) = (self.matrix.row_count(), self.matrix.column_count());
        let [outer @ .., last] = shape else {
            return Err(OperatorError::inputs("a matrix is expected; a scalar was given"));
        };
        if *last != depth {
            return Err(OperatorError::inputs(format!(
                "rows of {last} numbers were given; {depth} are expected"
            )));
        }
        let too_large = || OperatorError::TooLarge { shape: shape.to_vec() };
        let rows = outer.iter().try_fold(1_usize, |rows, size| rows.checked_mul(*size));
        let rows = rows.ok_or_else(too_large)?;
        let mut result_shape = Shape::from(outer);
        result_shape.push(columns);
        // Bytes from 0 to 255, in whole fours.
        let (shift, length) = match left {
            Bytes::Signed(values) => (128, values.len()),
            Bytes::Unsigned(values) => (0, values.len()),
        };
        let step = self.matrix.row_bytes();
        let padded: Vec<u8>;
        let left = match left {
            Bytes::Unsigned(values) if step == depth => values,
            _ => {
                let mut bytes = vec![0; context.reserve(ElementType::Uint8, &[rows, step])?];
                for (row, target) in bytes.chunks_exact_mut(step).enumerate() {
                    for (place, target) in target.iter_mut().take(depth).enumerate() {
                        *target = match left {
                            Bytes::Signed(values) => values[row * depth + place].cast_unsigned() ^ 0x80,
                            Bytes::Unsigned(values) => values[row * depth + place],
                        };
                    }
                }
                padded = bytes;
                &padded
            }
        };
        if length != rows * depth {
            return Err(too_large());
        }
        let zero_point = u8::try_from(from.zero_point + shift)
            .map_err(|_| OperatorError::inputs("a zero point is not of the type of its matrix"))?;
        let product = |output| Product { matrix: &self.matrix, left, rows, zero_point, output };
        match &self.form {
            Form::Sums => {
                let mut sums = vec![0_i32; context.reserve(ElementType::Int32, &result_shape)?];
                self.share(rows, context, &product(Output::Sums(Shared::new(&mut sums))))?;
                output(result_shape, sums)
            }
            Form::Floats { scales, .. } => {
                let of = |column: usize| scales.get(column).or(scales.first()).copied().unwrap_or(0.0);
                let scales = self.matrix.padded((0..columns).map(|column| from.scale * of(column)));
                let mut reals = vec![0.0_f32; context.reserve(ElementType::Float, &result_shape)?];
                let products = Shared::new(&mut reals);
                let summands = self.bias.as_deref();
                let real = Output::Floats { products, scales: &scales, summands };
                self.share(rows, context, &product(real))?;
                output(result_shape, reals)
            }
        }
    }

    /// Computes a product on as many threads as are worth it.
    fn share(&self, rows: usize, context: &Context<'_>, product: &Product<'_>) -> Result<(), OperatorError> {
        let unfit =
            |Unfit(what): Unfit| OperatorError::Engine { reason: format!("a plan does not fit: {what}") };
        let cost = rows.saturating_mul(self.matrix.row_count()).saturating_mul(self.matrix.column_count());
        let Some(threads) = context.threads().filter(|threads| threads.count() > 1 && cost > SHARE) else {
            return product.run(Part::WHOLE).map_err(unfit);
        };
        let count = threads.count().min(cost / SHARE + 1);
        let mut results = vec![Ok(()); count];
        threads.enter(|| {
            rayon::scope(|scope| {
                for (index, result) in results.iter_mut().enumerate() {
                    scope.spawn(move |_| *result = product.run(Part { index, count }));
                }
            });
        });
        results.into_iter().collect::<Result<(), Unfit>>().map_err(unfit)
    }
}

impl Operator for PackedProduct {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let left: Tensor = operands.tensor(0)?;
        let value = match &self.form {
            Form::Floats { left: Left::Floats, .. } => {
                let numbers = values::<f32>(&left)?;
                let scale = fitting_scale(numbers);
                context.reserve(ElementType::Uint8, left.shape())?;
                let bytes = quantize(numbers, scale);
                self.of_bytes(Bytes::Unsigned(&bytes), left.shape(), scale, context)?
            }
            Form::Floats { left: Left::Bytes, .. } => {
                let from = Scale {
                    scale: single_scale(&mut operands, 1)?,
                    zero_point: single_zero_point(&mut operands, 2)?,
                };
                self.of_bytes(Bytes::new(&left)?, left.shape(), from, context)?
            }
            Form::Sums => {
                let from = Scale { scale: 1.0, zero_point: single_zero_point(&mut operands, 1)? };
                self.of_bytes(Bytes::new(&left)?, left.shape(), from, context)?
            }
        };
        Ok(vec![value])
    }
}

/// The numbers of a matrix `[row][column]` as `[column][row]`, less the zero points of the columns: one for
/// each, or one for all.
pub(crate) fn turned(matrix: &[i16], columns: usize, zero_points: &[i16]) -> Vec<i16> {
    /// A square of the matrix that stays in the nearest cache.
    const SQUARE: usize = 64;
    let rows = matrix.len().checked_div(columns).unwrap_or(0);
    let mut result = vec![0; rows * columns];
    for first_row in (0..rows).step_by(SQUARE) {
        for first in (0..columns).step_by(SQUARE) {
            for column in first..columns.min(first + SQUARE) {
                let zero_point = zero_points.get(column).or(zero_points.first()).copied().unwrap_or(0);
                for row in first_row..rows.min(first_row + SQUARE) {
                    result[column * rows + row] = matrix[row * columns + column] - zero_point;
                }
            }
        }
    }
    result
}
