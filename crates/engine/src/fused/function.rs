//! A function of every number of a tensor.

use adytum_kernels::{
    Level,
    activation::{Activation, map_part},
    buffer::Shared,
};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{owned_values, tensor_of},
        share::share,
    },
    tensor::{ElementType, Value},
};

/// About how many multiplications a function takes.
const COST: usize = 16;

/// A function of every number.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) level: Level,
    pub(crate) activation: Activation,
}

impl Operator for Function {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut arguments = Arguments::new(inputs);
        let tensor = arguments.take(0)?;
        let shape = tensor.shape().to_vec();
        let count = context.reserve(ElementType::Float, &shape)?;
        let mut values = owned_values::<f32>(tensor)?;
        share(context, Shared::new(&mut values), count.saturating_mul(COST), |values, part| {
            map_part(self.level, self.activation, values, part)
        })?;
        Ok(vec![Value::Tensor(tensor_of(shape, values)?)])
    }
}
