//! Layers of recurrent cells over sequences, in one or both directions.

use super::{
    activation::{Activation, activations},
    cells::{Cell, Kind},
};
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        algebra::kernel::add_product,
        arguments::{several, tensor_of, unfit, values_of},
        layout::View,
        number::Real,
        registry::Builder,
        types::for_reals,
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "RNN", layer), ("", "GRU", layer), ("", "LSTM", layer)];

/// The settings of a node.
#[derive(Clone, Debug)]
struct Plan {
    kind: Kind,
    /// Of each direction, whether it goes from the end.
    reversed: Vec<bool>,
    activations: Vec<Activation>,
    clip: Option<f32>,
    hidden: Option<i64>,
    batch_first: bool,
}

impl Plan {
    fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        let attributes = definition.attributes;
        let reversed = match attributes.text("direction")? {
            None | Some("forward") => vec![false],
            Some("reverse") => vec![true],
            Some("bidirectional") => vec![false, true],
            Some(other) => return Err(Refusal::new(format!("the direction {other:?} is not known"))),
        };
        let (kind, defaults): (Kind, &[Activation]) = match definition.operator {
            "RNN" => (Kind::Plain, &[Activation::Tanh]),
            "GRU" => {
                let linear_before_reset = attributes.integer("linear_before_reset")?.unwrap_or(0) != 0;
                (Kind::Gru { linear_before_reset }, &[Activation::Sigmoid, Activation::Tanh])
            }
            _ => {
                let coupled = attributes.flag("input_forget", false)?;
                (Kind::Lstm { coupled }, &[Activation::Sigmoid, Activation::Tanh, Activation::Tanh])
            }
        };
        let clip = attributes.float("clip")?.filter(|clip| *clip > 0.0);
        Ok(Self {
            kind,
            activations: activations(attributes, defaults, reversed.len())?,
            reversed,
            clip,
            hidden: attributes.integer("hidden_size")?,
            batch_first: attributes.flag("layout", false)?,
        })
    }
}

fn layer(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let plan = Plan::new(definition)?;
        if definition.has_input(4) && definition.tensor_type(4)? != ElementType::Int32 {
            return Err(definition.unsupported_type(4));
        }
        for index in [1, 2, 3, 5, 6, 7] {
            if (index < 3 || definition.has_input(index)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        let outputs = if matches!(plan.kind, Kind::Lstm { .. }) { 3 } else { 2 };
        for_reals!(
            element_type,
            T => several(definition, vec![element_type; outputs], move |arguments, context| {
                run::<T>(&plan, &arguments, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

/// The sizes of a run.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    steps: usize,
    batch: usize,
    input: usize,
    hidden: usize,
    directions: usize,
    rows: usize,
}

impl Sizes {
    fn new(
        plan: &Plan,
        input: &[usize],
        weights: &[usize],
        recurrence: &[usize],
    ) -> Result<Self, OperatorError> {
        let directions = plan.reversed.len();
        let gates = plan.kind.gates();
        let ([steps, batch, width], [_, rows, found], [_, _, hidden]) = (input, weights, recurrence) else {
            return unfit(format!(
                "shapes are {input:?}, {weights:?}, {recurrence:?}; expected 3 dimensions each"
            ));
        };
        let fits = weights[0] == directions
            && hidden.checked_mul(gates) == Some(*rows)
            && recurrence == [directions, *rows, *hidden]
            && found == width
            && *hidden > 0
            && plan.hidden.is_none_or(|named| usize::try_from(named) == Ok(*hidden));
        if !fits {
            return unfit(format!(
                "weights of the shapes {weights:?} and {recurrence:?} do not fit sequences of the shape {input:?}"
            ));
        }
        Ok(Self { steps: *steps, batch: *batch, input: *width, hidden: *hidden, directions, rows: *rows })
    }
}

/// An input of a known number of elements; nothing if it is not there.
fn optional<T: Real>(
    arguments: &Arguments,
    index: usize,
    count: usize,
    what: &str,
) -> Result<Option<Vec<T>>, OperatorError> {
    match arguments.optional_values::<T>(index)? {
        None => Ok(None),
        Some(values) if values.len() == count => Ok(Some(values.to_vec())),
        Some(values) => unfit(format!("{what} has {} elements; expected {count}", values.len())),
    }
}

/// A state with the directions first.
fn initial<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    index: usize,
    sizes: Sizes,
    context: &Context<'_>,
) -> Result<Vec<T>, OperatorError> {
    let count = sizes.directions * sizes.batch * sizes.hidden;
    let Some(values) = optional::<T>(arguments, index, count, "an initial state")? else {
        return Ok(vec![T::ZERO; count]);
    };
    if !plan.batch_first {
        return Ok(values);
    }
    View::transposed(&[sizes.batch, sizes.directions, sizes.hidden], &[1, 0, 2]).copy_values(&values, context)
}

fn run<T: Real>(
    plan: &Plan,
    arguments: &Arguments,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let mut sequences = arguments.tensor(0)?.clone();
    if plan.batch_first && sequences.rank() == 3 {
        sequences = View::transposed(sequences.shape(), &[1, 0, 2]).copy(&sequences, context)?;
    }
    let (weights, recurrence) = (arguments.tensor(1)?, arguments.tensor(2)?);
    let sizes = Sizes::new(plan, sequences.shape(), weights.shape(), recurrence.shape())?;
    let Sizes { steps, batch, hidden, directions, rows, .. } = sizes;
    let lengths: Vec<usize> = match arguments.optional_values::<i32>(4)? {
        None => vec![steps; batch],
        Some(lengths) if lengths.len() == batch => {
            let mut found = Vec::with_capacity(batch);
            for length in lengths {
                match usize::try_from(*length) {
                    Ok(length) if length <= steps => found.push(length),
                    _ => return unfit(format!("a sequence's length is {length}; expected 0 to {steps}")),
                }
            }
            found
        }
        Some(lengths) => return unfit(format!("{} lengths are given for {batch} sequences", lengths.len())),
    };
    let biases = optional::<T>(arguments, 3, directions * 2 * rows, "the bias")?;
    let mut states = initial::<T>(plan, arguments, 5, sizes, context)?;
    let is_lstm = matches!(plan.kind, Kind::Lstm { .. });
    let mut memories = if is_lstm { initial::<T>(plan, arguments, 6, sizes, context)? } else { Vec::new() };
    let peepholes =
        if is_lstm { optional::<T>(arguments, 7, directions * 3 * hidden, "the peepholes")? } else { None };
    let shape = [steps, directions, batch, hidden];
    let count = context.reserve(T::TYPE, &shape)?;
    let mut outputs = vec![T::ZERO; count];
    let per_direction = plan.activations.len() / directions;
    let none = vec![T::ZERO; 2 * rows];
    for (direction, reversed) in plan.reversed.iter().enumerate() {
        let bias = biases.as_ref().map_or(none.as_slice(), |all| &all[direction * 2 * rows..][..2 * rows]);
        let cell = Cell {
            kind: plan.kind,
            size: hidden,
            activations: &plan.activations[direction * per_direction..][..per_direction],
            clip: plan.clip.map(|clip| T::from_f64(clip.into())),
            recurrent_bias: &bias[rows..],
            peepholes: peepholes.as_ref().map_or(&[][..], |all| &all[direction * 3 * hidden..][..3 * hidden]),
        };
        let width = batch * hidden;
        let mut pass = Pass {
            sizes,
            direction,
            reversed: *reversed,
            lengths: &lengths,
            state: &mut states[direction * width..][..width],
            memory: if is_lstm { &mut memories[direction * width..][..width] } else { &mut [] },
            outputs: &mut outputs,
        };
        let weights = &values_of::<T>(weights)?[direction * rows * sizes.input..][..rows * sizes.input];
        let recurrence = &values_of::<T>(recurrence)?[direction * rows * hidden..][..rows * hidden];
        pass.run(&cell, values_of(&sequences)?, weights, recurrence, bias, context)?;
    }
    finish(plan, sizes, outputs, states, memories, context)
}

/// The outputs in the node's layout.
fn finish<T: Real>(
    plan: &Plan,
    sizes: Sizes,
    outputs: Vec<T>,
    states: Vec<T>,
    memories: Vec<T>,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let Sizes { steps, batch, hidden, directions, .. } = sizes;
    let mut results = vec![tensor_of([steps, directions, batch, hidden], outputs)?];
    results.push(tensor_of([directions, batch, hidden], states)?);
    if matches!(plan.kind, Kind::Lstm { .. }) {
        results.push(tensor_of([directions, batch, hidden], memories)?);
    }
    if !plan.batch_first {
        return Ok(results);
    }
    results
        .iter()
        .map(|tensor| {
            let order: &[usize] = if tensor.rank() == 4 { &[2, 0, 1, 3] } else { &[1, 0, 2] };
            View::transposed(tensor.shape(), order).copy(tensor, context)
        })
        .collect()
}

/// One direction over all sequences.
struct Pass<'a, T> {
    sizes: Sizes,
    direction: usize,
    reversed: bool,
    lengths: &'a [usize],
    state: &'a mut [T],
    memory: &'a mut [T],
    outputs: &'a mut [T],
}

impl<T: Real> Pass<'_, T> {
    fn run(
        &mut self,
        cell: &Cell<'_, T>,
        sequences: &[T],
        weights: &[T],
        recurrence: &[T],
        bias: &[T],
        context: &Context<'_>,
    ) -> Result<(), OperatorError> {
        let Sizes { steps, batch, input, hidden, directions, rows } = self.sizes;
        // The inputs' parts of all gates at once, with both biases but that of a GRU's
        // hidden gate's recurrence, which the reset gate may come between.
        let weights = View::transposed(&[rows, input], &[1, 0]).copy_values(weights, context)?;
        let recurrence = View::transposed(&[rows, hidden], &[1, 0]).copy_values(recurrence, context)?;
        let apart = if matches!(cell.kind, Kind::Gru { .. }) { 2 * hidden } else { rows };
        let start: Vec<T> =
            (0..rows).map(|row| if row < apart { bias[row] + bias[rows + row] } else { bias[row] }).collect();
        let count = context.reserve(T::TYPE, &[steps + 1, batch, rows])?;
        let mut parts = Vec::with_capacity(count);
        for _ in 0..steps * batch {
            parts.extend_from_slice(&start);
        }
        add_product(sequences, &weights, &mut parts, steps * batch, input, rows);
        let mut recurrent = vec![T::ZERO; batch * rows];
        let mut gates = vec![T::ZERO; rows];
        for step in 0..steps {
            context.check()?;
            if self.lengths.iter().all(|length| step >= *length) {
                break;
            }
            recurrent.fill(T::ZERO);
            add_product(self.state, &recurrence, &mut recurrent, batch, hidden, rows);
            for sequence in 0..batch {
                let length = self.lengths[sequence];
                if step >= length {
                    continue;
                }
                let time = if self.reversed { length - 1 - step } else { step };
                let part = &parts[(time * batch + sequence) * rows..][..rows];
                let own = &mut recurrent[sequence * rows..][..rows];
                for (place, gate) in gates.iter_mut().enumerate() {
                    *gate = if place < apart { part[place] + own[place] } else { part[place] };
                }
                let state = &mut self.state[sequence * hidden..][..hidden];
                match cell.kind {
                    Kind::Plain => cell.plain(&gates, state),
                    Kind::Lstm { coupled } => {
                        let memory = &mut self.memory[sequence * hidden..][..hidden];
                        cell.lstm(&gates, state, memory, coupled);
                    }
                    Kind::Gru { linear_before_reset } => {
                        cell.update_and_reset(&mut gates);
                        let reset = &gates[hidden..2 * hidden];
                        let bias = &cell.recurrent_bias[apart..];
                        let mut part: Vec<T> = own[apart..].to_vec();
                        if linear_before_reset {
                            for (place, value) in part.iter_mut().enumerate() {
                                *value = reset[place] * (*value + bias[place]);
                            }
                        } else {
                            let scaled: Vec<T> = state.iter().zip(reset).map(|(a, b)| *a * *b).collect();
                            part.copy_from_slice(bias);
                            for (source, row) in scaled.iter().zip(recurrence.chunks_exact(rows)) {
                                for (value, weight) in part.iter_mut().zip(&row[apart..]) {
                                    *value += *source * *weight;
                                }
                            }
                        }
                        cell.gru(&gates, &part, state);
                    }
                }
                let place = ((time * directions + self.direction) * batch + sequence) * hidden;
                self.outputs[place..place + hidden].copy_from_slice(state);
            }
        }
        Ok(())
    }
}
