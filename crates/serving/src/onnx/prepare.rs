//! Makes an ONNX file ready for an engine without holding its weights twice.
//!
//! Weights are most of a model, and an engine that is given the whole file
//! copies them out of it: twice the model's size at the peak. Here the file is
//! split instead: the graph becomes a small message whose large tensors name
//! buffers ("external data", in ONNX's terms), and the tensors are moved out of
//! the file from its end, giving the file's memory back as they go. A buffer
//! for each tensor also means that the engine can drop the ones that its
//! optimizer replaces.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
};

use super::{
    OnnxError,
    convolutions::{self, NodeSummary},
    signature::{self, Signature},
};
use crate::wire::{Fields, Value, push_integers, put_bytes, put_number, text};

/// How deep graphs may be nested in the bodies of `If` and `Loop`.
pub const MAXIMUM_DEPTH: usize = 16;

/// Tensors below this many bytes stay in the graph.
const SMALLEST_SEPARATE: usize = 1024;

const MODEL_GRAPH: u64 = 7;
const GRAPH_NODE: u64 = 1;
const GRAPH_INITIALIZER: u64 = 5;
const NODE_ATTRIBUTE: u64 = 5;
const ATTRIBUTE_TENSOR: u64 = 5;
const ATTRIBUTE_GRAPH: u64 = 6;
const TENSOR_RAW_DATA: u64 = 9;
const TENSOR_EXTERNAL_DATA: u64 = 13;
const TENSOR_DATA_LOCATION: u64 = 14;

/// A model, split.
#[derive(Debug)]
pub struct PreparedModel {
    /// The `ModelProto` without the large tensors.
    pub graph: Vec<u8>,
    /// The large tensors: the name by which the graph calls each, and its
    /// little-endian bytes.
    pub tensors: Vec<(String, Vec<u8>)>,
    /// The inputs and outputs that the graph declares.
    pub signature: Signature,
}

/// Splits an ONNX file. The memory of `file` is given back on the way.
pub fn prepare(mut file: Vec<u8>) -> Result<PreparedModel, OnnxError> {
    let mut splitter = Splitter { data: &file, separate: Vec::new() };
    let mut graph = Vec::new();
    let mut signature = None;
    for field in Fields::of(&file) {
        let field = field?;
        match (field.number, &field.value) {
            (MODEL_GRAPH, Value::Bytes(range)) => {
                let (rewritten, initializers) = splitter.graph(range.clone(), 0)?;
                signature = Some(signature::read(&file, range.clone(), &initializers)?);
                put_bytes(&mut graph, MODEL_GRAPH, &rewritten);
            }
            _ => splitter.copy(&mut graph, field.whole),
        }
    }
    let separate = splitter.separate;
    let signature = signature.ok_or(OnnxError::NoGraph)?;

    let mut tensors = Vec::with_capacity(separate.len());
    for (index, range) in separate.into_iter().enumerate().rev() {
        tensors.push((tensor_name(index), file.get(range.clone()).unwrap_or_default().to_vec()));
        file.truncate(range.start);
        file.shrink_to_fit();
    }
    Ok(PreparedModel { graph, tensors, signature })
}

fn tensor_name(index: usize) -> String {
    format!("tensor-{index}.data")
}

struct Splitter<'a> {
    data: &'a [u8],
    /// Where the tensors are that leave the file, in its order.
    separate: Vec<Range<usize>>,
}

impl Splitter<'_> {
    fn copy(&self, out: &mut Vec<u8>, range: Range<usize>) {
        out.extend_from_slice(self.data.get(range).unwrap_or_default());
    }

    /// The rewritten graph, and the names of its initializers.
    fn graph(&mut self, range: Range<usize>, depth: usize) -> Result<(Vec<u8>, BTreeSet<String>), OnnxError> {
        if depth > MAXIMUM_DEPTH {
            return Err(OnnxError::TooDeep { limit: MAXIMUM_DEPTH });
        }
        let shapes = self.initializer_shapes(range.clone())?;
        let mut out = Vec::new();
        for field in Fields::within(self.data, range) {
            let field = field?;
            match (field.number, &field.value) {
                (GRAPH_NODE, Value::Bytes(node)) => {
                    let node = self.node(node.clone(), &shapes, depth)?;
                    put_bytes(&mut out, GRAPH_NODE, &node);
                }
                (GRAPH_INITIALIZER, Value::Bytes(tensor)) => {
                    let tensor = self.tensor(tensor.clone())?;
                    put_bytes(&mut out, GRAPH_INITIALIZER, &tensor);
                }
                _ => self.copy(&mut out, field.whole),
            }
        }
        Ok((out, shapes.into_keys().collect()))
    }

    fn initializer_shapes(&self, range: Range<usize>) -> Result<BTreeMap<String, Vec<i64>>, OnnxError> {
        let mut shapes = BTreeMap::new();
        for field in Fields::within(self.data, range) {
            let field = field?;
            let (GRAPH_INITIALIZER, Some(tensor)) = (field.number, field.bytes()) else { continue };
            let (mut name, mut shape) = (String::new(), Vec::new());
            for part in Fields::within(self.data, tensor) {
                let part = part?;
                match part.number {
                    1 => push_integers(self.data, &part, &mut shape)?,
                    8 => name = text(self.data, &part),
                    _ => {}
                }
            }
            shapes.insert(name, shape);
        }
        Ok(shapes)
    }

    fn node(
        &mut self,
        range: Range<usize>,
        shapes: &BTreeMap<String, Vec<i64>>,
        depth: usize,
    ) -> Result<Vec<u8>, OnnxError> {
        let mut out = Vec::new();
        let mut summary = NodeSummary::default();
        for field in Fields::within(self.data, range) {
            let field = field?;
            match (field.number, &field.value) {
                (NODE_ATTRIBUTE, Value::Bytes(attribute)) => {
                    let attribute = self.attribute(attribute.clone(), &mut summary, depth)?;
                    put_bytes(&mut out, NODE_ATTRIBUTE, &attribute);
                    continue;
                }
                (1, _) => summary.inputs.push(text(self.data, &field)),
                (3, _) => summary.name = text(self.data, &field),
                (4, _) => summary.operator = text(self.data, &field),
                _ => {}
            }
            self.copy(&mut out, field.whole);
        }
        convolutions::complete(&summary, shapes, &mut out)?;
        Ok(out)
    }

    fn attribute(
        &mut self,
        range: Range<usize>,
        summary: &mut NodeSummary,
        depth: usize,
    ) -> Result<Vec<u8>, OnnxError> {
        let mut out = Vec::new();
        let (mut name, mut integers, mut string) = (String::new(), Vec::new(), None);
        for field in Fields::within(self.data, range) {
            let field = field?;
            match (field.number, &field.value) {
                (ATTRIBUTE_TENSOR, Value::Bytes(tensor)) => {
                    let tensor = self.tensor(tensor.clone())?;
                    put_bytes(&mut out, ATTRIBUTE_TENSOR, &tensor);
                    continue;
                }
                (ATTRIBUTE_GRAPH, Value::Bytes(graph)) => {
                    let (graph, _) = self.graph(graph.clone(), depth + 1)?;
                    put_bytes(&mut out, ATTRIBUTE_GRAPH, &graph);
                    continue;
                }
                (1, _) => name = text(self.data, &field),
                (4, _) => string = Some(text(self.data, &field)),
                (8, _) => push_integers(self.data, &field, &mut integers)?,
                _ => {}
            }
            self.copy(&mut out, field.whole);
        }
        if !integers.is_empty() {
            summary.integers.insert(name, integers);
        } else if let Some(string) = string {
            summary.texts.insert(name, string);
        }
        Ok(out)
    }

    fn tensor(&mut self, range: Range<usize>) -> Result<Vec<u8>, OnnxError> {
        let mut out = Vec::new();
        let (mut name, mut raw, mut external) = (String::new(), None, false);
        for field in Fields::within(self.data, range) {
            let field = field?;
            match (field.number, &field.value) {
                (TENSOR_RAW_DATA, Value::Bytes(bytes)) => {
                    raw = Some(bytes.clone());
                    continue;
                }
                (8, _) => name = text(self.data, &field),
                (TENSOR_EXTERNAL_DATA, _) => external = true,
                (TENSOR_DATA_LOCATION, Value::Varint(location)) => external |= *location != 0,
                _ => {}
            }
            self.copy(&mut out, field.whole);
        }
        if external {
            return Err(OnnxError::ExternalData { name });
        }
        match raw {
            Some(raw) if raw.len() >= SMALLEST_SEPARATE => {
                let length = raw.len().to_string();
                let location = tensor_name(self.separate.len());
                for (key, value) in [("location", location.as_str()), ("offset", "0"), ("length", &length)] {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    put_bytes(&mut entry, 2, value.as_bytes());
                    put_bytes(&mut out, TENSOR_EXTERNAL_DATA, &entry);
                }
                put_number(&mut out, TENSOR_DATA_LOCATION, 1);
                self.separate.push(raw);
            }
            Some(raw) => put_bytes(&mut out, TENSOR_RAW_DATA, self.data.get(raw).unwrap_or_default()),
            None => {}
        }
        Ok(out)
    }
}
