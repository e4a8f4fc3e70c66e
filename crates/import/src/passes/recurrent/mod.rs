//! Loops that are recurrent layers become ONNX's own: engines compute those much
//! faster than a loop of small products. Only what is proved equal is replaced:
//! a loop over all steps of one sequence, whose turn is exactly the layer's cell.

mod body;
mod gru;
mod lstm;

use std::collections::HashSet;

use body::Body;

use crate::{
    graph::{Attribute, Attributes, Dimension, Graph, Node, Operator, Subgraph, ValueId},
    tensor::{ElementType, Numbers, Tensor},
};

/// Replaces loops of the graph by recurrent layers.
pub(crate) fn replace(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    let zeros = zeros(graph, &nodes);
    let mut result = Vec::with_capacity(nodes.len());
    for node in nodes {
        match layer(graph, &node, &zeros) {
            Some(layer) => result.extend(layer),
            None => result.push(node),
        }
    }
    graph.nodes = result;
}

/// The weights of a layer's gates in Keras' order, side by side.
pub(super) struct Weights {
    /// [inputs, gates * units].
    pub(super) input: ValueId,
    /// [units, gates * units].
    pub(super) recurrent: Vec<ValueId>,
    /// Biases that are added with the inputs' product.
    pub(super) biases: Vec<ValueId>,
    /// Biases that are added with the states' product.
    pub(super) recurrent_biases: Vec<ValueId>,
}

/// A recurrent layer found in a loop.
pub(super) struct Layer {
    pub(super) operator: Operator,
    pub(super) sequence: ValueId,
    pub(super) units: usize,
    pub(super) weights: Weights,
    /// ONNX's gates, as places in the loop's order.
    pub(super) gates: Vec<usize>,
    /// The states in the order of ONNX's: the place of each among the loop's.
    pub(super) states: Vec<usize>,
    /// The hidden state that a turn computes.
    pub(super) hidden: ValueId,
    pub(super) attributes: Attributes,
}

/// The values that are zeros of a shape: a layer's states begin as such without saying so.
fn zeros(graph: &Graph, nodes: &[Node]) -> HashSet<ValueId> {
    let filled = nodes.iter().filter(|node| {
        let scalar = node.input(0).and_then(|id| graph.constant(id));
        node.operator == Operator::Expand && scalar.and_then(Tensor::single) == Some(0.0)
    });
    filled.flat_map(|node| node.outputs.iter().copied()).collect()
}

fn layer(graph: &mut Graph, node: &Node, zeros: &HashSet<ValueId>) -> Option<Vec<Node>> {
    if node.operator != Operator::Loop || node.input(1).is_some() {
        return None;
    }
    let Some(Attribute::Graph(subgraph)) = node.attributes.get("body") else { return None };
    let turns = node.input(0)?;
    let body = Body::of(graph, subgraph)?;
    let found = lstm::find(&body).or_else(|| gru::find(&body))?;
    // All steps of the sequence, from the first to the last.
    let length = *graph.value(found.sequence)?.shape.as_ref()?.first()?;
    if !counts(graph, turns, length) {
        return None;
    }
    // What the turns append must be the hidden state.
    let states = subgraph.inputs.len().checked_sub(2)?;
    let appended = subgraph.outputs.get(states + 1..)?;
    if !appended.iter().all(|id| body.same(*id, found.hidden)) || found.states.len() != states {
        return None;
    }
    write(graph, node, &found, subgraph, zeros)
}

/// Whether a scalar is the size of a sequence.
fn counts(graph: &Graph, turns: ValueId, length: Dimension) -> bool {
    let Some(value) = graph.value(turns) else { return false };
    let elements = crate::graph::elements::elements(value);
    elements.as_deref() == Some(&[length])
}

fn write(
    graph: &mut Graph,
    node: &Node,
    layer: &Layer,
    subgraph: &Subgraph,
    zeros: &HashSet<ValueId>,
) -> Option<Vec<Node>> {
    let (units, gates) = (layer.units, &layer.gates);
    let input = matrix(graph, &[layer.weights.input], units, gates)?;
    let recurrent = matrix(graph, &layer.weights.recurrent, units, gates)?;
    let mut bias = vector(graph, &layer.weights.biases, units, gates)?;
    bias.extend(vector(graph, &layer.weights.recurrent_biases, units, gates)?);
    let bias = Tensor::from_numbers(ElementType::Float32, vec![1, bias.len()], Numbers::Singles(bias))?;
    let mut nodes = Vec::new();
    let axis = graph.add_constant(Tensor::vector(&[0]));
    let second = graph.add_constant(Tensor::vector(&[1]));
    let mut inputs = vec![Some(layer.sequence)];
    inputs.push(Some(graph.add_constant(input)));
    inputs.push(Some(graph.add_constant(recurrent)));
    inputs.push(Some(graph.add_constant(bias)));
    // No lengths of single sequences: all are whole.
    inputs.push(None);
    let initial: Option<Vec<ValueId>> = layer.states.iter().map(|state| node.input(state + 2)).collect();
    let initial = initial?;
    for initial in initial.iter().copied().filter(|_| !initial.iter().all(|id| zeros.contains(id))) {
        let shape = graph.value(initial)?.shape.clone();
        let shape = shape.map(|shape| [&[Dimension::Known(1)], shape.as_slice()].concat());
        let output = graph.add_value(ElementType::Float32, shape);
        nodes.push(plain(Operator::Unsqueeze, &[initial, axis], output));
        inputs.push(Some(output));
    }
    let all = graph.add_value(ElementType::Float32, None);
    let last: Vec<ValueId> =
        layer.states.iter().map(|_| graph.add_value(ElementType::Float32, None)).collect();
    let outputs = std::iter::once(all).chain(last.iter().copied()).collect();
    let attributes = layer.attributes.clone().with("hidden_size", i64::try_from(units).ok()?);
    nodes.push(Node { operator: layer.operator, inputs, outputs, attributes });
    for (place, state) in layer.states.iter().enumerate() {
        nodes.push(plain(Operator::Squeeze, &[*last.get(place)?, axis], *node.outputs.get(*state)?));
    }
    let states = subgraph.inputs.len().checked_sub(2)?;
    for output in node.outputs.get(states..)? {
        nodes.push(plain(Operator::Squeeze, &[all, second], *output));
    }
    Some(nodes)
}

fn plain(operator: Operator, inputs: &[ValueId], output: ValueId) -> Node {
    let inputs = inputs.iter().map(|input| Some(*input)).collect();
    Node { operator, inputs, outputs: vec![output], attributes: Attributes::none() }
}

fn singles(graph: &Graph, id: ValueId) -> Option<(Vec<usize>, Vec<f32>)> {
    let tensor = graph.constant(id)?;
    let Numbers::Singles(values) = tensor.numbers()? else { return None };
    Some((tensor.dimensions().to_vec(), values))
}

/// Matrices [rows, gates * units], side by side, as ONNX's [1, gates * units, rows].
fn matrix(graph: &Graph, parts: &[ValueId], units: usize, gates: &[usize]) -> Option<Tensor> {
    let mut columns: Vec<Vec<f32>> = Vec::new();
    let mut rows = None;
    for part in parts {
        let (dimensions, values) = singles(graph, *part)?;
        let &[height, width] = dimensions.as_slice() else { return None };
        if *rows.get_or_insert(height) != height {
            return None;
        }
        for column in 0..width {
            columns.push(values.iter().skip(column).step_by(width).copied().collect());
        }
    }
    if columns.len() != units.checked_mul(gates.len())? {
        return None;
    }
    let mut result = Vec::with_capacity(columns.len() * rows?);
    for gate in gates {
        for column in columns.get(gate * units..(gate + 1) * units)? {
            result.extend_from_slice(column);
        }
    }
    Tensor::from_numbers(ElementType::Float32, vec![1, columns.len(), rows?], Numbers::Singles(result))
}

/// The sum of biases, in ONNX's order.
fn vector(graph: &Graph, parts: &[ValueId], units: usize, gates: &[usize]) -> Option<Vec<f32>> {
    let length = units.checked_mul(gates.len())?;
    let mut sum = vec![0f32; length];
    for part in parts {
        let (dimensions, values) = singles(graph, *part)?;
        // A row may have leading axes of 1.
        if values.len() != length || dimensions.last() != Some(&length) {
            return None;
        }
        sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
    }
    let mut result = Vec::with_capacity(length);
    for gate in gates {
        result.extend_from_slice(sum.get(gate * units..(gate + 1) * units)?);
    }
    Some(result)
}
