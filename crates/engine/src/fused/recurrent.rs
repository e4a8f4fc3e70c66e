//! LSTM and GRU with constant weights, which are in the order of the products' kernels.

use std::fmt;

use adytum_kernels::{
    Level, Part,
    activation::{Activation, map},
    buffer::Shared,
    products::{Matrix, Product},
};

use crate::{
    operators::{
        Arguments, Context, Operator, OperatorError,
        arguments::{tensor_of, unfit, values_of},
        share::{share, unfit as fault},
    },
    tensor::{ElementType, Value},
};

/// The places of inputs.
const SEQUENCES: usize = 0;
const STATE: usize = 1;
const MEMORY: usize = 2;

/// The kinds of cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Gates of input, output, forgetting, and the candidate.
    Lstm,
    /// Gates of update and reset, and the candidate, whose recurrence is multiplied with the reset gate.
    Gru,
}

impl Kind {
    /// How many gates a cell has, the candidate included.
    pub(crate) fn gates(self) -> usize {
        match self {
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// The weights of a direction.
#[derive(Debug)]
pub(crate) struct Direction {
    /// Whether it goes from the end.
    pub(crate) is_reversed: bool,
    /// What the inputs are multiplied with, and all biases but those of a GRU's recurrence of the candidate.
    pub(crate) input: Matrix,
    /// What the state is multiplied with.
    pub(crate) recurrence: Matrix,
}

/// A layer of cells over sequences `[step][entry][number]`.
pub(crate) struct RecurrentLayer {
    pub(crate) level: Level,
    pub(crate) kind: Kind,
    /// Numbers of a state.
    pub(crate) hidden: usize,
    pub(crate) directions: Vec<Direction>,
}

impl fmt::Debug for RecurrentLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

impl RecurrentLayer {
    /// What it does, for people.
    pub(crate) fn describe(&self) -> String {
        let name = if self.kind == Kind::Lstm { "LSTM" } else { "GRU" };
        let both = if self.directions.len() > 1 { ", in both directions" } else { "" };
        format!("{name} of {} numbers{both}", self.hidden)
    }
}

/// The states of a direction, and where its results go.
struct Pass<'a> {
    layer: &'a RecurrentLayer,
    /// Which direction it is.
    number: usize,
    direction: &'a Direction,
    steps: usize,
    batch: usize,
    state: &'a mut [f32],
    memory: &'a mut [f32],
    outputs: &'a mut [f32],
}

impl Operator for RecurrentLayer {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let arguments = Arguments::new(inputs);
        let sequences = arguments.tensor(SEQUENCES)?;
        let (hidden, count) = (self.hidden, self.directions.len());
        let depth = self.directions.first().map_or(0, |direction| direction.input.depth());
        let &[steps, batch, _] = sequences.shape() else {
            return unfit(format!(
                "sequences of the shape {:?} were given; expected 3 dimensions",
                sequences.shape()
            ));
        };
        if sequences.shape().last() != Some(&depth) {
            return unfit(format!(
                "sequences of the shape {:?} were given; expected rows of {depth}",
                sequences.shape()
            ));
        }
        let states = [count, batch, hidden];
        let size = context.reserve(ElementType::Float, &states)?;
        let initial = |index: usize| -> Result<Vec<f32>, OperatorError> {
            match arguments.optional(index) {
                None => Ok(vec![0.0; size]),
                Some(state) if state.shape() == states => Ok(values_of::<f32>(state)?.to_vec()),
                Some(state) => {
                    unfit(format!("a state of the shape {:?} was given; expected {states:?}", state.shape()))
                }
            }
        };
        let (mut state, mut memory) = (initial(STATE)?, initial(MEMORY)?);
        let shape = [steps, count, batch, hidden];
        let total = context.reserve(ElementType::Float, &shape)?;
        let mut outputs = vec![0.0; total];
        let own = batch.saturating_mul(hidden);
        for (number, direction) in self.directions.iter().enumerate() {
            let place = number * own..(number + 1) * own;
            let (Some(state), Some(memory)) = (state.get_mut(place.clone()), memory.get_mut(place)) else {
                continue;
            };
            let outputs = &mut outputs;
            let mut pass = Pass { layer: self, number, direction, steps, batch, state, memory, outputs };
            pass.run(values_of::<f32>(sequences)?, context)?;
        }
        let mut results = vec![tensor_of(shape.to_vec(), outputs)?, tensor_of(states.to_vec(), state)?];
        if self.kind == Kind::Lstm {
            results.push(tensor_of(states.to_vec(), memory)?);
        }
        Ok(results.into_iter().map(Value::Tensor).collect())
    }
}

impl Pass<'_> {
    fn run(&mut self, sequences: &[f32], context: &Context<'_>) -> Result<(), OperatorError> {
        let (steps, batch, hidden) = (self.steps, self.batch, self.layer.hidden);
        let Direction { is_reversed, input, recurrence } = self.direction;
        let (rows, count) = (input.columns(), self.layer.directions.len());
        // The parts of the inputs, of all steps at once.
        let size = context.reserve(ElementType::Float, &[steps, batch, rows])?;
        if size == 0 {
            return Ok(());
        }
        let mut parts = vec![0.0; size];
        let identity = Activation::Identity;
        let product = Product { matrix: input, rows: sequences, activation: identity, residual: None };
        let cost = size.saturating_mul(input.depth());
        share(context, Shared::new(&mut parts), cost, |output, part| product.run(output, part))?;
        let mut gates = vec![0.0; batch * rows];
        let mut places: Vec<usize> = (0..steps).collect();
        if *is_reversed {
            places.reverse();
        }
        let is_lstm = self.layer.kind == Kind::Lstm;
        for step in places {
            context.check()?;
            let part = &parts[step * batch * rows..][..batch * rows];
            let residual = is_lstm.then_some(part);
            let product = Product { matrix: recurrence, rows: self.state, activation: identity, residual };
            product.run(Shared::new(&mut gates), Part::WHOLE).map_err(fault)?;
            for (entry, gates) in gates.chunks_exact_mut(rows).enumerate() {
                if is_lstm {
                    self.lstm(entry, gates);
                } else {
                    self.gru(entry, gates, &part[entry * rows..][..rows]);
                }
            }
            let place = (step * count + self.number) * batch * hidden;
            self.outputs[place..place + batch * hidden].copy_from_slice(self.state);
        }
        Ok(())
    }

    /// The next state of an entry. The gates have the parts of the input and of the state.
    fn lstm(&mut self, entry: usize, gates: &mut [f32]) {
        let (level, hidden) = (self.layer.level, self.layer.hidden);
        let (doors, candidate) = gates.split_at_mut(3 * hidden);
        map(level, Activation::Sigmoid, doors);
        map(level, Activation::Tanh, candidate);
        let (input, rest) = doors.split_at(hidden);
        let (output, forget) = rest.split_at(hidden);
        let memory = &mut self.memory[entry * hidden..][..hidden];
        let state = &mut self.state[entry * hidden..][..hidden];
        for (place, memory) in memory.iter_mut().enumerate() {
            *memory = forget[place] * *memory + input[place] * candidate[place];
        }
        state.copy_from_slice(memory);
        map(level, Activation::Tanh, state);
        state.iter_mut().zip(output).for_each(|(state, output)| *state *= output);
    }

    /// The same. The gates have the part of the state only.
    fn gru(&mut self, entry: usize, gates: &mut [f32], part: &[f32]) {
        let (level, hidden) = (self.layer.level, self.layer.hidden);
        let (doors, candidate) = gates.split_at_mut(2 * hidden);
        let (of_doors, of_candidate) = part.split_at(2 * hidden);
        doors.iter_mut().zip(of_doors).for_each(|(door, part)| *door += part);
        map(level, Activation::Sigmoid, doors);
        let (update, reset) = doors.split_at(hidden);
        for (place, candidate) in candidate.iter_mut().enumerate() {
            *candidate = of_candidate[place] + reset[place] * *candidate;
        }
        map(level, Activation::Tanh, candidate);
        let state = &mut self.state[entry * hidden..][..hidden];
        for (place, state) in state.iter_mut().enumerate() {
            *state = (1.0 - update[place]) * candidate[place] + update[place] * *state;
        }
    }
}
