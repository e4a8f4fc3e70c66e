//! Writes small ONNX models: only what the tests need of `onnx.proto`.

use adytum_wire::{put_bytes, put_number};

pub const FLOAT: u64 = 1;
pub const INT32: u64 = 6;
pub const INT64: u64 = 7;

/// An attribute of a node.
pub enum Attribute<'a> {
    Integers(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
    Integer(&'a str, i64),
}

/// A node.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Attribute<'_>]) -> Vec<u8> {
    let mut node = Vec::new();
    for input in inputs {
        put_bytes(&mut node, 1, input.as_bytes());
    }
    for output in outputs {
        put_bytes(&mut node, 2, output.as_bytes());
    }
    put_bytes(&mut node, 3, format!("{operator}_node").as_bytes());
    put_bytes(&mut node, 4, operator.as_bytes());
    for attribute in attributes {
        let mut message = Vec::new();
        match attribute {
            Attribute::Integers(name, values) => {
                put_bytes(&mut message, 1, name.as_bytes());
                for value in *values {
                    put_number(&mut message, 8, value.cast_unsigned());
                }
                put_number(&mut message, 20, 7);
            }
            Attribute::Text(name, value) => {
                put_bytes(&mut message, 1, name.as_bytes());
                put_bytes(&mut message, 4, value.as_bytes());
                put_number(&mut message, 20, 3);
            }
            Attribute::Integer(name, value) => {
                put_bytes(&mut message, 1, name.as_bytes());
                put_number(&mut message, 3, value.cast_unsigned());
                put_number(&mut message, 20, 2);
            }
        }
        put_bytes(&mut node, 5, &message);
    }
    node
}

/// An input or output: -1 is a dimension that may vary.
pub fn value(name: &str, element_type: u64, shape: &[i64]) -> Vec<u8> {
    let mut dimensions = Vec::new();
    for size in shape {
        let mut dimension = Vec::new();
        match u64::try_from(*size) {
            Ok(size) => put_number(&mut dimension, 1, size),
            Err(_) => put_bytes(&mut dimension, 2, b"N"),
        }
        put_bytes(&mut dimensions, 1, &dimension);
    }
    let mut tensor = Vec::new();
    put_number(&mut tensor, 1, element_type);
    put_bytes(&mut tensor, 2, &dimensions);
    let mut type_proto = Vec::new();
    put_bytes(&mut type_proto, 1, &tensor);
    let mut value = Vec::new();
    put_bytes(&mut value, 1, name.as_bytes());
    put_bytes(&mut value, 2, &type_proto);
    value
}

/// A constant of raw bytes.
pub fn initializer(name: &str, element_type: u64, shape: &[i64], bytes: &[u8]) -> Vec<u8> {
    let mut tensor = Vec::new();
    for size in shape {
        put_number(&mut tensor, 1, size.cast_unsigned());
    }
    put_number(&mut tensor, 2, element_type);
    put_bytes(&mut tensor, 8, name.as_bytes());
    put_bytes(&mut tensor, 9, bytes);
    tensor
}

/// A constant of floats.
pub fn floats(name: &str, shape: &[i64], values: &[f32]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    initializer(name, FLOAT, shape, &bytes)
}

/// A model.
pub fn model(
    nodes: &[Vec<u8>],
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
    initializers: &[Vec<u8>],
) -> Vec<u8> {
    let mut graph = Vec::new();
    for node in nodes {
        put_bytes(&mut graph, 1, node);
    }
    put_bytes(&mut graph, 2, b"test");
    for initializer in initializers {
        put_bytes(&mut graph, 5, initializer);
    }
    for input in inputs {
        put_bytes(&mut graph, 11, input);
    }
    for output in outputs {
        put_bytes(&mut graph, 12, output);
    }
    let mut operators = Vec::new();
    put_number(&mut operators, 2, 17);
    let mut model = Vec::new();
    put_number(&mut model, 1, 8);
    put_bytes(&mut model, 7, &graph);
    put_bytes(&mut model, 8, &operators);
    model
}

/// `double = x + x` and `square = x * x` for floats [N, 3].
pub fn arithmetic() -> Vec<u8> {
    model(
        &[node("Add", &["x", "x"], &["double"], &[]), node("Mul", &["x", "x"], &["square"], &[])],
        &[value("x", FLOAT, &[-1, 3])],
        &[value("double", FLOAT, &[-1, 3]), value("square", FLOAT, &[-1, 3])],
        &[],
    )
}

/// `y = x` of this ONNX type and any length.
pub fn identity(element_type: u64) -> Vec<u8> {
    model(
        &[node("Identity", &["x"], &["y"], &[])],
        &[value("x", element_type, &[-1])],
        &[value("y", element_type, &[-1])],
        &[],
    )
}

/// A model with an entry in its metadata.
pub fn with_metadata(mut model: Vec<u8>, key: &str, value: &str) -> Vec<u8> {
    let mut entry = Vec::new();
    put_bytes(&mut entry, 1, key.as_bytes());
    put_bytes(&mut entry, 2, value.as_bytes());
    put_bytes(&mut model, 14, &entry);
    model
}
