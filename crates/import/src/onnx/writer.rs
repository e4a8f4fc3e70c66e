//! Writes a graph as an ONNX file.

use std::collections::{HashMap, HashSet};

use prost::{
    Message,
    encoding::{WireType, encode_key, encode_varint, encoded_len_varint},
};

use super::messages;
use crate::{
    graph::{
        Attribute, Dimension, Graph, Node, Operator, Shape, Subgraph, ValueId, type_codes::code_of_type,
    },
    tensor::{Elements, Tensor},
};

/// The operator set that is written, and the format's version that has it.
const OPERATOR_SET: i64 = 17;
const LABELS_OPERATOR_SET: i64 = 2;
const IR_VERSION: i64 = 8;

/// The fields of `ModelProto` and `GraphProto` that are written piece by piece.
const MODEL_GRAPH: u32 = 7;
const GRAPH_INITIALIZER: u32 = 5;

/// Writes the file. Constants are encoded and freed one after the other, so that
/// they are not in memory twice.
pub(crate) fn write(
    mut graph: Graph,
    symbols: &HashMap<Dimension, String>,
    metadata: Vec<(String, String)>,
) -> Vec<u8> {
    let mut names = Names::new(&graph);
    let mut constants = Vec::new();
    let nodes = names.nodes(&graph, &graph.nodes, &mut constants);
    let describe = |(name, id): &(String, ValueId), graph: &Graph| {
        let value = graph.value(*id);
        let kind = value.map_or(0, |value| code_of_type(value.kind)) as i32;
        let shape = value.and_then(|value| shape(&value.shape, symbols));
        let tensor = Some(messages::TensorType { kind, shape });
        messages::ValueInfo { name: name.clone(), kind: Some(messages::Type { tensor }) }
    };
    let rest = messages::Graph {
        nodes,
        name: "saved_model".to_owned(),
        initializers: Vec::new(),
        inputs: graph.inputs.iter().map(|input| describe(input, &graph)).collect(),
        outputs: graph.outputs.iter().map(|output| describe(output, &graph)).collect(),
    };
    let labels = any_node(&graph.nodes, &|node| node.operator == Operator::LabelEncoder);
    let set = |domain: &str, version| messages::OperatorSet { domain: domain.to_owned(), version };
    let mut opset_imports = vec![set("", OPERATOR_SET)];
    if labels {
        opset_imports.push(set(Operator::LabelEncoder.domain(), LABELS_OPERATOR_SET));
    }
    let metadata = metadata.into_iter().map(|(key, value)| messages::Entry { key, value }).collect();
    let model = messages::Model {
        ir_version: IR_VERSION,
        producer_name: "adytum-import".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: None,
        opset_imports,
        metadata,
    };
    let encoded: Vec<(String, ValueId, usize)> = constants
        .into_iter()
        .filter_map(|(name, id)| {
            let length = initializer(&name, graph.constant(id)?).encoded_len();
            Some((name, id, length))
        })
        .collect();
    let field = |length: usize| 1 + encoded_len_varint(length as u64) + length;
    let graph_length =
        rest.encoded_len() + encoded.iter().map(|(_, _, length)| field(*length)).sum::<usize>();
    let mut file = Vec::with_capacity(model.encoded_len() + field(graph_length));
    // Encoding into a vector can't fail: it grows.
    let _ = model.encode(&mut file);
    encode_key(MODEL_GRAPH, WireType::LengthDelimited, &mut file);
    encode_varint(graph_length as u64, &mut file);
    let _ = rest.encode(&mut file);
    for (name, id, length) in encoded {
        let constant = graph.values.get_mut(id.index()).and_then(|value| value.constant.take());
        if let Some(constant) = constant {
            encode_key(GRAPH_INITIALIZER, WireType::LengthDelimited, &mut file);
            encode_varint(length as u64, &mut file);
            let _ = initializer(&name, &constant).encode(&mut file);
        }
    }
    file
}

fn any_node(nodes: &[Node], test: &dyn Fn(&Node) -> bool) -> bool {
    nodes.iter().any(|node| test(node) || node.subgraphs().any(|graph| any_node(&graph.nodes, test)))
}

fn shape(shape: &Shape, symbols: &HashMap<Dimension, String>) -> Option<messages::Shape> {
    let dimension = |dimension: &Dimension| {
        let value = match dimension {
            Dimension::Known(size) => Some(messages::DimensionValue::Size(*size)),
            symbol => symbols.get(symbol).cloned().map(messages::DimensionValue::Symbol),
        };
        messages::Dimension { value }
    };
    Some(messages::Shape { dimensions: shape.as_ref()?.iter().map(dimension).collect() })
}

fn initializer(name: &str, tensor: &Tensor) -> messages::Tensor {
    let mut message = messages::Tensor {
        dimensions: tensor.dimensions().iter().map(|size| *size as i64).collect(),
        kind: code_of_type(tensor.kind()) as i32,
        strings: Vec::new(),
        name: name.to_owned(),
        raw: None,
    };
    match tensor.elements() {
        Elements::Fixed(bytes) => message.raw = Some(bytes.clone()),
        Elements::Strings(strings) => message.strings = strings.to_vec(),
    }
    message
}

/// The names of values in the file.
struct Names {
    names: HashMap<ValueId, String>,
    written: HashSet<ValueId>,
    /// Names that are inputs or outputs of the graph.
    taken: HashSet<String>,
}

impl Names {
    fn new(graph: &Graph) -> Self {
        let all = graph.inputs.iter().chain(&graph.outputs);
        let names: HashMap<ValueId, String> = all.map(|(name, id)| (*id, name.clone())).collect();
        let taken = names.values().cloned().collect();
        Self { names, written: HashSet::new(), taken }
    }

    fn name(&mut self, id: ValueId) -> String {
        if let Some(name) = self.names.get(&id) {
            return name.clone();
        }
        let mut name = format!("v{}", id.0);
        while self.taken.contains(&name) {
            name.push('_');
        }
        self.names.insert(id, name.clone());
        name
    }

    fn nodes(
        &mut self,
        graph: &Graph,
        nodes: &[Node],
        constants: &mut Vec<(String, ValueId)>,
    ) -> Vec<messages::Node> {
        let mut written = Vec::with_capacity(nodes.len());
        for node in nodes {
            let inputs = node.inputs.iter().map(|input| self.input(graph, *input, constants)).collect();
            let outputs: Vec<String> = node.outputs.iter().map(|output| self.name(*output)).collect();
            let name = outputs.first().cloned().unwrap_or_default();
            let mut attributes = Vec::with_capacity(node.attributes.0.len());
            for (name, value) in &node.attributes.0 {
                attributes.push(self.attribute(graph, name, value, constants));
            }
            let operator = node.operator.name().to_owned();
            let domain = node.operator.domain().to_owned();
            written.push(messages::Node { inputs, outputs, name, operator, attributes, domain });
        }
        written
    }

    /// The name of an input, of which a constant is written with the file's other constants.
    fn input(
        &mut self,
        graph: &Graph,
        id: Option<ValueId>,
        constants: &mut Vec<(String, ValueId)>,
    ) -> String {
        let Some(id) = id else { return String::new() };
        let name = self.name(id);
        if graph.constant(id).is_some() && self.written.insert(id) {
            constants.push((name.clone(), id));
        }
        name
    }

    fn attribute(
        &mut self,
        graph: &Graph,
        name: &str,
        value: &Attribute,
        constants: &mut Vec<(String, ValueId)>,
    ) -> messages::Attribute {
        let mut message = messages::Attribute { name: name.to_owned(), ..Default::default() };
        message.kind = match value {
            Attribute::Float(value) => {
                message.float = Some(*value);
                1
            }
            Attribute::Integer(value) => {
                message.integer = Some(*value);
                2
            }
            Attribute::Text(text) => {
                message.text = Some(text.clone());
                3
            }
            Attribute::Graph(subgraph) => {
                message.graph = Some(self.subgraph(graph, subgraph, constants));
                5
            }
            Attribute::Floats(values) => {
                message.floats = values.clone();
                6
            }
            Attribute::Integers(values) => {
                message.integers = values.clone();
                7
            }
            Attribute::Texts(texts) => {
                message.texts = texts.clone();
                8
            }
        };
        message
    }

    fn subgraph(
        &mut self,
        graph: &Graph,
        subgraph: &Subgraph,
        constants: &mut Vec<(String, ValueId)>,
    ) -> messages::Graph {
        let inputs = self.values(graph, &subgraph.inputs);
        let nodes = self.nodes(graph, &subgraph.nodes, constants);
        let outputs = self.values(graph, &subgraph.outputs);
        let name = "body".to_owned();
        messages::Graph { nodes, name, initializers: Vec::new(), inputs, outputs }
    }

    fn values(&mut self, graph: &Graph, ids: &[ValueId]) -> Vec<messages::ValueInfo> {
        let none = HashMap::new();
        ids.iter()
            .map(|id| {
                let value = graph.value(*id);
                let kind = value.map_or(0, |value| code_of_type(value.kind)) as i32;
                let shape = value.and_then(|value| shape(&value.shape, &none));
                let tensor = Some(messages::TensorType { kind, shape });
                messages::ValueInfo { name: self.name(*id), kind: Some(messages::Type { tensor }) }
            })
            .collect()
    }
}
