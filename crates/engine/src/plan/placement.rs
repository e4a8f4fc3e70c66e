//! Who computes a node, and in which island.

use std::collections::HashMap;

use super::{
    Facts, PlanError, Planner,
    partition::{Stages, Vertex},
};
use crate::{
    island::Translation,
    onnx::model::{Node, ValueId},
    operators::Operator,
};

/// How often islands are formed again when some were dissolved.
const LIGHT_ROUNDS: usize = 4;

/// Who computes a node.
pub(super) enum Placement {
    Own(Box<dyn Operator>),
    Island(Translation),
}

/// A node that somebody computes at a run.
pub(super) struct Placed {
    pub(super) node: Node,
    pub(super) placement: Placement,
    pub(super) stage: usize,
    /// The node's line in the description of the plan.
    pub(super) line: usize,
}

impl Placed {
    /// The values that it takes; `None` for an input that is left out.
    pub(super) fn inputs(&self) -> impl Iterator<Item = Option<ValueId>> {
        self.node.inputs.iter().copied().chain(self.node.captures.iter().copied().map(Some))
    }
}

impl Planner<'_> {
    /// Islands without heavy nodes are computed by our own operators where we have them all:
    /// to hand values over costs more than they do.
    pub(super) fn take_light_islands(
        &mut self,
        placed: &mut [Placed],
        facts: &Facts,
    ) -> Result<(), PlanError> {
        for _ in 0..LIGHT_ROUNDS {
            let mut islands: HashMap<usize, (bool, Vec<usize>)> = HashMap::new();
            for (index, entry) in placed.iter().enumerate() {
                if let Placement::Island(translation) = &entry.placement {
                    let island = islands.entry(entry.stage).or_default();
                    island.0 |= translation.heavy;
                    island.1.push(index);
                }
            }
            let mut changed = false;
            for (_, members) in islands.into_values().filter(|(heavy, _)| !heavy) {
                let mut operators = Vec::with_capacity(members.len());
                for index in &members {
                    let Some(entry) = placed.get(*index) else { break };
                    match self.build(&entry.node, facts)? {
                        Ok(built) => operators.push(built.operator),
                        Err(_) => break,
                    }
                }
                if operators.len() < members.len() {
                    continue;
                }
                for (index, operator) in members.into_iter().zip(operators) {
                    if let Some(entry) = placed.get_mut(index) {
                        entry.placement = Placement::Own(operator);
                        changed = true;
                    }
                }
            }
            if !changed {
                break;
            }
            stage(placed);
        }
        Ok(())
    }
}

/// Gives all nodes their stages.
pub(super) fn stage(placed: &mut [Placed]) {
    let mut stages = Stages::default();
    for entry in placed {
        let island_nodes = match &entry.placement {
            Placement::Island(translation) => Some(translation.nodes.len()),
            Placement::Own(_) => None,
        };
        entry.stage = stages.next(Vertex {
            inputs: &mut entry.node.inputs.iter().flatten().chain(&entry.node.captures).copied(),
            outputs: &mut entry.node.outputs.iter().flatten().copied(),
            island_nodes,
        });
    }
}
