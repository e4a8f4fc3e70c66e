//! Leaves out nodes that expand a value to the shape of another one before both are combined, which expands it anyway.

use std::collections::{HashMap, HashSet};

use super::{Facts, PlanError, Planner, describe::Worker, placement::Placed};
use crate::onnx::model::{Port, ValueId};

impl Planner<'_> {
    /// Gives nodes that work on each element the values before they were expanded.
    pub(super) fn leave_out_expansions(
        &mut self,
        mut placed: Vec<Placed>,
        facts: &Facts,
        outputs: &[Port],
    ) -> Result<Vec<Placed>, PlanError> {
        // The value that each expanded one was made of.
        let expanded: HashMap<ValueId, ValueId> = placed
            .iter()
            .filter(|entry| entry.node.domain.is_empty() && entry.node.operator == "Expand")
            .filter_map(|entry| {
                let from = entry.node.inputs.first().copied().flatten()?;
                let to = entry.node.outputs.first().copied().flatten()?;
                (!self.constants.contains(from)).then_some((to, from))
            })
            .collect();
        if expanded.is_empty() {
            return Ok(placed);
        }
        for entry in &mut placed {
            let node = &mut entry.node;
            let is_combined = node.domain.is_empty()
                && node.opset >= 7
                && matches!(node.operator.as_str(), "Add" | "Sub" | "Mul" | "Div");
            let &[Some(left), Some(right)] = node.inputs.as_slice() else { continue };
            let shape = |value| self.fact(facts, value).and_then(|fact| fact.shape);
            if !is_combined || left == right || shape(left).is_none() || shape(left) != shape(right) {
                continue;
            }
            let before = [left, right].map(|value| expanded.get(&value).copied());
            // If both were expanded, the result is as large because of one of them.
            match before {
                [Some(value), None] => node.inputs = vec![Some(value), Some(right)],
                [None, Some(value)] => node.inputs = vec![Some(left), Some(value)],
                _ => continue,
            }
            // An island that was to compute it knows the inputs by number.
            let Ok(built) = self.build(&entry.node, facts)? else {
                entry.node.inputs = vec![Some(left), Some(right)];
                continue;
            };
            entry.placement = super::placement::Placement::Own(built.operator);
        }
        let mut needed: HashSet<ValueId> = outputs.iter().map(|port| port.value).collect();
        for entry in &placed {
            needed.extend(entry.inputs().flatten());
        }
        let mut kept = Vec::with_capacity(placed.len());
        for entry in placed {
            let output = entry.node.outputs.first().copied().flatten();
            let is_idle =
                output.is_some_and(|output| expanded.contains_key(&output) && !needed.contains(&output));
            if is_idle {
                if let Some(line) = self.plan.lines.get_mut(entry.line) {
                    line.worker = Worker::Nobody;
                }
                self.constants.forget(&entry.node);
            } else {
                kept.push(entry);
            }
        }
        Ok(kept)
    }
}
