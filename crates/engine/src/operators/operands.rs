//! What operators do with their inputs before they compute: count them, take them,
//! read them as the type that the definition named.

use std::ops::RangeInclusive;

use super::{Context, Definition, OperatorError, Refusal};
use crate::tensor::{Element, ElementType, Elements, Shape, Tensor, Value, element_count};

/// Computes an expression for elements of any type: `values` is the shared vector.
macro_rules! for_any_element {
    ($elements:expr, $values:ident => $result:expr) => {
        match $elements {
            $crate::tensor::Elements::Float($values) => $result,
            $crate::tensor::Elements::Double($values) => $result,
            $crate::tensor::Elements::Half($values) => $result,
            $crate::tensor::Elements::Bfloat16($values) => $result,
            $crate::tensor::Elements::Int8($values) => $result,
            $crate::tensor::Elements::Int16($values) => $result,
            $crate::tensor::Elements::Int32($values) => $result,
            $crate::tensor::Elements::Int64($values) => $result,
            $crate::tensor::Elements::Uint8($values) => $result,
            $crate::tensor::Elements::Uint16($values) => $result,
            $crate::tensor::Elements::Uint32($values) => $result,
            $crate::tensor::Elements::Uint64($values) => $result,
            $crate::tensor::Elements::Bool($values) => $result,
            $crate::tensor::Elements::Text($values) => $result,
        }
    };
}
pub(super) use for_any_element;

/// Refuses a node that has another number of inputs, or more outputs.
pub(super) fn check_arity(
    definition: &Definition<'_>,
    inputs: RangeInclusive<usize>,
    outputs: usize,
) -> Result<(), Refusal> {
    let found = definition.inputs.len();
    if !inputs.contains(&found) {
        let (low, high) = (inputs.start(), inputs.end());
        return Err(Refusal::new(format!("{low} to {high} inputs are expected, {found} were found")));
    }
    if definition.outputs > outputs {
        return Err(Refusal::new(format!(
            "at most {outputs} outputs are expected, {} were found",
            definition.outputs
        )));
    }
    Ok(())
}

/// The inputs of a run, taken one by one.
pub(super) struct Operands(Vec<Option<Value>>);

impl Operands {
    /// Those of a run.
    pub(super) fn new(inputs: Vec<Option<Value>>) -> Self {
        Self(inputs)
    }

    /// How many there are, those left out included.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes a value, if it is there.
    pub(super) fn take(&mut self, index: usize) -> Option<Value> {
        self.0.get_mut(index).and_then(Option::take)
    }

    /// Takes a value that the definition said is there.
    pub(super) fn value(&mut self, index: usize) -> Result<Value, OperatorError> {
        self.take(index).ok_or_else(|| broken(format!("input {index} is missing")))
    }

    /// Takes a tensor that the definition said is there.
    pub(super) fn tensor(&mut self, index: usize) -> Result<Tensor, OperatorError> {
        self.optional_tensor(index)?.ok_or_else(|| broken(format!("input {index} is missing")))
    }

    /// Takes a tensor, if it is there.
    pub(super) fn optional_tensor(&mut self, index: usize) -> Result<Option<Tensor>, OperatorError> {
        self.take(index)
            .map(|value| value.into_tensor().ok_or_else(|| broken(format!("input {index} is not a tensor"))))
            .transpose()
    }

    /// Takes a sequence that the definition said is there.
    pub(super) fn sequence(&mut self, index: usize) -> Result<(ElementType, Vec<Tensor>), OperatorError> {
        match self.value(index)? {
            Value::Sequence(element_type, tensors) => Ok((element_type, tensors)),
            _ => Err(broken(format!("input {index} is not a sequence"))),
        }
    }
}

/// A value that is not what the definition said: a fault of the engine, not of a caller.
pub(super) fn broken(reason: impl Into<String>) -> OperatorError {
    OperatorError::Engine { reason: reason.into() }
}

/// The elements of a tensor whose type the definition gave.
pub(super) fn values<T: Element>(tensor: &Tensor) -> Result<&[T], OperatorError> {
    tensor.values().ok_or_else(|| mistyped(tensor, T::TYPE))
}

/// The elements of a tensor whose type the definition gave: without a copy where no
/// other tensor shares them.
pub(super) fn into_values<T: Element>(tensor: Tensor) -> Result<Vec<T>, OperatorError> {
    let error = mistyped(&tensor, T::TYPE);
    tensor.into_vec().ok_or(error)
}

fn mistyped(tensor: &Tensor, expected: ElementType) -> OperatorError {
    broken(format!("a tensor is {}, not {expected}", tensor.element_type()))
}

/// An output.
pub(super) fn output<T: Element>(shape: impl Into<Shape>, values: Vec<T>) -> Result<Value, OperatorError> {
    Tensor::from_vec(shape, values)
        .map(Value::Tensor)
        .ok_or_else(|| broken("an output does not fill its shape"))
}

/// Whether tensors of this type can be read by [`floats`] and [`doubles`].
pub(super) fn is_plain_number(element_type: ElementType) -> bool {
    matches!(element_type, ElementType::Float | ElementType::Double | ElementType::Int64 | ElementType::Int32)
}

/// Numbers rounded to 32-bit floating point, as the operators of `ai.onnx.ml` read
/// float, double, int64 and int32.
pub(super) fn floats(tensor: Tensor) -> Result<Vec<f32>, OperatorError> {
    match tensor.elements() {
        Elements::Double(values) => Ok(values.iter().map(|value| *value as f32).collect()),
        Elements::Int64(values) => Ok(values.iter().map(|value| *value as f32).collect()),
        Elements::Int32(values) => Ok(values.iter().map(|value| *value as f32).collect()),
        _ => into_values(tensor),
    }
}

/// Numbers in 64-bit floating point, from float, double, int64 and int32.
pub(super) fn doubles(tensor: Tensor) -> Result<Vec<f64>, OperatorError> {
    match tensor.elements() {
        Elements::Float(values) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
        Elements::Int64(values) => Ok(values.iter().map(|value| *value as f64).collect()),
        Elements::Int32(values) => Ok(values.iter().map(|value| f64::from(*value)).collect()),
        _ => into_values(tensor),
    }
}

/// The rows and columns of a matrix, or of a vector that is one row.
pub(super) fn rows_and_columns(shape: &[usize]) -> Result<(usize, usize), OperatorError> {
    match shape {
        [columns] => Ok((1, *columns)),
        [rows, columns] => Ok((*rows, *columns)),
        _ => Err(OperatorError::inputs(format!(
            "the input has the shape {shape:?}; one or two dimensions are expected"
        ))),
    }
}

/// The number of elements of some dimensions of a tensor. Dimensions of a tensor without
/// elements may be of any size: where their product does not fit, there is nothing to visit.
pub(super) fn volume(shape: &[usize]) -> usize {
    element_count(shape).unwrap_or(0)
}

/// Adds a value to a list that a caller's input makes longer. The run is asked for memory
/// each time the list grows.
pub(super) fn push_within<T>(
    list: &mut Vec<T>,
    value: T,
    context: &Context<'_>,
) -> Result<(), OperatorError> {
    if list.len() == list.capacity() {
        let bytes = list.len().max(4).saturating_mul(2).saturating_mul(size_of::<T>());
        context.reserve(ElementType::Uint8, &[bytes])?;
    }
    list.push(value);
    Ok(())
}

/// The elements at these indices, in this order. Each index must be below the length.
pub(super) fn select(elements: &Elements, indices: impl Iterator<Item = usize>) -> Elements {
    fn pick<T: Element>(values: &[T], indices: impl Iterator<Item = usize>) -> Elements {
        T::wrap(std::sync::Arc::new(indices.map(|index| values[index].clone()).collect()))
    }
    for_any_element!(elements, values => pick(values, indices))
}
