//! Writes an island as an ONNX model for rten.

use std::collections::HashMap;

use super::{IslandNode, Kind, Operand, Target};
use crate::{
    facts::Fact,
    onnx::model::ValueId,
    operators::Attribute,
    tensor::{ElementType, Elements, Tensor},
};
use adytum_wire::{put_bytes, put_number};

/// Constants of at least this number of bytes are buffers of their own, which rten takes without a copy.
const SMALLEST_SEPARATE: usize = 1024;

/// The opset that islands are written in: the form in which rten has each operator.
const OPSET: u64 = 21;

/// An ONNX model that is being written.
#[derive(Default)]
pub(super) struct Writer {
    nodes: Vec<u8>,
    initializers: Vec<u8>,
    inputs: Vec<u8>,
    outputs: Vec<u8>,
    /// The constants that are buffers of their own: the name by which the model calls each.
    pub(super) separate: Vec<(String, Vec<u8>)>,
    inner: HashMap<u32, String>,
    names: usize,
    constants: usize,
}

/// The name of a value of the model in an island.
pub(super) fn name(value: ValueId) -> String {
    format!("v{}", value.0)
}

/// The data of a constant.
pub(super) enum Data {
    /// Little-endian bytes of a type that rten reads.
    Bytes(ElementType, Vec<u8>),
    /// A tensor.
    Tensor(Tensor),
}

impl Writer {
    /// Adds an input.
    pub(super) fn input(&mut self, value: ValueId, kind: Kind, fact: &Fact) {
        let mut dimensions = Vec::new();
        for (index, size) in fact.shape.iter().flatten().enumerate() {
            let mut dimension = Vec::new();
            match size.value().and_then(|size| u64::try_from(size).ok()) {
                Some(size) => put_number(&mut dimension, 1, size),
                None => put_bytes(&mut dimension, 2, format!("{}_{index}", name(value)).as_bytes()),
            }
            put_bytes(&mut dimensions, 1, &dimension);
        }
        let mut tensor_type = Vec::new();
        put_number(&mut tensor_type, 1, kind.to_onnx());
        if fact.shape.is_some() {
            put_bytes(&mut tensor_type, 2, &dimensions);
        }
        let mut type_message = Vec::new();
        put_bytes(&mut type_message, 1, &tensor_type);
        let mut message = Vec::new();
        put_bytes(&mut message, 1, name(value).as_bytes());
        put_bytes(&mut message, 2, &type_message);
        put_bytes(&mut self.inputs, 11, &message);
    }

    /// Adds an output. Nothing is said of it: rten believes what is said.
    pub(super) fn output(&mut self, value: ValueId) {
        let mut message = Vec::new();
        put_bytes(&mut message, 1, name(value).as_bytes());
        put_bytes(&mut self.outputs, 12, &message);
    }

    /// Adds a constant.
    pub(super) fn constant(&mut self, constant_name: &str, shape: &[usize], data: Data) -> Option<()> {
        let (data_type, bytes) = match data {
            Data::Bytes(element_type, bytes) => (u64::try_from(element_type.to_onnx()).ok()?, bytes),
            Data::Tensor(tensor) => encode(&tensor)?,
        };
        let mut message = Vec::new();
        for size in shape {
            put_number(&mut message, 1, u64::try_from(*size).ok()?);
        }
        put_number(&mut message, 2, data_type);
        put_bytes(&mut message, 8, constant_name.as_bytes());
        if bytes.len() >= SMALLEST_SEPARATE {
            let location = format!("tensor-{}.data", self.separate.len());
            let length = bytes.len().to_string();
            for (key, value) in [("location", location.as_str()), ("offset", "0"), ("length", &length)] {
                let mut entry = Vec::new();
                put_bytes(&mut entry, 1, key.as_bytes());
                put_bytes(&mut entry, 2, value.as_bytes());
                put_bytes(&mut message, 13, &entry);
            }
            put_number(&mut message, 14, 1);
            self.separate.push((location, bytes));
        } else {
            put_bytes(&mut message, 9, &bytes);
        }
        put_bytes(&mut self.initializers, 5, &message);
        Some(())
    }

    /// Adds the nodes of a translation; `outputs` are those of the model's node.
    pub(super) fn nodes(&mut self, nodes: &[IslandNode], outputs: &[Option<ValueId>]) -> Option<()> {
        self.inner.clear();
        for node in nodes {
            let mut message = Vec::new();
            for input in &node.inputs {
                let input = match input {
                    None => String::new(),
                    Some(Operand::Value(value)) => name(*value),
                    Some(Operand::Inner(index)) => self.inner.get(index)?.clone(),
                    Some(Operand::Constant(tensor)) => {
                        self.constants += 1;
                        let constant_name = format!("c{}", self.constants);
                        let shape = tensor.shape().to_vec();
                        self.constant(&constant_name, &shape, Data::Tensor(tensor.clone()))?;
                        constant_name
                    }
                };
                put_bytes(&mut message, 1, input.as_bytes());
            }
            for target in &node.outputs {
                let output = match target {
                    Target::Unused => String::new(),
                    Target::Output(index) => {
                        outputs.get(*index).copied().flatten().map(name).unwrap_or_default()
                    }
                    Target::Inner(index) => {
                        self.names += 1;
                        let inner = format!("i{}", self.names);
                        self.inner.insert(*index, inner.clone());
                        inner
                    }
                };
                put_bytes(&mut message, 2, output.as_bytes());
            }
            put_bytes(&mut message, 4, node.operator.as_bytes());
            for (attribute_name, value) in &node.attributes {
                put_bytes(&mut message, 5, &attribute(attribute_name, value)?);
            }
            if !node.domain.is_empty() {
                put_bytes(&mut message, 7, node.domain.as_bytes());
            }
            put_bytes(&mut self.nodes, 1, &message);
        }
        Some(())
    }

    /// The `ModelProto`, and the constants that are not in it.
    pub(super) fn finish(self) -> (Vec<u8>, Vec<(String, Vec<u8>)>) {
        let graph = [self.nodes, self.initializers, self.inputs, self.outputs].concat();
        let mut opset = Vec::new();
        put_number(&mut opset, 2, OPSET);
        let mut contributed = Vec::new();
        put_bytes(&mut contributed, 1, b"com.microsoft");
        put_number(&mut contributed, 2, 1);
        let mut model = Vec::with_capacity(graph.len() + 64);
        put_number(&mut model, 1, 10);
        put_bytes(&mut model, 8, &opset);
        put_bytes(&mut model, 8, &contributed);
        put_bytes(&mut model, 7, &graph);
        (model, self.separate)
    }
}

fn attribute(name: &str, value: &Attribute) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    put_bytes(&mut message, 1, name.as_bytes());
    let kind = match value {
        Attribute::Float(value) => {
            message.push(2 << 3 | 5);
            message.extend_from_slice(&value.to_le_bytes());
            1
        }
        Attribute::Integer(value) => {
            put_number(&mut message, 3, value.cast_unsigned());
            2
        }
        Attribute::Text(value) => {
            put_bytes(&mut message, 4, value);
            3
        }
        Attribute::Tensor(tensor) => {
            let (data_type, bytes) = encode(tensor)?;
            let mut inner = Vec::new();
            for size in tensor.shape() {
                put_number(&mut inner, 1, u64::try_from(*size).ok()?);
            }
            put_number(&mut inner, 2, data_type);
            put_bytes(&mut inner, 9, &bytes);
            put_bytes(&mut message, 5, &inner);
            4
        }
        Attribute::Floats(values) => {
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            put_bytes(&mut message, 7, &bytes);
            6
        }
        Attribute::Integers(values) => {
            for value in values {
                put_number(&mut message, 8, value.cast_unsigned());
            }
            7
        }
        Attribute::Texts(values) => {
            for value in values {
                put_bytes(&mut message, 9, value);
            }
            8
        }
        Attribute::Type(_) | Attribute::NestedType(_) => return None,
    };
    put_number(&mut message, 20, kind);
    Some(message)
}

/// A tensor in the kind in which it is in an island, as bytes; `None` if it can't be.
fn encode(tensor: &Tensor) -> Option<(u64, Vec<u8>)> {
    fn bytes<T: Copy, const N: usize>(values: &[T], convert: impl Fn(T) -> [u8; N]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(values.len() * N);
        for value in values {
            bytes.extend_from_slice(&convert(*value));
        }
        bytes
    }
    let kind = Kind::of(tensor.element_type())?;
    let bytes = match tensor.elements() {
        Elements::Float(values) => bytes(values, f32::to_le_bytes),
        Elements::Half(values) => bytes(values, |value| value.to_f32().to_le_bytes()),
        Elements::Bfloat16(values) => bytes(values, |value| value.to_f32().to_le_bytes()),
        Elements::Int32(values) => bytes(values, i32::to_le_bytes),
        Elements::Int64(values) => {
            let narrow: Option<Vec<i32>> = values.iter().map(|value| i32::try_from(*value).ok()).collect();
            bytes(&narrow?, i32::to_le_bytes)
        }
        Elements::Bool(values) => bytes(values, |value| i32::from(value).to_le_bytes()),
        Elements::Int8(values) => bytes(values, i8::to_le_bytes),
        Elements::Uint8(values) => values.as_ref().clone(),
        _ => return None,
    };
    Some((kind.to_onnx(), bytes))
}
