//! Recorded values: `TensorProto`, `SequenceProto` and `OptionalProto` that stand alone, as
//! ONNX's tests have them in files.

use super::{OnnxError, tensor};
use crate::tensor::{ElementType, Tensor, Value, ValueType};
use adytum_wire::Fields;

/// How deep values may be nested.
const DEPTH: usize = 4;

/// Reads a value that is of this type.
pub fn read(message: &[u8], value_type: &ValueType) -> Result<Value, OnnxError> {
    read_at(message, value_type, 0)
}

fn read_at(message: &[u8], value_type: &ValueType, depth: usize) -> Result<Value, OnnxError> {
    if depth > DEPTH {
        return Err(OnnxError::TooMany { what: "levels of nesting", found: depth, limit: DEPTH });
    }
    match value_type {
        ValueType::Tensor(_) => Ok(Value::Tensor(tensor::read(message)?.1)),
        ValueType::Sequence(element_type) => sequence(message, *element_type),
        ValueType::Optional(inner) => {
            // OptionalProto: name 1, elem_type 2, tensor_value 3, sequence_value 5, optional_value 7.
            for field in Fields::of(message) {
                let field = field?;
                if let (3 | 5 | 7, Some(range)) = (field.number, field.bytes()) {
                    let part = message.get(range).unwrap_or_default();
                    return Ok(Value::Optional(Some(Box::new(read_at(part, inner, depth + 1)?))));
                }
            }
            Ok(Value::Optional(None))
        }
    }
}

/// SequenceProto: name 1, elem_type 2, tensor_values 3.
fn sequence(message: &[u8], element_type: ElementType) -> Result<Value, OnnxError> {
    let mut tensors: Vec<Tensor> = Vec::new();
    for field in Fields::of(message) {
        let field = field?;
        if let (3, Some(range)) = (field.number, field.bytes()) {
            tensors.push(tensor::read(message.get(range).unwrap_or_default())?.1);
        }
    }
    Ok(Value::Sequence(element_type, tensors))
}
