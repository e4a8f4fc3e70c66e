//! Reads attributes: `AttributeProto`, those that are graphs excepted.

use std::ops::Range;

use bytes::Bytes;

use super::{Limits, OnnxError, declaration::value_type, model::Constant, tensor::constant};
use crate::{operators::Attribute, tensor::ValueType};
use adytum_wire::{Field, Fields, Value, push_floats, push_integers, text};

/// What an attribute is.
pub(super) enum Read {
    /// A value.
    Value(Attribute),
    /// A tensor.
    Constant(Constant),
    /// A graph, by its place.
    Graph(Range<usize>),
    /// The value of the function's own attribute of this name.
    Reference(String),
    /// Something that we do not compute with; what it is.
    Unusable(&'static str),
}

#[derive(Default)]
struct Parts {
    name: String,
    kind: u64,
    float: Option<f32>,
    integer: Option<i64>,
    text: Option<Bytes>,
    tensor: Option<Range<usize>>,
    graph: Option<Range<usize>>,
    floats: Vec<f32>,
    integers: Vec<i64>,
    texts: Vec<Bytes>,
    declared: Option<Range<usize>>,
    reference: String,
    other: Option<u64>,
}

fn bytes(data: &[u8], field: &Field) -> Bytes {
    Bytes::copy_from_slice(field.bytes().and_then(|range| data.get(range)).unwrap_or_default())
}

fn parts(data: &[u8], range: Range<usize>) -> Result<Parts, OnnxError> {
    let mut parts = Parts::default();
    for field in Fields::within(data, range) {
        let field = field?;
        match field.number {
            1 => parts.name = text(data, &field),
            2 => {
                if let Value::Fixed(range) = &field.value {
                    let number = data.get(range.clone()).and_then(|bytes| <[u8; 4]>::try_from(bytes).ok());
                    parts.float = number.map(f32::from_le_bytes);
                }
            }
            3 => parts.integer = field.varint().map(u64::cast_signed),
            4 => parts.text = Some(bytes(data, &field)),
            5 => parts.tensor = field.bytes(),
            6 => parts.graph = field.bytes(),
            7 => push_floats(data, &field, &mut parts.floats)?,
            8 => push_integers(data, &field, &mut parts.integers)?,
            9 => parts.texts.push(bytes(data, &field)),
            10 | 11 | 15 | 22 | 23 => parts.other = Some(field.number),
            14 => parts.declared = field.bytes(),
            20 => parts.kind = field.varint().unwrap_or_default(),
            21 => parts.reference = text(data, &field),
            _ => {}
        }
    }
    Ok(parts)
}

/// The kind of an attribute that does not say it (the first version of the format).
fn guess(parts: &Parts) -> u64 {
    if parts.float.is_some() {
        1
    } else if parts.integer.is_some() {
        2
    } else if parts.text.is_some() {
        3
    } else if parts.tensor.is_some() {
        4
    } else if parts.graph.is_some() {
        5
    } else if !parts.floats.is_empty() {
        6
    } else if !parts.integers.is_empty() {
        7
    } else if !parts.texts.is_empty() {
        8
    } else {
        0
    }
}

/// Reads an `AttributeProto`: its name and what it is. The inner error is a reason.
pub(super) fn attribute(
    data: &[u8],
    range: Range<usize>,
    limits: &Limits,
) -> Result<(String, Result<Read, String>), OnnxError> {
    let parts = parts(data, range)?;
    if parts.name.len() > limits.name {
        return Err(OnnxError::TooMany {
            what: "bytes in the name of an attribute",
            found: parts.name.len(),
            limit: limits.name,
        });
    }
    if !parts.reference.is_empty() {
        return Ok((parts.name, Ok(Read::Reference(parts.reference))));
    }
    let kind = if parts.kind == 0 { guess(&parts) } else { parts.kind };
    let read = match kind {
        1 => Ok(Read::Value(Attribute::Float(parts.float.unwrap_or_default()))),
        2 => Ok(Read::Value(Attribute::Integer(parts.integer.unwrap_or_default()))),
        3 => Ok(Read::Value(Attribute::Text(parts.text.unwrap_or_default()))),
        4 => Ok(Read::Constant(constant(data, parts.tensor.unwrap_or_default(), limits)?.1)),
        5 => Ok(Read::Graph(parts.graph.unwrap_or_default())),
        6 => Ok(Read::Value(Attribute::Floats(parts.floats))),
        7 => Ok(Read::Value(Attribute::Integers(parts.integers))),
        8 => Ok(Read::Value(Attribute::Texts(parts.texts))),
        13 => match value_type(data, parts.declared.unwrap_or_default(), 0)? {
            Ok((Some(ValueType::Tensor(element_type)), _)) => Ok(Read::Value(Attribute::Type(element_type))),
            Ok((Some(other), _)) => Ok(Read::Value(Attribute::NestedType(other))),
            Ok((None, _)) => Err("it names no type".to_owned()),
            Err(reason) => Err(reason),
        },
        9 => Ok(Read::Unusable("a list of tensors")),
        10 => Ok(Read::Unusable("a list of graphs")),
        11 | 12 => Ok(Read::Unusable("a sparse tensor")),
        14 => Ok(Read::Unusable("a list of types")),
        _ if parts.other.is_some() => Ok(Read::Unusable("a list of tensors, graphs or types")),
        // A list without members, of a file that does not say of what.
        0 => Ok(Read::Value(Attribute::Integers(Vec::new()))),
        other => Err(format!("its kind {other} is not known")),
    };
    Ok((parts.name, read))
}
