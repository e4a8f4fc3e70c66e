//! Cancels transpositions. TensorFlow's channels are last, ONNX's first, so each
//! convolution comes between two transpositions. Here a transposition is not
//! done where it stands: it is put off, past the operators that can do their
//! work in the other order, until it meets its inverse or is needed after all.

use std::collections::HashMap;

use super::rearranged;
use crate::{
    graph::{
        Attribute, Attributes, Family, Graph, Node, Operator, Subgraph, ValueId,
        fold::{self, axis_of},
    },
    tensor::Tensor,
};

/// A value that is another one transposed: its axis `i` is axis `permutation[i]` of `source`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PutOff {
    pub(crate) source: ValueId,
    pub(crate) permutation: Vec<i64>,
}

/// Cancels transpositions in a graph and in its loops and branches.
pub(crate) fn cancel(graph: &mut Graph) {
    let nodes = std::mem::take(&mut graph.nodes);
    let outputs: Vec<ValueId> = graph.outputs.iter().map(|(_, id)| *id).collect();
    let mut renamed = HashMap::new();
    graph.nodes = block(graph, &mut renamed, nodes, &outputs);
}

fn block(
    graph: &mut Graph,
    renamed: &mut HashMap<ValueId, ValueId>,
    nodes: Vec<Node>,
    outputs: &[ValueId],
) -> Vec<Node> {
    let capacity = nodes.len();
    let mut pass = Pass {
        graph,
        renamed,
        put_off: HashMap::new(),
        done: HashMap::new(),
        nodes: Vec::with_capacity(capacity),
    };
    for node in nodes {
        pass.node(node);
    }
    for output in outputs {
        pass.need(*output);
        if let Some(source) = pass.renamed.get(output).copied() {
            pass.nodes.push(Node {
                operator: Operator::Identity,
                inputs: vec![Some(source)],
                outputs: vec![*output],
                attributes: Attributes::none(),
            });
        }
    }
    pass.nodes
}

/// One pass over a graph or a body.
pub(crate) struct Pass<'g> {
    pub(crate) graph: &'g mut Graph,
    /// Values that are others: two transpositions cancelled out.
    renamed: &'g mut HashMap<ValueId, ValueId>,
    put_off: HashMap<ValueId, PutOff>,
    /// Transpositions that were needed.
    done: HashMap<PutOff, ValueId>,
    nodes: Vec<Node>,
}

/// The permutation that undoes another.
pub(crate) fn inverse(permutation: &[i64]) -> Option<Vec<i64>> {
    let mut inverse = vec![-1i64; permutation.len()];
    for (index, axis) in permutation.iter().enumerate() {
        *inverse.get_mut(usize::try_from(*axis).ok()?)? = index as i64;
    }
    (!inverse.contains(&-1)).then_some(inverse)
}

fn is_identity(permutation: &[i64]) -> bool {
    permutation.iter().enumerate().all(|(index, axis)| *axis == index as i64)
}

/// `second` after `first`.
fn composed(first: &[i64], second: &[i64]) -> Option<Vec<i64>> {
    second.iter().map(|axis| first.get(usize::try_from(*axis).ok()?).copied()).collect()
}

impl Pass<'_> {
    fn node(&mut self, mut node: Node) {
        for input in node.inputs.iter_mut().flatten() {
            if let Some(other) = self.renamed.get(input) {
                *input = *other;
            }
        }
        if node.operator == Operator::Transpose && self.transpose(&node).is_some() {
            return;
        }
        if node.subgraphs().next().is_some() {
            self.with_bodies(&mut node);
        } else if self.first_put_off(&node).is_some() && self.push_through(&node).is_some() {
            return;
        }
        let inputs: Vec<ValueId> = node.inputs.iter().flatten().copied().collect();
        for input in inputs {
            self.need(input);
        }
        // What was needed may be what was needed before, under another name.
        for input in node.inputs.iter_mut().flatten() {
            if let Some(other) = self.renamed.get(input) {
                *input = *other;
            }
        }
        self.nodes.push(node);
    }

    /// Puts a transposition off.
    fn transpose(&mut self, node: &Node) -> Option<()> {
        let (input, output) = (node.input(0)?, *node.outputs.first()?);
        let permutation = node.attributes.integers("perm")?;
        inverse(permutation)?;
        let put_off = match self.put_off.get(&input) {
            Some(before) => {
                PutOff { source: before.source, permutation: composed(&before.permutation, permutation)? }
            }
            None => PutOff { source: input, permutation: permutation.to_vec() },
        };
        if is_identity(&put_off.permutation) {
            self.renamed.insert(output, put_off.source);
        } else {
            self.put_off.insert(output, put_off);
        }
        Some(())
    }

    /// Bodies see the values around them as they are.
    fn with_bodies(&mut self, node: &mut Node) {
        let mut seen = Vec::new();
        let mut open: Vec<&Subgraph> = node.subgraphs().collect();
        while let Some(body) = open.pop() {
            seen.extend(&body.outputs);
            for inner in &body.nodes {
                seen.extend(inner.inputs.iter().flatten());
                open.extend(inner.subgraphs());
            }
        }
        for value in seen {
            self.need(value);
        }
        for body in node.subgraphs_mut() {
            let nodes = std::mem::take(&mut body.nodes);
            body.nodes = block(self.graph, self.renamed, nodes, &body.outputs);
        }
    }

    fn first_put_off(&self, node: &Node) -> Option<&PutOff> {
        node.inputs.iter().flatten().find_map(|input| self.put_off.get(input))
    }

    /// Does a transposition that was put off.
    fn need(&mut self, value: ValueId) {
        let Some(put_off) = self.put_off.remove(&value) else { return };
        if let Some(known) = self.done.get(&put_off) {
            self.renamed.insert(value, *known);
            return;
        }
        let attributes = Attributes::none().with("perm", put_off.permutation.clone());
        let inputs = vec![Some(put_off.source)];
        self.done.insert(put_off, value);
        self.nodes.push(Node { operator: Operator::Transpose, inputs, outputs: vec![value], attributes });
    }

    /// A new node; its output.
    pub(crate) fn emit(
        &mut self,
        operator: Operator,
        inputs: Vec<ValueId>,
        attributes: Attributes,
        like: ValueId,
    ) -> ValueId {
        let kind = self.graph.value(like).map_or(crate::tensor::ElementType::Float32, |value| value.kind);
        let output = self.graph.add_value(kind, None);
        let inputs = inputs.into_iter().map(Some).collect();
        self.nodes.push(Node { operator, inputs, outputs: vec![output], attributes });
        output
    }

    /// The transposition that a value waits for.
    pub(crate) fn waiting(&self, value: ValueId) -> Option<&PutOff> {
        self.put_off.get(&value)
    }

    /// The node is done in the order of the sources; its outputs wait.
    fn push_through(&mut self, node: &Node) -> Option<()> {
        let put_off = self.first_put_off(node)?.clone();
        let rewritten = rearranged::rewrite(self, node, &put_off)?;
        let rearranged::Rewritten { node, permutation } = rewritten;
        let mut node = node;
        if is_identity(&permutation) {
            self.nodes.push(node);
            return Some(());
        }
        let undone = inverse(&permutation)?;
        let mut sources = Vec::with_capacity(node.outputs.len());
        for output in &node.outputs {
            let value = self.graph.value(*output)?;
            let (kind, shape) = (value.kind, value.shape.clone());
            let shape = shape.and_then(|shape| {
                undone.iter().map(|axis| shape.get(usize::try_from(*axis).ok()?).copied()).collect()
            });
            let source = self.graph.add_value(kind, shape);
            sources.push(source);
            self.put_off.insert(*output, PutOff { source, permutation: permutation.clone() });
        }
        node.outputs = sources;
        self.nodes.push(node);
        Some(())
    }

    /// A value with its axes in the order of the sources, to go with one that waits.
    pub(crate) fn adapt(&mut self, value: ValueId, put_off: &PutOff, broadcast: bool) -> Option<ValueId> {
        if let Some(other) = self.put_off.get(&value) {
            if other.permutation == put_off.permutation {
                return Some(other.source);
            }
            if other.permutation.len() != put_off.permutation.len() {
                self.need(value);
            }
        }
        let value = self.renamed.get(&value).copied().unwrap_or(value);
        let rank = put_off.permutation.len();
        let order = inverse(&put_off.permutation)?;
        let own = self.graph.rank(value)?;
        let shape: Option<Vec<i64>> =
            self.graph.value(value)?.shape.as_ref()?.iter().map(|size| size.known()).collect();
        if broadcast && own <= rank && shape.is_some_and(|shape| shape.iter().all(|size| *size == 1)) {
            return Some(value);
        }
        let missing = rank.checked_sub(own)?;
        if missing > 0 && !broadcast {
            return None;
        }
        let axes = Tensor::vector(&(0..missing as i64).collect::<Vec<_>>());
        if let Some(constant) = self.graph.constant(value) {
            let full = match missing {
                0 => constant.clone(),
                _ => fold::fold(
                    Operator::Unsqueeze,
                    &Attributes::none(),
                    &[Some(constant), Some(&axes)],
                    usize::MAX,
                )?,
            };
            let turned = crate::graph::strided::transpose(&full, &order)?;
            return Some(self.graph.add_constant(turned));
        }
        let full = match missing {
            0 => value,
            _ => {
                let axes = self.graph.add_constant(axes);
                self.emit(Operator::Unsqueeze, vec![value, axes], Attributes::none(), value)
            }
        };
        let (source, order) = match self.put_off.get(&full) {
            Some(other) => (other.source, composed(&other.permutation, &order)?),
            None => (full, order),
        };
        Some(self.emit(Operator::Transpose, vec![source], Attributes::none().with("perm", order), value))
    }

    /// A constant vector.
    pub(crate) fn vector(&mut self, values: &[i64]) -> ValueId {
        self.graph.add_constant(Tensor::vector(values))
    }

    /// The integers of a constant input.
    pub(crate) fn integers(&self, node: &Node, input: usize) -> Option<Vec<i64>> {
        self.graph.constant(node.input(input)?)?.integers()
    }
}

/// An attribute of an axis, from 0.
pub(crate) fn axis(node: &Node, name: &str, default: i64, rank: usize) -> Option<usize> {
    axis_of(node.attributes.integer(name).unwrap_or(default), rank)
}

/// Whether elements are combined in pairs.
pub(crate) fn is_broadcast(operator: Operator) -> bool {
    matches!(operator.family(), Family::Broadcast | Family::Comparison)
}

/// A copy of the attributes with one replaced.
pub(crate) fn replaced(
    attributes: &Attributes,
    name: &'static str,
    value: impl Into<Attribute>,
) -> Attributes {
    let mut copy = attributes.clone();
    copy.set(name, value);
    copy
}
