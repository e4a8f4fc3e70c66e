//! The first form of a region: a step for each node, constants as the model has them.

use std::collections::{HashMap, HashSet};

use super::{
    orders::{Entering, Leaving},
    recognize::{Form, Kind},
    step::Value,
};
use crate::onnx::model::ValueId;
use adytum_kernels::{activation::Activation, layout::Channels};

/// A step whose weights are still in the model.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) form: Form,
    pub(crate) inputs: Vec<Value>,
    pub(crate) output: Value,
    /// The function of the result, before anything is added to it.
    pub(crate) activation: Activation,
    /// The image of the same size that a convolution adds.
    pub(crate) residual: Option<Value>,
    /// The function of the sum.
    pub(crate) after: Activation,
    /// The pixels of an image of the output, if the model says how many.
    pub(crate) pixels: Option<usize>,
}

impl Draft {
    /// A step that nothing follows yet.
    pub(crate) fn new(form: Form, inputs: Vec<Value>, output: Value, pixels: Option<usize>) -> Self {
        let identity = Activation::Identity;
        Self { form, inputs, output, activation: identity, residual: None, after: identity, pixels }
    }
}

/// The steps of a region, in an order in which they can run.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pub(crate) steps: Vec<Draft>,
    /// The channels of each value.
    pub(crate) channels: Vec<usize>,
    /// The values that are kept as 16-bit floats.
    pub(crate) narrow: HashSet<Value>,
    pub(crate) inputs: Vec<Value>,
    /// In which order the numbers of each of them come.
    pub(crate) entries: Vec<Entering>,
    pub(crate) outputs: Vec<Value>,
    /// In which order the numbers of each of them go.
    pub(crate) exits: Vec<Leaving>,
    /// The values that the model has with three dimensions: images of one row.
    pub(crate) lines: HashSet<Value>,
    /// The numbers of the model's values.
    values: HashMap<ValueId, Value>,
    entered: Vec<ValueId>,
}

impl Drafts {
    /// Another value.
    pub(crate) fn value(&mut self, channels: usize) -> Value {
        self.channels.push(channels);
        Value(self.channels.len() - 1)
    }

    /// The number of a value of the model, which enters if no node before made it.
    pub(crate) fn input(&mut self, value: ValueId, channels: usize) -> Value {
        if let Some(known) = self.values.get(&value) {
            return *known;
        }
        let made = self.value(channels);
        self.values.insert(value, made);
        self.inputs.push(made);
        self.entries.push(Entering::default());
        self.entered.push(value);
        made
    }

    /// The values of the model that enter, in order.
    pub(crate) fn entered(&self) -> &[ValueId] {
        &self.entered
    }

    /// Takes another value of the model, whose numbers are in another order, in the place of one that enters.
    pub(crate) fn enter_as(&mut self, value: ValueId, source: ValueId, order: Entering) {
        for (entered, entry) in self.entered.iter_mut().zip(&mut self.entries) {
            if *entered == value {
                (*entered, *entry) = (source, order);
            }
        }
    }

    /// Says that a value of the model leaves.
    pub(crate) fn output(&mut self, value: ValueId, order: Leaving) -> bool {
        let known = self.values.get(&value).copied();
        self.outputs.extend(known);
        self.exits.extend(known.map(|_| order));
        known.is_some()
    }

    /// Says that the model has a value, which is known by now, with three dimensions.
    pub(crate) fn line(&mut self, value: ValueId) {
        self.lines.extend(self.values.get(&value));
    }

    /// Adds the step of a node.
    pub(crate) fn add(
        &mut self,
        form: Form,
        mut inputs: Vec<Value>,
        output: ValueId,
        (channels, pixels): (usize, Option<usize>),
    ) {
        // Kernels by channels give as many as they take, so each comes as often as it has outputs.
        if let (Form::Convolution(convolution), &[input]) = (&form, inputs.as_slice())
            && convolution.kind == Kind::Depthwise
            && let Some(count) = self.channels.get(input.0).copied()
            && count < channels
            && let Some(times) = channels.checked_div(count)
        {
            let runs = (0..channels).map(|to| Channels { from: to / times, to, count: 1 }).collect();
            let repeated = self.value(channels);
            self.steps.push(Draft::new(Form::Copy(vec![runs]), inputs, repeated, None));
            inputs = vec![repeated];
        }
        let made = self.value(channels);
        self.values.insert(output, made);
        self.steps.push(Draft::new(form, inputs, made, pixels));
    }

    /// How often each value is taken, the outputs included.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.channels.len()];
        let taken = self.steps.iter().flat_map(|step| step.inputs.iter().chain(&step.residual));
        for value in taken.chain(&self.outputs) {
            if let Some(count) = uses.get_mut(value.0) {
                *count += 1;
            }
        }
        uses
    }

    /// The step that makes each value.
    pub(crate) fn makers(&self) -> HashMap<Value, usize> {
        self.steps.iter().enumerate().map(|(index, step)| (step.output, index)).collect()
    }

    /// Puts one value in the place of another.
    pub(crate) fn replace(&mut self, old: Value, new: Value) {
        for step in &mut self.steps {
            for value in step.inputs.iter_mut().chain(&mut step.residual) {
                if *value == old {
                    *value = new;
                }
            }
        }
        for value in &mut self.outputs {
            if *value == old {
                *value = new;
            }
        }
    }
}
