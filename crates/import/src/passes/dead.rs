//! Removes what no output needs.

use std::collections::HashSet;

use crate::graph::{Graph, Node, Subgraph, ValueId};

/// Removes nodes that no output needs, and frees the constants that no node needs.
pub(crate) fn remove(graph: &mut Graph) {
    let mut needed: HashSet<ValueId> = graph.outputs.iter().map(|(_, id)| *id).collect();
    let mut nodes = std::mem::take(&mut graph.nodes);
    sweep(&mut nodes, &mut needed);
    graph.nodes = nodes;
    for (index, value) in graph.values.iter_mut().enumerate() {
        if value.constant.is_some() && !needed.contains(&ValueId(index as u32)) {
            value.constant = None;
        }
    }
}

/// From the last node to the first: what they need is known before they are met.
fn sweep(nodes: &mut Vec<Node>, needed: &mut HashSet<ValueId>) {
    let mut kept = Vec::with_capacity(nodes.len());
    while let Some(mut node) = nodes.pop() {
        if !node.outputs.iter().any(|output| needed.contains(output)) {
            continue;
        }
        for Subgraph { nodes, outputs, .. } in node.subgraphs_mut() {
            needed.extend(outputs.iter().copied());
            sweep(nodes, needed);
        }
        needed.extend(node.inputs.iter().flatten().copied());
        kept.push(node);
    }
    kept.reverse();
    *nodes = kept;
}

/// How often each value is used: as an input, in a body, or as an output.
pub(crate) fn uses(graph: &Graph) -> Vec<usize> {
    let mut counts = vec![0usize; graph.values.len()];
    let mut count = |id: ValueId| {
        if let Some(slot) = counts.get_mut(id.index()) {
            *slot += 1;
        }
    };
    graph.outputs.iter().for_each(|(_, id)| count(*id));
    let mut open: Vec<&Node> = graph.nodes.iter().collect();
    while let Some(node) = open.pop() {
        node.inputs.iter().flatten().for_each(|id| count(*id));
        for body in node.subgraphs() {
            body.outputs.iter().for_each(|id| count(*id));
            open.extend(&body.nodes);
        }
    }
    counts
}
