//! The inputs of a run, and operators that are functions of them.

use std::fmt;

use super::{Built, Context, Definition, Operator, OperatorError, Refusal};
use crate::tensor::{Element, ElementType, Shape, Tensor, Value, ValueType};

/// The inputs of a run, by their places in the definition.
pub(crate) struct Arguments(Vec<Option<Value>>);

/// A fault of the engine: what the definition promised is not so.
pub(crate) fn fault(reason: impl Into<String>) -> OperatorError {
    OperatorError::Engine { reason: reason.into() }
}

/// Inputs that do not fit.
pub(crate) fn unfit<T>(reason: impl Into<String>) -> Result<T, OperatorError> {
    Err(OperatorError::inputs(reason))
}

/// A tensor whose number of elements its maker has counted.
pub(crate) fn tensor_of<T: Element>(
    shape: impl Into<Shape>,
    values: Vec<T>,
) -> Result<Tensor, OperatorError> {
    let shape = shape.into();
    let count = values.len();
    Tensor::from_vec(shape.clone(), values)
        .ok_or_else(|| fault(format!("{count} elements were made for the shape {shape:?}")))
}

/// The same elements in another shape.
pub(crate) fn reshaped(tensor: Tensor, shape: impl Into<Shape>) -> Result<Tensor, OperatorError> {
    let shape = shape.into();
    let found = tensor.shape().to_vec();
    tensor.reshaped(shape.clone()).ok_or_else(|| {
        OperatorError::inputs(format!("a tensor of the shape {found:?} does not fit the shape {shape:?}"))
    })
}

/// The elements of a tensor whose type is known.
pub(crate) fn values_of<T: Element>(tensor: &Tensor) -> Result<&[T], OperatorError> {
    tensor
        .values::<T>()
        .ok_or_else(|| fault(format!("a tensor is {}; expected {}", tensor.element_type(), T::TYPE)))
}

/// The elements of a tensor whose type is known, to be changed in place where they are not shared.
pub(crate) fn owned_values<T: Element>(tensor: Tensor) -> Result<Vec<T>, OperatorError> {
    let found = tensor.element_type();
    tensor.into_vec::<T>().ok_or_else(|| fault(format!("a tensor is {found}; expected {}", T::TYPE)))
}

/// The whole numbers of a tensor of int64 or int32.
pub(crate) fn integers_of(tensor: &Tensor) -> Result<Vec<i64>, OperatorError> {
    if let Some(values) = tensor.values::<i64>() {
        return Ok(values.to_vec());
    }
    match tensor.values::<i32>() {
        Some(values) => Ok(values.iter().map(|value| i64::from(*value)).collect()),
        None => Err(fault(format!("a tensor is {}; expected int64 or int32", tensor.element_type()))),
    }
}

impl Arguments {
    /// Of the values that a run gives.
    pub(crate) fn new(values: Vec<Option<Value>>) -> Self {
        Self(values)
    }

    /// A tensor that must be there.
    pub(crate) fn tensor(&self, index: usize) -> Result<&Tensor, OperatorError> {
        self.optional(index).ok_or_else(|| fault(format!("input {index} is not there, or is not a tensor")))
    }

    /// A tensor, if it is there.
    pub(crate) fn optional(&self, index: usize) -> Option<&Tensor> {
        self.0.get(index).and_then(Option::as_ref).and_then(Value::tensor)
    }

    /// A tensor that must be there, out of the arguments.
    pub(crate) fn take(&mut self, index: usize) -> Result<Tensor, OperatorError> {
        self.0
            .get_mut(index)
            .and_then(Option::take)
            .and_then(Value::into_tensor)
            .ok_or_else(|| fault(format!("input {index} is not there, or is not a tensor")))
    }

    /// The elements of a tensor that must be there.
    pub(crate) fn values<T: Element>(&self, index: usize) -> Result<&[T], OperatorError> {
        values_of(self.tensor(index)?)
    }

    /// The elements of a tensor, if it is there.
    pub(crate) fn optional_values<T: Element>(&self, index: usize) -> Result<Option<&[T]>, OperatorError> {
        self.optional(index).map(values_of).transpose()
    }

    /// The whole numbers of a tensor, if it is there.
    pub(crate) fn integers(&self, index: usize) -> Result<Option<Vec<i64>>, OperatorError> {
        self.optional(index).map(integers_of).transpose()
    }

    /// The only whole number of a tensor, if the tensor is there.
    pub(crate) fn integer(&self, index: usize) -> Result<Option<i64>, OperatorError> {
        match self.integers(index)?.as_deref() {
            None => Ok(None),
            Some([value]) => Ok(Some(*value)),
            Some(values) => unfit(format!("input {index} has {} elements; expected one", values.len())),
        }
    }

    /// All tensors, in order.
    pub(crate) fn into_tensors(self) -> Result<Vec<Tensor>, OperatorError> {
        self.0
            .into_iter()
            .map(|value| value.and_then(Value::into_tensor))
            .collect::<Option<_>>()
            .ok_or_else(|| fault("an input is not there, or is not a tensor"))
    }
}

/// Of a tensor without elements, the product of the other sizes: loops over rows that hold
/// nothing end soon, and products of sizes do not overflow.
const EMPTY_LIMIT: usize = 1 << 24;

/// An error for an empty tensor with other sizes that are hostile.
fn check_empty(inputs: &[Option<Value>]) -> Result<(), OperatorError> {
    for tensor in inputs.iter().flatten().filter_map(Value::tensor) {
        let rows = tensor.shape().iter().filter(|size| **size > 0);
        if tensor.is_empty() && rows.fold(1_usize, |rows, size| rows.saturating_mul(*size)) > EMPTY_LIMIT {
            return Err(OperatorError::TooLarge { shape: tensor.shape().to_vec() });
        }
    }
    Ok(())
}

/// An operator that is a function of its inputs.
struct Function<F> {
    name: String,
    function: F,
}

impl<F> fmt::Debug for Function<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl<F> Operator for Function<F>
where
    F: Fn(Arguments, &Context<'_>) -> Result<Vec<Tensor>, OperatorError> + Send + Sync,
{
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        check_empty(&inputs)?;
        let outputs = (self.function)(Arguments::new(inputs), context)?;
        Ok(outputs.into_iter().map(Value::Tensor).collect())
    }
}

/// An operator whose outputs are tensors of `types`.
pub(crate) fn several<F>(
    definition: &Definition<'_>,
    types: Vec<ElementType>,
    function: F,
) -> Result<Built, Refusal>
where
    F: Fn(Arguments, &Context<'_>) -> Result<Vec<Tensor>, OperatorError> + Send + Sync + 'static,
{
    if definition.outputs > types.len() {
        return Err(Refusal::new(format!(
            "the node names {} outputs; {} has at most {} here",
            definition.outputs,
            definition.operator,
            types.len()
        )));
    }
    Ok(Built {
        operator: Box::new(Function { name: definition.operator.to_owned(), function }),
        types: types.into_iter().map(ValueType::Tensor).collect(),
    })
}

/// An operator whose only output is a tensor of `element_type`.
pub(crate) fn single<F>(
    definition: &Definition<'_>,
    element_type: ElementType,
    function: F,
) -> Result<Built, Refusal>
where
    F: Fn(Arguments, &Context<'_>) -> Result<Tensor, OperatorError> + Send + Sync + 'static,
{
    several(definition, vec![element_type], move |arguments, context| {
        function(arguments, context).map(|tensor| vec![tensor])
    })
}
