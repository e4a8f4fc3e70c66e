//! A model's inputs and outputs.

use std::{collections::BTreeSet, ops::Range};

use super::OnnxError;
use crate::{
    tensor::{ElementType, TensorSpecification},
    wire::{Fields, text},
};

/// All inputs and outputs, in the graph's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signature {
    /// Inputs that a request must give.
    pub inputs: Vec<TensorSpecification>,
    /// Outputs that it may ask for.
    pub outputs: Vec<TensorSpecification>,
}

/// Reads a `ValueInfoProto`.
fn specification(
    data: &[u8],
    range: Range<usize>,
    kind: &'static str,
) -> Result<TensorSpecification, OnnxError> {
    let mut name = String::new();
    let mut declared = None;
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => name = text(data, &field),
            2 => declared = field.bytes(),
            _ => {}
        }
    }
    let mut specification = TensorSpecification { name, element_type: None, shape: None };
    let Some(declared) = declared else {
        return if kind == "output" {
            Ok(specification)
        } else {
            Err(OnnxError::NotATensor { kind, name: specification.name })
        };
    };
    // TypeProto: the field tensor_type is 1; all others are not tensors.
    let mut tensor_type = None;
    for field in Fields::within(data, declared) {
        let field = field?;
        match field.number {
            1 => tensor_type = field.bytes(),
            4 | 5 | 8 | 9 => return Err(OnnxError::NotATensor { kind, name: specification.name }),
            _ => {}
        }
    }
    let Some(tensor_type) = tensor_type else {
        return Err(OnnxError::NotATensor { kind, name: specification.name });
    };
    for field in Fields::within(data, tensor_type) {
        let field = field?;
        match field.number {
            1 => {
                let element_type = field.varint().unwrap_or_default();
                let Some(known) = ElementType::from_onnx(element_type) else {
                    return Err(OnnxError::ElementType { kind, name: specification.name, element_type });
                };
                specification.element_type = Some(known);
            }
            2 => {
                let shape = field.bytes().unwrap_or_default();
                specification.shape = Some(dimensions(data, shape)?);
            }
            _ => {}
        }
    }
    if kind == "input" && specification.element_type.is_none() {
        return Err(OnnxError::ElementType { kind, name: specification.name, element_type: 0 });
    }
    Ok(specification)
}

/// Reads a `TensorShapeProto`.
fn dimensions(data: &[u8], range: Range<usize>) -> Result<Vec<Option<usize>>, OnnxError> {
    let mut shape = Vec::new();
    for field in Fields::within(data, range) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let mut size = None;
        for part in Fields::within(data, field.bytes().unwrap_or_default()) {
            let part = part?;
            if part.number == 1 {
                // A negative size means "unknown" in some exporters.
                size = part.varint().and_then(|value| usize::try_from(value.cast_signed()).ok());
            }
        }
        shape.push(size);
    }
    Ok(shape)
}

/// Reads the inputs and outputs of the `GraphProto` at `range`. Inputs that
/// have an initializer (IR versions below 4 list them all) are constants.
pub(super) fn read(
    data: &[u8],
    range: Range<usize>,
    initializers: &BTreeSet<String>,
) -> Result<Signature, OnnxError> {
    let mut signature = Signature::default();
    for field in Fields::within(data, range) {
        let field = field?;
        let Some(value) = field.bytes() else { continue };
        match field.number {
            11 => {
                let mut name = String::new();
                for part in Fields::within(data, value.clone()) {
                    let part = part?;
                    if part.number == 1 {
                        name = text(data, &part);
                    }
                }
                if !initializers.contains(&name) {
                    signature.inputs.push(specification(data, value, "input")?);
                }
            }
            12 => signature.outputs.push(specification(data, value, "output")?),
            _ => {}
        }
    }
    Ok(signature)
}
