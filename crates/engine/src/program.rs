//! Programs: operators in the order in which they run, and the running of them.

mod frame;
mod need;

use std::fmt;

use crate::{
    operators::{Context, Operator, OperatorError},
    tensor::Value,
};

use frame::Frame;
use need::{Need, Needs};

/// Where an operator takes an input from.
#[derive(Clone, Debug)]
pub enum Source {
    /// From a slot of the frame: an input of the program or the output of an operator.
    Slot(usize),
    /// A constant.
    Constant(Value),
}

/// An operator, what it takes, what it gives.
#[derive(Debug)]
pub struct Step {
    pub operator: Box<dyn Operator>,
    /// Its inputs; `None` for one that is left out.
    pub inputs: Vec<Option<Source>>,
    /// The slots of its outputs; `None` for one that nobody takes.
    pub outputs: Vec<Option<usize>>,
    /// What it is, for messages.
    pub label: Label,
}

/// What a step is, for messages: `node "conv1" (Conv)`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Label {
    /// The name of the node, or of the first of several.
    pub name: String,
    /// Its operator, or a description of several.
    pub operator: String,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() {
            write!(f, "a node {}", self.operator)
        } else {
            write!(f, "the node {:?} ({})", self.name, self.operator)
        }
    }
}

/// A run that gave no answer: at which step, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{label}: {error}")]
pub struct ProgramError {
    pub label: Label,
    #[source]
    pub error: OperatorError,
}

/// Operators in the order in which they run.
#[derive(Debug)]
pub struct Program {
    steps: Vec<Step>,
    slots: usize,
    inputs: Vec<usize>,
    outputs: Vec<Source>,
    /// How often each slot is taken, when all outputs are wanted.
    uses: Vec<u32>,
}

impl Program {
    /// A program. Its inputs are put in the slots `inputs`.
    pub fn new(steps: Vec<Step>, slots: usize, inputs: Vec<usize>, outputs: Vec<Source>) -> Self {
        let mut program = Self { steps, slots, inputs, outputs, uses: Vec::new() };
        program.uses = program.count_uses(None, program.outputs.iter());
        program
    }

    /// Its steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// How often each slot is taken. Without needs, all steps run whole.
    fn count_uses<'a>(
        &'a self,
        needs: Option<&Needs>,
        outputs: impl Iterator<Item = &'a Source>,
    ) -> Vec<u32> {
        let mut uses = vec![0_u32; self.slots];
        let mut count = |source: &Source| {
            if let Source::Slot(slot) = source
                && let Some(count) = uses.get_mut(*slot)
            {
                *count += 1;
            }
        };
        for (index, step) in self.steps.iter().enumerate() {
            let need = needs.map_or(&Need::Whole, |needs| needs.step(index));
            for (_, source) in need.inputs(step) {
                count(source);
            }
        }
        outputs.for_each(count);
        uses
    }

    /// For each input: whether these outputs need it.
    pub fn needed_inputs(&self, wanted: &[usize]) -> Vec<bool> {
        let needs = self.needs(wanted);
        self.inputs.iter().map(|slot| needs.has_slot(*slot)).collect()
    }

    fn needs(&self, wanted: &[usize]) -> Needs {
        let outputs = wanted.iter().filter_map(|index| self.outputs.get(*index));
        Needs::new(&self.steps, self.slots, outputs)
    }

    /// Runs it. `inputs` are as many as the program has; `wanted` are indices of outputs
    /// (`None`: all of them), which come in that order.
    pub fn run(
        &self,
        inputs: Vec<Value>,
        wanted: Option<&[usize]>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, ProgramError> {
        self.run_with(inputs.into_iter().map(Some).collect(), wanted, context)
    }

    /// The same; an input that the wanted outputs don't need may be `None`.
    pub fn run_with(
        &self,
        inputs: Vec<Option<Value>>,
        wanted: Option<&[usize]>,
        context: &Context<'_>,
    ) -> Result<Vec<Value>, ProgramError> {
        let all = |wanted: &[usize]| wanted.iter().copied().eq(0..self.outputs.len());
        let wanted = wanted.filter(|wanted| !all(wanted));
        let failed = |label: Label| move |error: OperatorError| ProgramError { label, error };
        let own = || Label { name: String::new(), operator: "of the graph".to_owned() };
        if inputs.len() != self.inputs.len() {
            let reason = format!("it has {} inputs; {} were given", self.inputs.len(), inputs.len());
            return Err(failed(own())(OperatorError::Engine { reason }));
        }
        let (needs, uses) = match wanted {
            None => (None, self.uses.clone()),
            Some(wanted) => {
                let needs = self.needs(wanted);
                let outputs = wanted.iter().filter_map(|index| self.outputs.get(*index));
                let uses = self.count_uses(Some(&needs), outputs);
                (Some(needs), uses)
            }
        };
        let mut frame = Frame::new(self.slots, uses, context.budget());
        for (slot, value) in self.inputs.iter().zip(inputs) {
            if let Some(value) = value {
                frame.put(*slot, value).map_err(failed(own()))?;
            }
        }
        for (index, step) in self.steps.iter().enumerate() {
            let need = needs.as_ref().map_or(&Need::Whole, |needs| needs.step(index));
            self.step(step, need, &mut frame, context)
                .map_err(|error| ProgramError { label: step.label.clone(), error })?;
        }
        let outputs: Vec<&Source> = match wanted {
            None => self.outputs.iter().collect(),
            Some(wanted) => wanted.iter().filter_map(|index| self.outputs.get(*index)).collect(),
        };
        outputs.into_iter().map(|source| frame.take(source)).collect::<Result<_, _>>().map_err(failed(own()))
    }

    fn step(
        &self,
        step: &Step,
        need: &Need,
        frame: &mut Frame<'_>,
        context: &Context<'_>,
    ) -> Result<(), OperatorError> {
        if matches!(need, Need::Nothing) {
            return Ok(());
        }
        context.check()?;
        let mut inputs: Vec<Option<Value>> = vec![None; step.inputs.len()];
        for (index, source) in need.inputs(step) {
            if let Some(input) = inputs.get_mut(index) {
                *input = Some(frame.take(source)?);
            }
        }
        let taken = frame.settle();
        let outputs = match (need, step.operator.divisible()) {
            (Need::Part { outputs, .. }, Some(operator)) => operator.run_partly(inputs, outputs, context)?,
            _ => step.operator.run(inputs, context)?.into_iter().map(Some).collect(),
        };
        drop(taken);
        if outputs.len() < step.outputs.len() {
            let reason = format!("it gave {} outputs; the model takes {}", outputs.len(), step.outputs.len());
            return Err(OperatorError::Engine { reason });
        }
        for (slot, value) in step.outputs.iter().zip(outputs) {
            if let (Some(slot), Some(value)) = (slot, value) {
                frame.put(*slot, value)?;
            }
        }
        Ok(())
    }
}
