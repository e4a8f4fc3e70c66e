//! Finds what transformers are made of, and puts one operator in the place of many nodes.
//!
//! Each pass looks for one thing: [`functions`], [`attention`], [`normalization`],
//! [`products`], [`recurrent`]. Attention has parts of its own: [`heads`], [`windows`]. Its operator replaces the
//! last of the nodes; those whose results nobody takes any more are left out. Nodes that a pass
//! does not know exactly stay as they are.

mod activation;
mod attention;
mod functions;
mod heads;
mod links;
mod normalization;
mod products;
mod recurrent;
mod windows;

use std::collections::HashSet;

use super::{Facts, PlanError, Planner, describe::Worker, placement::Placed};
use crate::{
    onnx::model::{Node, Port, ValueId},
    operators::{Attributes, Operator},
    outside::Outside,
};

/// Operators that are parts of what the passes look for, and are not fused by themselves.
const PARTS: [&str; 12] = [
    "Erf",
    "FastGelu",
    "Gelu",
    "Pow",
    "QuickGelu",
    "ReduceMean",
    "Reshape",
    "Softmax",
    "Split",
    "Sqrt",
    "Transpose",
    "Where",
];

/// One operator for several nodes.
struct Fusion {
    operator: Box<dyn Operator>,
    /// What it takes; `None` for an input that it does not have.
    inputs: Vec<Option<ValueId>>,
    /// What it does, for people.
    description: String,
}

impl Planner<'_> {
    /// Puts one operator in the place of many nodes.
    pub(super) fn fuse(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        outputs: &[Port],
    ) -> Result<Vec<Placed>, PlanError> {
        let wanted: HashSet<ValueId> = outputs.iter().map(|port| port.value).collect();
        let placed = self.fuse_attention(placed, facts, &wanted)?;
        let placed = self.fuse_normalizations(placed, facts, &wanted)?;
        let placed = self.fuse_products(placed, facts, &wanted)?;
        let placed = self.fuse_recurrent(placed, facts, &wanted)?;
        for entry in placed.iter().filter(|entry| PARTS.contains(&entry.node.operator.as_str())) {
            self.plan.explain_operator(entry.line, Outside::Pattern);
        }
        Ok(placed)
    }

    /// Says why a node is not fused.
    fn explain(&mut self, placed: &[Option<Placed>], index: usize, outside: Outside) {
        if let Some(Some(entry)) = placed.get(index) {
            self.plan.explain(entry.line, outside);
        }
    }

    /// Replaces the last of the nodes of a fusion. `members` are those that it computes.
    fn replace(&mut self, placed: &mut [Option<Placed>], root: usize, members: &[usize], fusion: Fusion) {
        let number = self.plan.fusions.len();
        for member in members {
            if let Some(Some(entry)) = placed.get(*member)
                && let Some(line) = self.plan.lines.get_mut(entry.line)
            {
                line.worker = Worker::Fused(number);
            }
        }
        let Some(place) = placed.get_mut(root) else { return };
        let Some(entry) = place.take() else { return };
        self.plan.fusions.push(fusion.description);
        // The new node takes its inputs before the old one gives them back.
        for value in fusion.inputs.iter().flatten() {
            self.constants.keep(*value);
        }
        self.constants.forget(&entry.node);
        let node = Node {
            name: entry.node.name,
            // No pass takes it for one of ONNX's own operators.
            domain: "fused".to_owned(),
            operator: entry.node.operator,
            opset: entry.node.opset,
            inputs: fusion.inputs,
            outputs: entry.node.outputs,
            attributes: Attributes::default(),
            graphs: Vec::new(),
            captures: Vec::new(),
        };
        let placement = super::placement::Placement::Own(fusion.operator);
        *place = Some(Placed { node, placement, stage: 0, line: entry.line });
    }

    /// Leaves out nodes whose results nobody takes.
    fn sweep(&mut self, placed: Vec<Option<Placed>>, wanted: &HashSet<ValueId>) -> Vec<Placed> {
        let mut needed = wanted.clone();
        let mut kept = Vec::with_capacity(placed.len());
        for entry in placed.into_iter().rev().flatten() {
            if entry.node.outputs.iter().flatten().any(|output| needed.contains(output)) {
                needed.extend(entry.inputs().flatten());
                kept.push(entry);
            } else {
                if let Some(line) = self.plan.lines.get_mut(entry.line)
                    && !matches!(line.worker, Worker::Fused(_))
                {
                    line.worker = Worker::Nobody;
                }
                self.constants.forget(&entry.node);
            }
        }
        kept.reverse();
        kept
    }

    /// The only number of a constant of floats.
    fn number(&mut self, value: Option<ValueId>) -> Result<Option<f32>, PlanError> {
        let Some(value) = value else { return Ok(None) };
        let is_one = self.constants.fact(value).and_then(|fact| fact.known_shape());
        if is_one.is_none_or(|shape| shape.iter().any(|size| *size != 1)) {
            return Ok(None);
        }
        let tensor = self.constants.tensor(value, self.files)?;
        Ok(tensor.and_then(|tensor| tensor.values::<f32>()?.first().copied()))
    }

    /// The numbers of a constant of floats that has one for each number of a row.
    fn row(&mut self, value: Option<ValueId>, length: usize) -> Result<Option<Vec<f32>>, PlanError> {
        let Some(value) = value else { return Ok(None) };
        let shape = self.constants.fact(value).and_then(|fact| fact.known_shape());
        let is_row = shape.is_some_and(|shape| match shape.as_slice() {
            [outer @ .., last] => *last == length && outer.iter().all(|size| *size == 1),
            [] => false,
        });
        if !is_row {
            return Ok(None);
        }
        let tensor = self.constants.tensor(value, self.files)?;
        Ok(tensor.and_then(|tensor| Some(tensor.values::<f32>()?.to_vec())))
    }
}

/// The two inputs of a node that does the same with them in any order: the constant, and the other one.
fn constant_and_other(node: &Node, is_constant: impl Fn(ValueId) -> bool) -> Option<(ValueId, ValueId)> {
    match node.inputs.as_slice() {
        [Some(left), Some(right)] if is_constant(*right) && !is_constant(*left) => Some((*right, *left)),
        [Some(left), Some(right)] if is_constant(*left) && !is_constant(*right) => Some((*left, *right)),
        _ => None,
    }
}
