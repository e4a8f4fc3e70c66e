//! Merges nodes that are equal, loops and branches included: signatures that
//! were traced twice compute the same.

use std::collections::HashMap;

use crate::{
    graph::{Attribute, Attributes, Graph, Node, Operator, Subgraph, ValueId},
    tensor::Tensor,
};

type Key = (Operator, Vec<Option<ValueId>>, Attributes, usize);

/// Merges equal nodes of the graph. Outputs may become the same value.
pub(crate) fn merge(graph: &mut Graph) {
    let mut known: HashMap<Key, Vec<ValueId>> = HashMap::new();
    let mut renamed = constants(graph);
    let nodes = std::mem::take(&mut graph.nodes);
    let mut kept = Vec::with_capacity(nodes.len());
    for mut node in nodes {
        rename(&mut node, &renamed);
        let inputs = node.inputs.clone();
        let key = (node.operator, inputs, canonical(&node.attributes), node.outputs.len());
        match known.get(&key) {
            Some(same) => renamed.extend(node.outputs.iter().copied().zip(same.iter().copied())),
            None => {
                known.insert(key, node.outputs.clone());
                kept.push(node);
            }
        }
    }
    graph.nodes = kept;
    for (_, id) in &mut graph.outputs {
        *id = renamed.get(id).copied().unwrap_or(*id);
    }
}

/// Larger constants are not compared: signatures share their variables anyway.
const LARGEST: u64 = 1 << 16;

/// Constants that are equal to one before them.
fn constants(graph: &Graph) -> HashMap<ValueId, ValueId> {
    let mut known: HashMap<&Tensor, ValueId> = HashMap::new();
    let mut renamed = HashMap::new();
    for (index, value) in graph.values.iter().enumerate() {
        let Some(constant) = value.constant.as_ref().filter(|constant| constant.byte_length() <= LARGEST)
        else {
            continue;
        };
        let id = ValueId(index as u32);
        match known.get(constant) {
            Some(same) => {
                renamed.insert(id, *same);
            }
            None => {
                known.insert(constant, id);
            }
        }
    }
    renamed
}

fn rename(node: &mut Node, renamed: &HashMap<ValueId, ValueId>) {
    let new = |id: &mut ValueId| *id = renamed.get(id).copied().unwrap_or(*id);
    node.inputs.iter_mut().flatten().for_each(new);
    for body in node.subgraphs_mut() {
        body.outputs.iter_mut().for_each(new);
        for inner in &mut body.nodes {
            rename(inner, renamed);
        }
    }
}

/// The attributes, with the values of bodies numbered in their order.
fn canonical(attributes: &Attributes) -> Attributes {
    if !attributes.have_graph() {
        return attributes.clone();
    }
    let mut copy = attributes.clone();
    for (_, value) in &mut copy.0 {
        if let Attribute::Graph(body) = value {
            let mut numbers = HashMap::new();
            number(body, &mut numbers);
        }
    }
    copy
}

/// The values of bodies have numbers from the top, those of the graph from 0.
fn number(body: &mut Subgraph, numbers: &mut HashMap<ValueId, ValueId>) {
    fn define(ids: &mut [ValueId], numbers: &mut HashMap<ValueId, ValueId>) {
        for id in ids {
            let next = ValueId(u32::MAX - numbers.len() as u32);
            *id = *numbers.entry(*id).or_insert(next);
        }
    }
    define(&mut body.inputs, numbers);
    for node in &mut body.nodes {
        for input in node.inputs.iter_mut().flatten() {
            *input = numbers.get(input).copied().unwrap_or(*input);
        }
        for inner in node.subgraphs_mut() {
            number(inner, numbers);
        }
        define(&mut node.outputs, numbers);
    }
    for output in &mut body.outputs {
        *output = numbers.get(output).copied().unwrap_or(*output);
    }
}
