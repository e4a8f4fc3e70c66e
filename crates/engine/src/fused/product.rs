//! A product with a constant matrix, and what follows it: bias, function, sum.

use std::fmt;

use adytum_kernels::{
    activation::Activation,
    buffer::Shared,
    products::{Matrix, Product},
};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{reshaped, tensor_of, unfit, values_of},
        broadcast::combine,
        constant::list,
        movement::reshape::wanted_shape,
        share::share,
    },
    tensor::{ElementType, Tensor, Value},
};

/// The place of an input of [`PackedProduct`].
const ROWS: usize = 0;
const RESIDUAL: usize = 1;
const SHAPE: usize = 2;

/// The summand of a product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Residual {
    Nothing,
    /// Input 1. It is added by the kernel where it has the product's shape.
    Tensor,
}

/// The shape of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// That of the rows, with the columns of the matrix.
    OfRows,
    /// Reshape's, by input 2.
    Wanted {
        /// Whether 0 is a size, and not the size that is there.
        zero_is_a_size: bool,
    },
}

/// `f(x W + b) + r`.
pub(crate) struct PackedProduct {
    pub(crate) matrix: Matrix,
    pub(crate) activation: Activation,
    pub(crate) residual: Residual,
    pub(crate) shape: Shape,
}

impl fmt::Debug for PackedProduct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl PackedProduct {
    /// What it does, for people.
    pub(crate) fn describe(&self) -> String {
        let mut text = format!("product with {} by {}", self.matrix.depth(), self.matrix.columns());
        if self.matrix.form().is_narrow() {
            text.push_str(" in bf16");
        }
        if self.activation != Activation::Identity {
            text.push_str(", ");
            text.push_str(self.activation.name());
        }
        if self.residual == Residual::Tensor {
            text.push_str(", sum");
        }
        text
    }
}

impl Operator for PackedProduct {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let rows = arguments.tensor(ROWS)?;
        let (depth, columns) = (self.matrix.depth(), self.matrix.columns());
        let mut shape = match rows.shape() {
            [outer @ .., last] if *last == depth => outer.to_vec(),
            found => {
                return unfit(format!("a tensor of the shape {found:?} was given; expected rows of {depth}"));
            }
        };
        shape.push(columns);
        if let Shape::Wanted { zero_is_a_size } = self.shape {
            let wanted = list::<i64>(arguments.tensor(SHAPE)?, "the shape")?;
            shape = wanted_shape(&shape, wanted, zero_is_a_size)?;
        }
        let residual = match self.residual {
            Residual::Nothing => None,
            Residual::Tensor => Some(arguments.tensor(RESIDUAL)?),
        };
        let (residual, other) = match residual {
            Some(residual) if residual.shape() == shape => (Some(residual), None),
            other => (None, other),
        };
        let count = context.reserve(ElementType::Float, &shape)?;
        let values = values_of::<f32>(rows)?;
        if count != values.len() / depth * columns {
            return unfit(format!(
                "{} rows of {columns} do not fit the shape {shape:?}",
                values.len() / depth
            ));
        }
        let mut result = vec![0.0; count];
        if count > 0 {
            let residual = residual.map(values_of::<f32>).transpose()?;
            let product =
                Product { matrix: &self.matrix, rows: values, activation: self.activation, residual };
            let cost = count.saturating_mul(depth);
            share(context, Shared::new(&mut result), cost, |output, part| product.run(output, part))?;
        }
        let result: Tensor = reshaped(tensor_of(vec![count], result)?, shape)?;
        Ok(vec![Value::Tensor(match other {
            Some(other) => combine::<f32>(result, other.clone(), context, |sum, other| sum + other)?,
            None => result,
        })])
    }
}
