//! The program of nodes that have their places.

use std::collections::{HashMap, HashSet};

use super::{
    Facts, PlanError, Planner,
    constants::Taking,
    describe::Worker,
    placement::{Placed, Placement},
};
use crate::{
    facts::size::Sizes,
    island::{
        Operand,
        build::{BuildError, build},
        plot::{Member, Plot},
        rescale::absorb,
    },
    onnx::model::{Port, ValueId},
    program::{Label, Program, Source, Step},
    tensor::Value,
};

impl Planner<'_> {
    /// The program of nodes that have their places.
    pub(super) fn emit(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        sizes: &Sizes,
        entries: &[ValueId],
        outputs: &[Port],
    ) -> Result<Program, PlanError> {
        let mut slots: HashMap<ValueId, usize> = HashMap::new();
        for value in entries {
            let next = slots.len();
            slots.entry(*value).or_insert(next);
        }
        let mut steps: Vec<Step> = Vec::new();
        let leaving = leaving(&placed, outputs.iter().map(|port| port.value));
        let last = placed.iter().map(|entry| entry.stage).max().unwrap_or(0);
        let mut by_stage: Vec<(Vec<Placed>, Vec<Placed>)> = Vec::new();
        by_stage.resize_with(last + 1, Default::default);
        for entry in placed {
            if let Some((islands, own)) = by_stage.get_mut(entry.stage) {
                match entry.placement {
                    Placement::Island(_) => islands.push(entry),
                    Placement::Own(_) => own.push(entry),
                }
            }
        }
        for index in 0..by_stage.len() {
            let Some((islands, own)) = by_stage.get_mut(index).map(std::mem::take) else { continue };
            if !islands.is_empty() {
                steps.push(self.island(islands, &leaving, facts, sizes, &mut slots)?);
            }
            for entry in own {
                steps.push(self.step(entry, &mut slots)?);
            }
        }
        let mut sources = Vec::new();
        for port in outputs {
            sources.push(self.source(port.value, &mut slots)?);
        }
        let inputs = entries.iter().filter_map(|value| slots.get(value).copied()).collect();
        Ok(Program::new(steps, slots.len(), inputs, sources))
    }

    fn source(&mut self, value: ValueId, slots: &mut HashMap<ValueId, usize>) -> Result<Source, PlanError> {
        if let Some(tensor) = self.constants.tensor(value, self.files)? {
            return Ok(Source::Constant(Value::Tensor(tensor)));
        }
        let next = slots.len();
        Ok(Source::Slot(*slots.entry(value).or_insert(next)))
    }

    fn step(&mut self, entry: Placed, slots: &mut HashMap<ValueId, usize>) -> Result<Step, PlanError> {
        let mut inputs = Vec::new();
        for value in entry.inputs() {
            inputs.push(match value {
                None => None,
                Some(value) => Some(self.source(value, slots)?),
            });
        }
        let Placed { node, placement, .. } = entry;
        let Placement::Own(operator) = placement else {
            return Err(self.refusal(&node, "it was given to nobody"));
        };
        for value in node.inputs.iter().flatten() {
            self.constants.release(*value, 1);
        }
        let outputs = node
            .outputs
            .iter()
            .map(|output| {
                output.map(|value| {
                    let next = slots.len();
                    *slots.entry(value).or_insert(next)
                })
            })
            .collect();
        let label = Label { name: node.name, operator: node.operator };
        Ok(Step { operator, inputs, outputs, label })
    }

    fn island(
        &mut self,
        entries: Vec<Placed>,
        used: &HashSet<ValueId>,
        facts: &Facts,
        sizes: &Sizes,
        slots: &mut HashMap<ValueId, usize>,
    ) -> Result<Step, PlanError> {
        let name = entries.first().map(|entry| entry.node.name.clone()).unwrap_or_default();
        let label = Label { name, operator: format!("and {} more nodes", entries.len().saturating_sub(1)) };
        let number = self.plan.islands;
        self.plan.islands += 1;
        let mut counts: HashMap<ValueId, usize> = HashMap::new();
        let mut members = Vec::with_capacity(entries.len());
        for entry in entries {
            for value in entry.node.inputs.iter().flatten() {
                *counts.entry(*value).or_insert(0) += 1;
            }
            if let Some(line) = self.plan.lines.get_mut(entry.line) {
                line.worker = Worker::Island(number);
            }
            let Placement::Island(translation) = entry.placement else { continue };
            members.push(Member { translation, outputs: entry.node.outputs });
        }
        let scaled = absorb(&mut members, used, |weights| self.constants.is_own_float(weights));
        for (weights, factor) in scaled {
            self.constants.scale(weights, factor, self.files)?;
        }
        let mut leaving: Vec<ValueId> =
            members.iter().flat_map(|member| member.outputs.iter().flatten()).copied().collect();
        leaving.retain(|value| used.contains(value));
        // Facts of constants are in the store.
        let mut known: Facts = Facts::new();
        for member in &members {
            for operand in member.translation.nodes.iter().flat_map(|node| node.inputs.iter().flatten()) {
                if let Operand::Value(value) = operand
                    && let Some(fact) = self.fact(facts, *value)
                {
                    known.insert(*value, fact);
                }
            }
        }
        for value in members.iter().flat_map(|member| member.outputs.iter().flatten()) {
            if let Some(fact) = facts.get(value) {
                known.insert(*value, fact.clone());
            }
        }
        let plot = Plot { members: &members, outputs: leaving.clone(), facts: &known, sizes };
        let mut taking = Taking { store: &mut self.constants, counts: counts.clone() };
        let built = build(&plot, &mut taking, self.files).map_err(|error| match error {
            BuildError::Onnx(error) => PlanError::Onnx(error),
            BuildError::Engine(reason) => PlanError::Engine { reason },
        })?;
        for (value, count) in counts {
            self.constants.release(value, count);
        }
        let mut slot = |value: &ValueId| {
            let next = slots.len();
            *slots.entry(*value).or_insert(next)
        };
        let inputs = built.inputs.iter().map(|value| Some(Source::Slot(slot(value)))).collect();
        let outputs = leaving.iter().map(|value| Some(slot(value))).collect();
        Ok(Step { operator: Box::new(built.island), inputs, outputs, label })
    }
}

/// The values that leave the islands that make them.
fn leaving(placed: &[Placed], outputs: impl Iterator<Item = ValueId>) -> HashSet<ValueId> {
    let island = |entry: &Placed| matches!(entry.placement, Placement::Island(_)).then_some(entry.stage);
    let mut origin: HashMap<ValueId, Option<usize>> = HashMap::new();
    let mut leaving: HashSet<ValueId> = outputs.collect();
    for entry in placed {
        for input in entry.inputs().flatten() {
            if origin.get(&input).is_some_and(|maker| *maker != island(entry)) {
                leaving.insert(input);
            }
        }
        for output in entry.node.outputs.iter().flatten() {
            origin.insert(*output, island(entry));
        }
    }
    leaving
}
