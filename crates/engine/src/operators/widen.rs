//! The 16-bit floats, computed as floats and rounded once: as ONNX Runtime does on a CPU.

use std::borrow::Cow;

use half::{bf16, f16};

use super::{
    Built, Context, Definition, Input, Operator, OperatorError, Refusal,
    arguments::{tensor_of, values_of},
    definition::Builder,
};
use crate::tensor::{ElementType, Tensor, Value, ValueType};

static FLOAT: ValueType = ValueType::Tensor(ElementType::Float);

/// Whether a type is one of the 16-bit floats.
pub(crate) fn is_half(element_type: ElementType) -> bool {
    matches!(element_type, ElementType::Half | ElementType::Bfloat16)
}

/// The type that a type is computed in.
pub(crate) fn widened_type(element_type: ElementType) -> ElementType {
    if is_half(element_type) { ElementType::Float } else { element_type }
}

/// The elements of a 16-bit float tensor as floats; other tensors as they are.
pub(crate) fn widen(tensor: &Tensor) -> Result<Cow<'_, Tensor>, OperatorError> {
    let values: Vec<f32> = match tensor.element_type() {
        ElementType::Half => values_of::<f16>(tensor)?.iter().map(|value| value.to_f32()).collect(),
        ElementType::Bfloat16 => values_of::<bf16>(tensor)?.iter().map(|value| value.to_f32()).collect(),
        _ => return Ok(Cow::Borrowed(tensor)),
    };
    Ok(Cow::Owned(tensor_of(tensor.shape(), values)?))
}

/// Floats as a 16-bit float type; other tensors, and for other types, as they are.
pub(crate) fn narrow(tensor: Tensor, element_type: ElementType) -> Result<Tensor, OperatorError> {
    if tensor.element_type() != ElementType::Float {
        return Ok(tensor);
    }
    match element_type {
        ElementType::Half => {
            let values: Vec<f16> = values_of::<f32>(&tensor)?.iter().copied().map(f16::from_f32).collect();
            tensor_of(tensor.shape(), values)
        }
        ElementType::Bfloat16 => {
            let values: Vec<bf16> = values_of::<f32>(&tensor)?.iter().copied().map(bf16::from_f32).collect();
            tensor_of(tensor.shape(), values)
        }
        _ => Ok(tensor),
    }
}

/// An operator that computes in floats what is given and asked in a 16-bit type.
#[derive(Debug)]
struct Widened {
    inner: Box<dyn Operator>,
    /// The constants among the inputs, as floats: they are not turned at each run.
    constants: Vec<Option<Tensor>>,
    outputs: Vec<ElementType>,
}

impl Operator for Widened {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut widened = Vec::with_capacity(inputs.len());
        for (index, input) in inputs.into_iter().enumerate() {
            let constant = self.constants.get(index).and_then(Option::as_ref);
            widened.push(match (constant, input) {
                (Some(constant), Some(_)) => Some(Value::Tensor(constant.clone())),
                (_, Some(Value::Tensor(tensor))) if is_half(tensor.element_type()) => {
                    context.reserve(ElementType::Float, tensor.shape())?;
                    Some(Value::Tensor(widen(&tensor)?.into_owned()))
                }
                (_, other) => other,
            });
        }
        let outputs = self.inner.run(widened, context)?;
        outputs
            .into_iter()
            .enumerate()
            .map(|(index, output)| match (output, self.outputs.get(index)) {
                (Value::Tensor(tensor), Some(element_type)) => {
                    narrow(tensor, *element_type).map(Value::Tensor)
                }
                (output, _) => Ok(output),
            })
            .collect()
    }
}

/// Builds an operator whose 16-bit inputs are turned into floats. Outputs that are
/// floats then are rounded to the type of input 0, if that is a 16-bit type.
pub(crate) fn in_float(definition: &Definition<'_>, build: Builder) -> Result<Built, Refusal> {
    let first = definition.input_type(0).and_then(ValueType::tensor);
    in_float_with(definition, build, |_| first.unwrap_or(ElementType::Float))
}

/// Like [`in_float`], with the type of each output that is computed in floats.
pub(crate) fn in_float_with(
    definition: &Definition<'_>,
    build: impl Fn(&Definition<'_>) -> Result<Built, Refusal>,
    output_type: impl Fn(usize) -> ElementType,
) -> Result<Built, Refusal> {
    let half =
        |input: &Option<Input<'_>>| input.and_then(|input| input.value_type.tensor()).is_some_and(is_half);
    if !definition.inputs.iter().any(half) {
        return build(definition);
    }
    let mut constants = Vec::with_capacity(definition.inputs.len());
    for input in definition.inputs {
        constants.push(match input.and_then(|input| input.constant) {
            Some(constant) if is_half(constant.element_type()) => {
                Some(widen(constant).map_err(|error| Refusal::new(error.to_string()))?.into_owned())
            }
            _ => None,
        });
    }
    let inputs: Vec<Option<Input<'_>>> = definition
        .inputs
        .iter()
        .zip(&constants)
        .map(|(input, constant)| {
            input.map(|input| Input {
                value_type: if input.value_type.tensor().is_some_and(is_half) {
                    &FLOAT
                } else {
                    input.value_type
                },
                constant: constant.as_ref().or(input.constant),
            })
        })
        .collect();
    let widened = Definition {
        operator: definition.operator,
        opset: definition.opset,
        attributes: definition.attributes,
        inputs: &inputs,
        outputs: definition.outputs,
    };
    let built = build(&widened)?;
    let mut outputs = Vec::with_capacity(built.types.len());
    let mut types = Vec::with_capacity(built.types.len());
    for (index, value_type) in built.types.into_iter().enumerate() {
        let element_type = match value_type.tensor() {
            Some(ElementType::Float) => output_type(index),
            Some(other) => other,
            None => ElementType::Float,
        };
        outputs.push(element_type);
        types.push(if value_type.tensor().is_some() { ValueType::Tensor(element_type) } else { value_type });
    }
    Ok(Built { operator: Box::new(Widened { inner: built.operator, constants, outputs }), types })
}
