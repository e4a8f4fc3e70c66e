//! A graph under construction, and how it is streamed out as an ONNX file.
//!
//! Weights are made while they are written: memory stays at a few megabytes
//! however large the model is.

use std::io::{self, Write};

use prost::Message;

use super::{
    messages::{
        AttributeProto, AttributeType, Dimension, DimensionValue, FLOAT, GraphProto, ModelProto, NodeProto,
        OperatorSetIdProto, TensorProto, TensorShapeProto, TensorType, TypeProto, ValueInfoProto,
    },
    weights::Fill,
};

/// The operator set our models are written for.
pub(super) const OPERATOR_SET: i64 = 17;
/// The file format version that goes with it.
const IR_VERSION: i64 = 8;

// Field numbers of the fields that are written by hand around a stream.
const MODEL_GRAPH: u64 = 7;
const GRAPH_INITIALIZER: u64 = 5;
const TENSOR_RAW_DATA: u64 = 9;

/// An attribute of an operator.
pub(super) enum Attribute {
    Int(i64),
    Ints(Vec<i64>),
}

/// A float tensor of the model.
struct Weight {
    name: String,
    shape: Vec<usize>,
    fill: Fill,
}

impl Weight {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The message but for its data.
    fn header(&self) -> TensorProto {
        TensorProto {
            dims: self.shape.iter().map(|&size| size as i64).collect(),
            data_type: FLOAT,
            name: self.name.clone(),
            raw_data: Vec::new(),
        }
    }
}

/// A model with float weights, in evaluation order.
pub(super) struct Graph {
    name: String,
    nodes: Vec<NodeProto>,
    weights: Vec<Weight>,
    inputs: Vec<ValueInfoProto>,
    outputs: Vec<ValueInfoProto>,
}

impl Graph {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), nodes: vec![], weights: vec![], inputs: vec![], outputs: vec![] }
    }

    /// Declares a float input with a batch dimension of any size before `shape`.
    pub(super) fn input(&mut self, name: &str, shape: &[usize]) {
        self.inputs.push(batched_value(name, shape));
    }

    /// Declares the value `name` an output, likewise.
    pub(super) fn output(&mut self, name: &str, shape: &[usize]) {
        self.outputs.push(batched_value(name, shape));
    }

    /// Adds an operator whose one output is called `output`, and returns that name.
    pub(super) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: Vec<(&str, Attribute)>,
    ) -> String {
        self.nodes.push(NodeProto {
            input: inputs.iter().map(|&name| name.to_owned()).collect(),
            output: vec![output.to_owned()],
            name: output.to_owned(),
            op_type: operator.to_owned(),
            attribute: attributes.into_iter().map(|(name, value)| attribute(name, value)).collect(),
        });
        output.to_owned()
    }

    /// Adds a tensor, and returns its name.
    pub(super) fn weight(&mut self, name: String, shape: &[usize], fill: Fill) -> String {
        self.weights.push(Weight { name: name.clone(), shape: shape.to_owned(), fill });
        name
    }

    /// How many tensors there are so far.
    pub(super) fn weight_count(&self) -> usize {
        self.weights.len()
    }

    /// The graph without the data of its tensors.
    #[cfg(test)]
    pub(super) fn layout(&self) -> GraphProto {
        GraphProto {
            node: self.nodes.clone(),
            name: self.name.clone(),
            initializer: self.weights.iter().map(Weight::header).collect(),
            input: self.inputs.clone(),
            output: self.outputs.clone(),
        }
    }

    /// Writes the model.
    pub(super) fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        let head = ModelProto {
            ir_version: IR_VERSION,
            producer_name: "adytum xtask model".to_owned(),
            ..ModelProto::default()
        };
        let tail = ModelProto {
            opset_import: vec![OperatorSetIdProto { domain: String::new(), version: OPERATOR_SET }],
            ..ModelProto::default()
        };
        let graph_head =
            GraphProto { node: self.nodes.clone(), name: self.name.clone(), ..GraphProto::default() }
                .encode_to_vec();
        let graph_tail =
            GraphProto { input: self.inputs.clone(), output: self.outputs.clone(), ..GraphProto::default() }
                .encode_to_vec();

        let weights: Vec<EncodedWeight<'_>> = self.weights.iter().map(EncodedWeight::new).collect();
        let weights_length: u64 = weights.iter().map(|weight| weight.field_length).sum();
        let graph_length = graph_head.len() as u64 + weights_length + graph_tail.len() as u64;

        sink.write_all(&head.encode_to_vec())?;
        sink.write_all(&length_delimited(MODEL_GRAPH, graph_length))?;
        sink.write_all(&graph_head)?;
        for weight in &weights {
            weight.write(sink)?;
        }
        sink.write_all(&graph_tail)?;
        sink.write_all(&tail.encode_to_vec())?;
        sink.flush()
    }
}

/// A tensor as a field of the graph: everything encoded but its data.
struct EncodedWeight<'a> {
    weight: &'a Weight,
    before_data: Vec<u8>,
    /// Of the whole field, its key included.
    field_length: u64,
}

impl<'a> EncodedWeight<'a> {
    fn new(weight: &'a Weight) -> Self {
        let data_length = 4 * weight.elements() as u64;
        let mut message = weight.header().encode_to_vec();
        message.extend(length_delimited(TENSOR_RAW_DATA, data_length));
        let mut before_data = length_delimited(GRAPH_INITIALIZER, message.len() as u64 + data_length);
        before_data.append(&mut message);
        let field_length = before_data.len() as u64 + data_length;
        Self { weight, before_data, field_length }
    }

    fn write(&self, sink: &mut impl Write) -> io::Result<()> {
        sink.write_all(&self.before_data)?;
        let mut written = 0;
        for element in self.weight.fill.elements(self.weight.elements()) {
            sink.write_all(&element.to_le_bytes())?;
            written += 1;
        }
        if written == self.weight.elements() {
            Ok(())
        } else {
            // The lengths before it are already out.
            let message = format!("{} has {written} values for {:?}", self.weight.name, self.weight.shape);
            Err(io::Error::new(io::ErrorKind::InvalidData, message))
        }
    }
}

/// The key and length before a length-delimited field (protobuf wire type 2).
fn length_delimited(field: u64, length: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(12);
    prost::encoding::encode_varint(field << 3 | 2, &mut bytes);
    prost::encoding::encode_varint(length, &mut bytes);
    bytes
}

fn attribute(name: &str, value: Attribute) -> AttributeProto {
    let name = name.to_owned();
    match value {
        Attribute::Int(value) => {
            AttributeProto { name, i: Some(value), ints: vec![], r#type: AttributeType::Int.into() }
        }
        Attribute::Ints(values) => {
            AttributeProto { name, i: None, ints: values, r#type: AttributeType::Ints.into() }
        }
    }
}

fn batched_value(name: &str, shape: &[usize]) -> ValueInfoProto {
    let batch = DimensionValue::DimParam("batch".to_owned());
    let sizes = shape.iter().map(|&size| DimensionValue::DimValue(size as i64));
    let dim = std::iter::once(batch).chain(sizes).map(|value| Dimension { value: Some(value) }).collect();
    let tensor_type = TensorType { elem_type: FLOAT, shape: Some(TensorShapeProto { dim }) };
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type: Some(tensor_type) }) }
}
