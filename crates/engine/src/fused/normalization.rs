//! A normalization of the rows of a tensor.

use adytum_kernels::{Level, buffer::Shared, normalization::Layer};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{tensor_of, unfit, values_of},
        share::share,
    },
    tensor::{ElementType, Value},
};

/// Brings each row to a variance of 1, and to a mean of 0 where it is centred; then scales and moves it.
#[derive(Debug)]
pub(crate) struct NormalizedRows {
    pub(crate) level: Level,
    pub(crate) epsilon: f32,
    pub(crate) is_centred: bool,
    /// A factor for each number of a row.
    pub(crate) scale: Vec<f32>,
    /// The summands of a row's numbers; empty for nothing.
    pub(crate) bias: Vec<f32>,
}

impl NormalizedRows {
    /// What it does, for people.
    pub(crate) fn describe(&self) -> String {
        let what = if self.is_centred { "layer normalization" } else { "normalization by squares" };
        format!("{what} of rows of {}", self.scale.len())
    }
}

impl Operator for NormalizedRows {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let tensor = arguments.tensor(0)?;
        let length = self.scale.len();
        if tensor.shape().last() != Some(&length) {
            return unfit(format!(
                "a tensor of the shape {:?} was given; expected rows of {length}",
                tensor.shape()
            ));
        }
        let count = context.reserve(ElementType::Float, tensor.shape())?;
        let mut result = vec![0.0; count];
        let layer = Layer {
            level: self.level,
            length,
            epsilon: self.epsilon,
            is_centred: self.is_centred,
            scale: Some(&self.scale),
            bias: (!self.bias.is_empty()).then_some(&self.bias),
        };
        let values = values_of::<f32>(tensor)?;
        share(context, Shared::new(&mut result), count.saturating_mul(4), |output, part| {
            layer.run(values, output, part)
        })?;
        Ok(vec![Value::Tensor(tensor_of(tensor.shape(), result)?)])
    }
}
