//! Folds what depends on constants only and was too large to be folded at once:
//! weights that are put in ONNX's order. An input that nothing else needs is
//! freed before the next is folded, so that no model is in memory twice.

use super::dead;
use crate::graph::{Graph, Node, ValueId, fold};

/// Larger results stay computed at run time: an expansion may be of any size.
const LARGEST: usize = 1 << 28;

/// Folds nodes of constants.
pub(crate) fn fold(graph: &mut Graph) {
    let mut uses = dead::uses(graph);
    let nodes = std::mem::take(&mut graph.nodes);
    let mut kept = Vec::with_capacity(nodes.len());
    for node in nodes {
        let output = node.outputs.first().copied();
        match output.zip(folded(graph, &node)) {
            Some((output, tensor)) => {
                if let Some(value) = graph.values.get_mut(output.index()) {
                    value.constant = Some(tensor);
                }
                node.inputs.iter().flatten().for_each(|input| release(graph, &mut uses, *input));
            }
            None => kept.push(node),
        }
    }
    graph.nodes = kept;
}

fn folded(graph: &Graph, node: &Node) -> Option<crate::tensor::Tensor> {
    if node.outputs.len() != 1 || node.inputs.is_empty() {
        return None;
    }
    // An output of the graph must be computed in it.
    if graph.outputs.iter().any(|(_, id)| node.outputs.contains(id)) {
        return None;
    }
    let mut tensors = Vec::with_capacity(node.inputs.len());
    for input in &node.inputs {
        match input {
            Some(id) => tensors.push(Some(graph.constant(*id)?)),
            None => tensors.push(None),
        }
    }
    // A result much larger than what it is made of is better made at run time.
    let total: usize = tensors.iter().flatten().map(|tensor| tensor.len()).sum();
    fold::fold(node.operator, &node.attributes, &tensors, total.saturating_mul(2).clamp(1 << 14, LARGEST))
}

fn release(graph: &mut Graph, uses: &mut [usize], id: ValueId) {
    let Some(count) = uses.get_mut(id.index()) else { return };
    *count = count.saturating_sub(1);
    if *count == 0
        && let Some(value) = graph.values.get_mut(id.index())
    {
        value.constant = None;
    }
}
