//! The maker of a value, and its takers.

use std::collections::{HashMap, HashSet};

use super::super::placement::Placed;
use crate::onnx::model::{Node, ValueId};

/// The maker of each value, and its takers.
pub(super) struct Links {
    makers: HashMap<ValueId, usize>,
    users: HashMap<ValueId, Vec<usize>>,
    wanted: HashSet<ValueId>,
}

impl Links {
    pub(super) fn new(placed: &[Option<Placed>], wanted: &HashSet<ValueId>) -> Self {
        let (mut makers, mut users) = (HashMap::new(), HashMap::<ValueId, Vec<usize>>::new());
        for (index, entry) in placed.iter().enumerate() {
            let Some(entry) = entry else { continue };
            makers.extend(entry.node.outputs.iter().flatten().map(|output| (*output, index)));
            entry.inputs().flatten().for_each(|input| users.entry(input).or_default().push(index));
        }
        Self { makers, users, wanted: wanted.clone() }
    }

    /// The node that makes a value, if it is one of ONNX's own operators, of this name, with one output.
    pub(super) fn maker<'a>(
        &self,
        placed: &'a [Option<Placed>],
        value: ValueId,
        operator: &str,
    ) -> Option<(usize, &'a Node)> {
        let index = *self.makers.get(&value)?;
        let node = plain(placed, index)?;
        (node.operator == operator && node.outputs.len() == 1).then_some((index, node))
    }

    /// The index of the node that makes a value.
    pub(super) fn maker_of(&self, value: ValueId) -> Option<usize> {
        self.makers.get(&value).copied()
    }

    /// The only node that takes a value, which is no output of the graph, and takes it once.
    pub(super) fn only_user(&self, value: ValueId) -> Option<usize> {
        match self.users.get(&value).map(Vec::as_slice) {
            Some([user]) if !self.wanted.contains(&value) => Some(*user),
            _ => None,
        }
    }

    /// Whether only these nodes take a value.
    pub(super) fn is_within(&self, value: ValueId, members: &[usize]) -> bool {
        !self.wanted.contains(&value)
            && self.users.get(&value).is_none_or(|users| users.iter().all(|user| members.contains(user)))
    }

    /// The nodes that take a value.
    pub(super) fn users(&self, value: ValueId) -> &[usize] {
        self.users.get(&value).map_or(&[], Vec::as_slice)
    }

    /// Whether a value is an output of the graph.
    pub(super) fn is_wanted(&self, value: ValueId) -> bool {
        self.wanted.contains(&value)
    }
}

/// A node of ONNX's own operators that was not fused. Fused ones have no name of a domain either, but they
/// are not asked for: each node is replaced at most once, and the links are made for each pass.
pub(super) fn plain(placed: &[Option<Placed>], index: usize) -> Option<&Node> {
    let entry = placed.get(index)?.as_ref()?;
    (entry.node.domain.is_empty() && entry.node.graphs.is_empty()).then_some(&entry.node)
}

/// A FusedMatMul of com.microsoft.
pub(super) fn fused_product(placed: &[Option<Placed>], index: usize) -> Option<&Node> {
    let entry = placed.get(index)?.as_ref()?;
    (entry.node.domain == "com.microsoft" && entry.node.operator == "FusedMatMul").then_some(&entry.node)
}

/// Whether the last two dimensions of each input of a FusedMatMul change places; `None` if others do.
pub(super) fn turned(node: &Node) -> Option<[bool; 2]> {
    let flag = |name| node.attributes.flag(name, false).ok();
    if flag("transBatchA")? || flag("transBatchB")? {
        return None;
    }
    Some([flag("transA")?, flag("transB")?])
}
