//! A product with a constant matrix of 4- or 8-bit numbers in blocks.

use adytum_kernels::{blocked, buffer::Shared, integer::nibbles};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{tensor_of, unfit, values_of},
        share::share,
        widen::{narrow, widen},
    },
    tensor::{ElementType, Tensor, Value},
};

/// Rows that are multiplied at once, and become numbers of int8 first if the matrix wants that.
const ROWS: usize = 960;

/// The matrix, by the form of the rows that it is multiplied with.
#[derive(Debug)]
pub(crate) enum Matrix {
    Int8(nibbles::Matrix),
    Floats(blocked::Matrix),
}

/// MatMulNBits whose matrix is in the order of the kernels.
#[derive(Debug)]
pub(crate) struct BlockProduct {
    pub(crate) matrix: Matrix,
    /// The type of the rows and of the result: float, or 16 bits of it.
    pub(crate) element_type: ElementType,
}

impl BlockProduct {
    fn multiply(&self, left: &Tensor, context: &Context<'_>) -> Result<Tensor, OperatorError> {
        let (depth, columns) = match &self.matrix {
            Matrix::Int8(matrix) => (matrix.depth(), matrix.columns()),
            Matrix::Floats(matrix) => (matrix.depth(), matrix.columns()),
        };
        let mut shape = left.shape().to_vec();
        match shape.last_mut() {
            Some(last) if *last == depth => *last = columns,
            _ => {
                return unfit(format!(
                    "a tensor of the shape {:?} was given; expected rows of {depth}",
                    left.shape()
                ));
            }
        }
        let rows = values_of::<f32>(left)?;
        let mut result = vec![0.0_f32; context.reserve(ElementType::Float, &shape)?];
        let parts = rows.chunks(ROWS * depth).zip(result.chunks_mut(ROWS * columns));
        match &self.matrix {
            Matrix::Int8(matrix) => {
                let step = matrix.row_bytes();
                let room = [ROWS.min(rows.len() / depth), step];
                let mut bytes = vec![0_u8; context.reserve(ElementType::Uint8, &room)?];
                for (rows, result) in parts {
                    let bytes = bytes.get_mut(..rows.len() / depth * step).unwrap_or_default();
                    share(context, Shared::new(bytes), rows.len(), |output, part| {
                        matrix.arrange(rows, output, part)
                    })?;
                    // Eight products of bytes are as fast as one of floats.
                    let cost = result.len().saturating_mul(depth) / 8;
                    share(context, Shared::new(result), cost, |output, part| {
                        matrix.multiply(bytes, output, part)
                    })?;
                }
            }
            Matrix::Floats(matrix) => {
                for (rows, result) in parts {
                    let cost = result.len().saturating_mul(depth);
                    share(context, Shared::new(result), cost, |output, part| {
                        matrix.multiply(rows, output, part)
                    })?;
                }
            }
        }
        tensor_of(shape, result)
    }
}

impl Operator for BlockProduct {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let left = arguments.tensor(0)?;
        if left.element_type() != self.element_type {
            return unfit(format!(
                "rows of {} were given; expected {}",
                left.element_type(),
                self.element_type
            ));
        }
        if self.element_type != ElementType::Float {
            context.reserve(ElementType::Float, left.shape())?;
        }
        let result = self.multiply(&*widen(left)?, context)?;
        Ok(vec![Value::Tensor(narrow(result, self.element_type)?)])
    }
}
