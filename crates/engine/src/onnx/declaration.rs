//! Reads what a file declares of values: `ValueInfoProto`, `TypeProto`.

use std::ops::Range;

use super::{
    OnnxError,
    model::{Declaration, Dimension},
};
use crate::tensor::{ElementType, ValueType};
use adytum_wire::{Fields, text};

/// How deep types may be nested: an optional of a sequence of tensors.
const TYPE_DEPTH: usize = 4;

/// Reads a `ValueInfoProto`.
pub fn declaration(data: &[u8], range: Range<usize>) -> Result<Declaration, OnnxError> {
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
    let mut declaration = Declaration { name, value_type: None, shape: None };
    if let Some(declared) = declared {
        let read = value_type(data, declared, 0)?;
        match read {
            Ok((value_type, shape)) => {
                declaration.value_type = value_type;
                declaration.shape = shape;
            }
            Err(reason) => return Err(OnnxError::Declaration { name: declaration.name, reason }),
        }
    }
    Ok(declaration)
}

type Declared = (Option<ValueType>, Option<Vec<Dimension>>);

/// Reads a `TypeProto`. The inner error says why the type can't be used.
pub(super) fn value_type(
    data: &[u8],
    range: Range<usize>,
    depth: usize,
) -> Result<Result<Declared, String>, OnnxError> {
    if depth > TYPE_DEPTH {
        return Ok(Err("it is nested too deep".to_owned()));
    }
    for field in Fields::within(data, range) {
        let field = field?;
        let Some(inner) = field.bytes() else { continue };
        match field.number {
            1 => return tensor_type(data, inner),
            4 | 9 => {
                let mut element = None;
                for part in Fields::within(data, inner) {
                    let part = part?;
                    if part.number == 1 {
                        element = part.bytes();
                    }
                }
                let Some(element) = element else { return Ok(Ok((None, None))) };
                if field.number == 4 && is_map(data, element.clone())? {
                    // `ZipMap` gives these; what we compute is a matrix (operators::find).
                    return Ok(Ok((None, None)));
                }
                let element = match value_type(data, element, depth + 1)? {
                    Ok((Some(element), _)) => element,
                    Ok((None, _)) => return Ok(Ok((None, None))),
                    Err(reason) => return Ok(Err(reason)),
                };
                if field.number == 9 {
                    return Ok(Ok((Some(ValueType::Optional(Box::new(element))), None)));
                }
                return Ok(match element {
                    ValueType::Tensor(element_type) => Ok((Some(ValueType::Sequence(element_type)), None)),
                    _ => Err("sequences of other things than tensors are not computed".to_owned()),
                });
            }
            5 => return Ok(Err("maps are not computed".to_owned())),
            7 | 8 => return Ok(Err("sparse and opaque values are not computed".to_owned())),
            _ => {}
        }
    }
    Ok(Ok((None, None)))
}

/// Whether a `TypeProto` is a map.
fn is_map(data: &[u8], range: Range<usize>) -> Result<bool, OnnxError> {
    for field in Fields::within(data, range) {
        if field?.number == 5 {
            return Ok(true);
        }
    }
    Ok(false)
}

fn tensor_type(data: &[u8], range: Range<usize>) -> Result<Result<Declared, String>, OnnxError> {
    let (mut element_type, mut shape) = (None, None);
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => {
                let number = field.varint().unwrap_or_default();
                let known = i32::try_from(number).ok().and_then(ElementType::from_onnx);
                if known.is_none() && number != 0 {
                    return Ok(Err(unknown_type(number)));
                }
                element_type = known;
            }
            2 => shape = Some(dimensions(data, field.bytes().unwrap_or_default())?),
            _ => {}
        }
    }
    Ok(Ok((element_type.map(ValueType::Tensor), shape)))
}

/// A message about an element type that we do not compute with.
pub(super) fn unknown_type(number: u64) -> String {
    let name = match number {
        14 => "complex64",
        15 => "complex128",
        17 => "float8e4m3fn",
        18 => "float8e4m3fnuz",
        19 => "float8e5m2",
        20 => "float8e5m2fnuz",
        21 => "uint4",
        22 => "int4",
        23 => "float4e2m1",
        24 => "float8e8m0",
        25 => "uint2",
        26 => "int2",
        _ => return format!("the element type {number} of TensorProto.DataType is not known"),
    };
    format!("the element type {name} is not computed; use a wider type")
}

/// Reads a `TensorShapeProto`.
fn dimensions(data: &[u8], range: Range<usize>) -> Result<Vec<Dimension>, OnnxError> {
    let mut shape = Vec::new();
    for field in Fields::within(data, range) {
        let field = field?;
        if field.number != 1 {
            continue;
        }
        let mut dimension = Dimension::Any;
        for part in Fields::within(data, field.bytes().unwrap_or_default()) {
            let part = part?;
            match part.number {
                // A negative size means "any" in some exporters.
                1 => {
                    let size = part.varint().and_then(|value| usize::try_from(value.cast_signed()).ok());
                    dimension = size.map_or(Dimension::Any, Dimension::Fixed);
                }
                2 => {
                    let name = text(data, &part);
                    if !name.is_empty() {
                        dimension = Dimension::Named(name);
                    }
                }
                _ => {}
            }
        }
        shape.push(dimension);
    }
    Ok(shape)
}
