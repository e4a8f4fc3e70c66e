//! Puts the nodes of a graph in an order in which they can be computed.

use std::collections::{HashMap, VecDeque};

use super::{
    OnnxError,
    model::{Node, ValueId},
};

/// The nodes in an order in which each comes after those that it needs. The format asks
/// for that order, and nodes that have it keep it.
pub(super) fn sort(nodes: Vec<Node>) -> Result<Vec<Node>, OnnxError> {
    let mut origin: HashMap<ValueId, usize> = HashMap::new();
    for (index, node) in nodes.iter().enumerate() {
        for output in node.outputs.iter().flatten() {
            origin.insert(*output, index);
        }
    }
    // Values that no node here makes come from outside.
    let needs = |node: &Node| -> Vec<usize> {
        let mut needs: Vec<usize> = node
            .inputs
            .iter()
            .flatten()
            .chain(&node.captures)
            .filter_map(|value| origin.get(value).copied())
            .collect();
        needs.sort_unstable();
        needs.dedup();
        needs
    };
    if nodes.iter().enumerate().all(|(index, node)| needs(node).iter().all(|need| *need < index)) {
        return Ok(nodes);
    }

    let mut waiting: Vec<usize> = Vec::with_capacity(nodes.len());
    let mut followers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        let needs = needs(node);
        waiting.push(needs.len());
        for need in needs {
            if let Some(followers) = followers.get_mut(need) {
                followers.push(index);
            }
        }
    }
    let mut ready: VecDeque<usize> =
        waiting.iter().enumerate().filter(|(_, count)| **count == 0).map(|(index, _)| index).collect();
    let mut order = Vec::with_capacity(nodes.len());
    while let Some(index) = ready.pop_front() {
        order.push(index);
        for follower in followers.get(index).into_iter().flatten() {
            if let Some(count) = waiting.get_mut(*follower) {
                *count -= 1;
                if *count == 0 {
                    ready.push_back(*follower);
                }
            }
        }
    }
    if order.len() < nodes.len() {
        let stuck = waiting.iter().position(|count| *count > 0).and_then(|index| nodes.get(index));
        return Err(OnnxError::Cycle { node: stuck.map(|node| node.name.clone()).unwrap_or_default() });
    }
    let mut nodes: Vec<Option<Node>> = nodes.into_iter().map(Some).collect();
    Ok(order.into_iter().filter_map(|index| nodes.get_mut(index).and_then(Option::take)).collect())
}
