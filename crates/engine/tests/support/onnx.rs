//! Writes small ONNX models: only what the tests need of `onnx.proto`.

pub const FLOAT: u64 = 1;
pub const INT32: u64 = 6;
pub const INT64: u64 = 7;
pub const BOOL: u64 = 9;

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub fn put_number(out: &mut Vec<u8>, number: u64, value: u64) {
    put_varint(out, number << 3);
    put_varint(out, value);
}

pub fn put_bytes(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
    put_varint(out, number << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// An attribute of a node.
pub enum Attribute<'a> {
    Integers(&'a str, &'a [i64]),
    Text(&'a str, &'a str),
    Integer(&'a str, i64),
    Float(&'a str, f32),
    Graph(&'a str, Vec<u8>),
    Tensor(&'a str, Vec<u8>),
    /// The attribute of the function that the node is in.
    Reference(&'a str, &'a str),
}

fn attribute(attribute: &Attribute<'_>) -> Vec<u8> {
    let mut message = Vec::new();
    let (name, kind) = match attribute {
        Attribute::Integers(name, values) => {
            for value in *values {
                put_number(&mut message, 8, value.cast_unsigned());
            }
            (name, 7)
        }
        Attribute::Text(name, value) => {
            put_bytes(&mut message, 4, value.as_bytes());
            (name, 3)
        }
        Attribute::Integer(name, value) => {
            put_number(&mut message, 3, value.cast_unsigned());
            (name, 2)
        }
        Attribute::Float(name, value) => {
            message.push(2 << 3 | 5);
            message.extend_from_slice(&value.to_le_bytes());
            (name, 1)
        }
        Attribute::Graph(name, graph) => {
            put_bytes(&mut message, 6, graph);
            (name, 5)
        }
        Attribute::Tensor(name, tensor) => {
            put_bytes(&mut message, 5, tensor);
            (name, 4)
        }
        Attribute::Reference(name, of) => {
            put_bytes(&mut message, 21, of.as_bytes());
            (name, 2)
        }
    };
    put_bytes(&mut message, 1, name.as_bytes());
    put_number(&mut message, 20, kind);
    message
}

/// A node of a domain.
pub fn node_of(
    domain: &str,
    operator: &str,
    inputs: &[&str],
    outputs: &[&str],
    attributes: &[Attribute<'_>],
) -> Vec<u8> {
    let mut node = Vec::new();
    for input in inputs {
        put_bytes(&mut node, 1, input.as_bytes());
    }
    for output in outputs {
        put_bytes(&mut node, 2, output.as_bytes());
    }
    put_bytes(&mut node, 3, format!("{operator}_node").as_bytes());
    put_bytes(&mut node, 4, operator.as_bytes());
    for one in attributes {
        put_bytes(&mut node, 5, &attribute(one));
    }
    put_bytes(&mut node, 7, domain.as_bytes());
    node
}

/// A node of ONNX's own domain.
pub fn node(operator: &str, inputs: &[&str], outputs: &[&str], attributes: &[Attribute<'_>]) -> Vec<u8> {
    node_of("", operator, inputs, outputs, attributes)
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

/// A constant of 64-bit numbers.
pub fn longs(name: &str, shape: &[i64], values: &[i64]) -> Vec<u8> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    initializer(name, INT64, shape, &bytes)
}

/// A graph.
pub fn graph(
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
    graph
}

/// A model of a graph and of functions.
pub fn model_with(graph: &[u8], functions: &[Vec<u8>], opset: u64) -> Vec<u8> {
    let mut operators = Vec::new();
    put_number(&mut operators, 2, opset);
    let mut own = Vec::new();
    put_bytes(&mut own, 1, b"own");
    put_number(&mut own, 2, 1);
    let mut model = Vec::new();
    put_number(&mut model, 1, 8);
    put_bytes(&mut model, 7, graph);
    put_bytes(&mut model, 8, &operators);
    put_bytes(&mut model, 8, &own);
    for function in functions {
        put_bytes(&mut model, 25, function);
    }
    model
}

/// A model.
pub fn model(
    nodes: &[Vec<u8>],
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
    initializers: &[Vec<u8>],
) -> Vec<u8> {
    model_with(&graph(nodes, inputs, outputs, initializers), &[], 17)
}

/// A function of the domain `own`.
pub fn function(name: &str, inputs: &[&str], outputs: &[&str], nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut operators = Vec::new();
    put_number(&mut operators, 2, 17);
    let mut own = Vec::new();
    put_bytes(&mut own, 1, b"own");
    put_number(&mut own, 2, 1);
    let mut function = Vec::new();
    put_bytes(&mut function, 1, name.as_bytes());
    for input in inputs {
        put_bytes(&mut function, 4, input.as_bytes());
    }
    for output in outputs {
        put_bytes(&mut function, 5, output.as_bytes());
    }
    for node in nodes {
        put_bytes(&mut function, 7, node);
    }
    put_bytes(&mut function, 9, &operators);
    put_bytes(&mut function, 9, &own);
    put_bytes(&mut function, 10, b"own");
    function
}
