//! Which of an island's outputs need which of its inputs.
//!
//! Nodes that have nothing to do with one another share an island, so that there are few. A run
//! that wants some of the outputs computes what these need and no more.

use std::collections::HashMap;

use super::{Operand, plot::Plot};
use crate::onnx::model::ValueId;

/// Where a member takes a value from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Origin {
    Member(usize),
    Input(usize),
}

/// The members of an island and what each of them takes.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// What each member takes, in an order in which they can be computed. Empty for an island of
    /// one output, which always runs whole.
    members: Vec<Vec<Origin>>,
    /// The member that makes each output.
    outputs: Vec<Option<usize>>,
    inputs: usize,
}

/// What of an island some outputs need.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Needed {
    pub(super) members: Vec<bool>,
    pub(super) inputs: Vec<bool>,
}

impl Parts {
    /// The parts of an island that takes these inputs.
    pub(super) fn new(plot: &Plot<'_>, inputs: &[ValueId]) -> Self {
        if plot.outputs.len() < 2 {
            return Self::default();
        }
        let mut origins: HashMap<ValueId, Origin> =
            inputs.iter().enumerate().map(|(index, value)| (*value, Origin::Input(index))).collect();
        let mut members = Vec::with_capacity(plot.members.len());
        for (index, member) in plot.members.iter().enumerate() {
            let mut taken: Vec<Origin> = Vec::new();
            for operand in member.translation.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
                if let Operand::Value(value) = operand
                    && let Some(origin) = origins.get(value)
                    && *origin != Origin::Member(index)
                {
                    taken.push(*origin);
                }
            }
            members.push(taken);
            for output in member.outputs.iter().flatten() {
                origins.insert(*output, Origin::Member(index));
            }
        }
        let maker = |value: &ValueId| match origins.get(value) {
            Some(Origin::Member(member)) => Some(*member),
            _ => None,
        };
        Self { members, outputs: plot.outputs.iter().map(maker).collect(), inputs: inputs.len() }
    }

    /// What the wanted outputs need.
    pub(super) fn needed(&self, wanted: &[bool]) -> Needed {
        let mut members = vec![false; self.members.len()];
        let mut inputs = vec![false; self.inputs];
        for (maker, _) in self.outputs.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
            if let Some(needed) = maker.and_then(|maker| members.get_mut(maker)) {
                *needed = true;
            }
        }
        for (index, taken) in self.members.iter().enumerate().rev() {
            if !members.get(index).copied().unwrap_or(false) {
                continue;
            }
            for origin in taken {
                let place = match origin {
                    Origin::Member(member) => members.get_mut(*member),
                    Origin::Input(input) => inputs.get_mut(*input),
                };
                if let Some(needed) = place {
                    *needed = true;
                }
            }
        }
        Needed { members, inputs }
    }
}
