//! The first form of a region of quantised numbers: a step for each node, constants as the model has them.

use std::collections::HashMap;

use super::{
    super::step::Value,
    recognize::{Form, Image, Piece},
};
use crate::{onnx::model::ValueId, tensor::ElementType};
use adytum_kernels::integer::{finish::Addition, pool::Scale};

/// What enters, or leaves, as what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Passage {
    /// Real numbers.
    Floats(Scale),
    /// Numbers of uint8, or of int8.
    Bytes(ElementType),
}

/// A value that leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) value: Value,
    pub(crate) passage: Passage,
    /// Whether it is a matrix: each image is of one pixel.
    pub(crate) is_matrix: bool,
}

/// A step whose weights are still in the model.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) form: Form,
    pub(crate) inputs: Vec<Value>,
    pub(crate) output: Value,
    /// The image of the same size that a convolution adds.
    pub(crate) addition: Option<(Value, Addition)>,
}

/// The steps of a region, in an order in which they can run.
#[derive(Debug, Default)]
pub(crate) struct Drafts {
    pub(crate) steps: Vec<Draft>,
    /// The channels of each value.
    pub(crate) channels: Vec<usize>,
    pub(crate) entries: Vec<(Value, Passage)>,
    pub(crate) exits: Vec<Exit>,
    /// The values of the model that enter, in order.
    pub(crate) entered: Vec<ValueId>,
    /// The numbers of the model's values.
    values: HashMap<ValueId, Value>,
    /// Real numbers that leave: those of which value.
    floats: HashMap<ValueId, (Value, Scale)>,
}

impl Drafts {
    /// Another value.
    pub(crate) fn value(&mut self, channels: usize) -> Value {
        self.channels.push(channels);
        Value(self.channels.len() - 1)
    }

    fn enter(&mut self, image: Image, passage: Passage) -> Value {
        let made = self.value(image.channels);
        self.entries.push((made, passage));
        self.entered.push(image.value);
        made
    }

    /// The number of a value of the model, which enters if no node before made it.
    fn input(&mut self, image: Image) -> Value {
        if let Some(known) = self.values.get(&image.value) {
            return *known;
        }
        let made = self.enter(image, Passage::Bytes(image.element_type));
        self.values.insert(image.value, made);
        made
    }

    /// Adds what a node does.
    pub(crate) fn add(&mut self, piece: Piece) {
        let Piece { form, inputs, output } = piece;
        let first = inputs.first().copied();
        match (form, first) {
            (Form::Quantise(scale), Some(input)) => {
                let made = self.enter(input, Passage::Floats(scale));
                self.values.insert(output.value, made);
            }
            (Form::Dequantise(scale), Some(input)) => {
                let value = self.input(input);
                self.floats.insert(output.value, (value, scale));
            }
            (Form::Same, Some(input)) => {
                let value = self.input(input);
                self.values.insert(output.value, value);
            }
            (Form::Absorbed, _) => {}
            (form, _) => {
                let inputs = inputs.into_iter().map(|input| self.input(input)).collect();
                let made = self.value(output.channels);
                self.values.insert(output.value, made);
                self.steps.push(Draft { form, inputs, output: made, addition: None });
            }
        }
    }

    /// Says that a value of the model leaves. False if the region does not have it.
    pub(crate) fn exit(&mut self, image: Image) -> bool {
        let found = match self.floats.get(&image.value) {
            Some((value, scale)) => Some((*value, Passage::Floats(*scale))),
            None => {
                let value = self.values.get(&image.value).copied();
                value.map(|value| (value, Passage::Bytes(image.element_type)))
            }
        };
        let Some((value, passage)) = found else { return false };
        self.exits.push(Exit { value, passage, is_matrix: image.is_matrix });
        true
    }

    /// How often each value is taken, the outputs included.
    pub(crate) fn uses(&self) -> Vec<usize> {
        let mut uses = vec![0; self.channels.len()];
        let taken = self
            .steps
            .iter()
            .flat_map(|step| step.inputs.iter().copied().chain(step.addition.map(|(value, _)| value)));
        for value in taken.chain(self.exits.iter().map(|exit| exit.value)) {
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
}
