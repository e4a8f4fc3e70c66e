//! What of a program the wanted outputs need.

use super::{Source, Step};

/// What of a step a run needs.
#[derive(Debug)]
pub(super) enum Need {
    /// Nothing: it does not run.
    Nothing,
    /// All inputs and outputs.
    Whole,
    /// Some outputs, and the inputs that these need.
    Part { outputs: Vec<bool>, inputs: Vec<bool> },
}

impl Need {
    /// The inputs of the step that it takes, with their indices.
    pub(super) fn inputs<'a>(&'a self, step: &'a Step) -> impl Iterator<Item = (usize, &'a Source)> {
        let is_needed = move |index: usize| match self {
            Self::Nothing => false,
            Self::Whole => true,
            Self::Part { inputs, .. } => inputs.get(index).copied().unwrap_or(false),
        };
        step.inputs
            .iter()
            .enumerate()
            .filter(move |(index, _)| is_needed(*index))
            .filter_map(|(index, source)| source.as_ref().map(|source| (index, source)))
    }
}

/// What of a program a run needs.
#[derive(Debug)]
pub(super) struct Needs {
    steps: Vec<Need>,
    slots: Vec<bool>,
}

impl Needs {
    /// What these outputs need of the steps.
    pub(super) fn new<'a>(steps: &[Step], slots: usize, outputs: impl Iterator<Item = &'a Source>) -> Self {
        let mut slots = vec![false; slots];
        let mark = |slots: &mut Vec<bool>, source: &Source| {
            if let Source::Slot(slot) = source
                && let Some(slot) = slots.get_mut(*slot)
            {
                *slot = true;
            }
        };
        for source in outputs {
            mark(&mut slots, source);
        }
        let mut needs = Vec::with_capacity(steps.len());
        for step in steps.iter().rev() {
            let wanted: Vec<bool> = step
                .outputs
                .iter()
                .map(|slot| slot.is_some_and(|slot| slots.get(slot).copied().unwrap_or(false)))
                .collect();
            let need = match step.operator.divisible() {
                _ if !wanted.contains(&true) => Need::Nothing,
                Some(operator) if wanted.contains(&false) => {
                    let inputs = operator.needed_inputs(&wanted);
                    Need::Part { outputs: wanted, inputs }
                }
                _ => Need::Whole,
            };
            for (_, source) in need.inputs(step) {
                mark(&mut slots, source);
            }
            needs.push(need);
        }
        needs.reverse();
        Self { steps: needs, slots }
    }

    /// What of the step of this index.
    pub(super) fn step(&self, index: usize) -> &Need {
        self.steps.get(index).unwrap_or(&Need::Whole)
    }

    /// Whether the slot of this index is filled and taken.
    pub(super) fn has_slot(&self, index: usize) -> bool {
        self.slots.get(index).copied().unwrap_or(false)
    }
}
