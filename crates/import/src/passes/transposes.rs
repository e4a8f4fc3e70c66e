//! Cancels transpositions. TensorFlow's channels are last, ONNX's first, so each
//! convolution comes between two transpositions. Here a transposition is not
//! done at its place: it is put off, past the operators that can do their
//! work in the other order, until it meets its inverse or is needed after all.

use std::collections::HashMap;

use super::{
    put_off::{Pass, PutOff, composed, inverse, is_identity},
    rearranged,
};
use crate::graph::{Attributes, Graph, Node, Operator, Subgraph, ValueId};

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
    let mut pass = Pass::new(graph, renamed, nodes.len());
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
        // A needed transposition may have been done before, under another name.
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
}
