//! `DynamicQuantizeLSTM` of `com.microsoft`: an LSTM with quantised weights, whose
//! inputs and states are quantised as they come.

use super::{
    dynamic::{fitting_scale, quantize},
    matmul::Stacks,
    number::{Bytes, byte_type, check_same_type, integers, singles},
    scales::Each,
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
    },
    tensor::{ElementType, Tensor, Value, ValueType},
};

/// Which way a sequence is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward,
    Backward,
}

#[derive(Debug)]
struct Lstm {
    directions: Vec<Direction>,
    hidden: usize,
    /// Gates are kept within this distance of 0 before their activations.
    clip: Option<f32>,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 12..=12, 3)?;
    let attributes = definition.attributes;
    let directions = match attributes.text("direction")? {
        None | Some("forward") => vec![Direction::Forward],
        Some("reverse") => vec![Direction::Backward],
        Some("bidirectional") => vec![Direction::Forward, Direction::Backward],
        Some(other) => {
            return Err(Refusal::new(format!(
                "the attribute direction is {other:?}, which ONNX does not know"
            )));
        }
    };
    let usual = ["sigmoid", "tanh", "tanh"].repeat(directions.len());
    let activations = attributes.texts("activations")?.unwrap_or_default();
    let is_usual = |(name, usual): (&crate::tensor::Text, &&str)| name.eq_ignore_ascii_case(usual.as_bytes());
    if !activations.is_empty()
        && (activations.len() != usual.len() || !activations.iter().zip(&usual).all(is_usual))
    {
        return Err(Refusal::new("only the activations Sigmoid, Tanh, Tanh are computed"));
    }
    if attributes.integer("input_forget")?.unwrap_or(0) != 0 {
        return Err(Refusal::new("coupled input and forget gates (input_forget) are not computed"));
    }
    let hidden = attributes.integer("hidden_size")?.unwrap_or(0);
    let hidden = usize::try_from(hidden)
        .ok()
        .filter(|hidden| (1..=1 << 24).contains(hidden))
        .ok_or_else(|| Refusal::new(format!("the attribute hidden_size is {hidden}")))?;
    for index in [0, 3, 5, 6, 7, 8, 10] {
        check_same_type(definition, index, ElementType::Float)?;
    }
    check_same_type(definition, 4, ElementType::Int32)?;
    for (weights, zero_point) in [(1, 9), (2, 11)] {
        check_same_type(definition, zero_point, byte_type(definition, weights)?)?;
    }
    if [0, 8, 9, 10, 11].iter().any(|index| !definition.has_input(*index)) {
        return Err(Refusal::new("an input that must be there is left out"));
    }
    let types = vec![ValueType::Tensor(ElementType::Float); 3];
    let clip = attributes.float("clip")?.filter(|clip| *clip > 0.0);
    Ok(Built { operator: Box::new(Lstm { directions, hidden, clip }), types })
}

/// Quantised weights of one direction, `[depth, 4 * hidden]`.
struct Weights<'a> {
    bytes: Bytes<'a>,
    scales: Each<f32>,
    zero_points: Each<i32>,
    depth: usize,
    columns: usize,
}

impl<'a> Weights<'a> {
    fn new(
        (weights, scales, zero_points): (&'a Tensor, &Tensor, &Tensor),
        (direction, directions): (usize, usize),
        (depth, columns): (usize, usize),
    ) -> Result<Self, OperatorError> {
        if weights.shape() != [directions, depth, columns] {
            return Err(OperatorError::inputs(format!(
                "weights have the shape {:?}; [{directions}, {depth}, {columns}] is expected",
                weights.shape()
            )));
        }
        fn own<T: Copy>(values: &[T], direction: usize, directions: usize) -> Vec<T> {
            let count = values.len() / directions;
            values[direction * count..(direction + 1) * count].to_vec()
        }
        let (scales, zero_points) = (singles(scales)?, integers(zero_points)?);
        if !scales.len().is_multiple_of(directions) || !zero_points.len().is_multiple_of(directions) {
            return Err(OperatorError::inputs("scales and zero points are not as many for each direction"));
        }
        Ok(Self {
            bytes: Bytes::new(weights)?.part(direction * depth * columns, depth * columns),
            scales: Each::new("a scale", own(&scales, direction, directions), columns)?,
            zero_points: Each::new("a zero point", own(&zero_points, direction, directions), columns)?,
            depth,
            columns,
        })
    }

    /// The product of rows, quantised together, with the weights.
    fn multiply(&self, rows: &[f32], context: &Context<'_>) -> Result<Vec<f32>, OperatorError> {
        let scale = fitting_scale(rows);
        let quantized = quantize(rows, scale);
        let count = rows.len().checked_div(self.depth).unwrap_or(0);
        let stacks = Stacks::new(&[count, self.depth], &[self.depth, self.columns])?;
        let left_zero_point = Each::same(scale.zero_point);
        let left = (Bytes::Unsigned(&quantized), &left_zero_point);
        let sums = stacks.multiply(left, (self.bytes, &self.zero_points), context)?;
        let real =
            |(index, sum): (usize, &i32)| *sum as f32 * (scale.scale * self.scales.of(index % self.columns));
        Ok(sums.iter().enumerate().map(real).collect())
    }
}

/// The sizes of a run.
#[derive(Clone, Copy)]
struct Sizes {
    steps: usize,
    batch: usize,
    inputs: usize,
}

/// The inputs that are not quantised weights.
struct Rest {
    bias: Option<Tensor>,
    lengths: Vec<usize>,
    hidden: Option<Tensor>,
    cell: Option<Tensor>,
    peepholes: Option<Tensor>,
}

/// The part of a tensor for one direction; `None` if the tensor was left out.
fn own_part(
    tensor: Option<&Tensor>,
    (direction, directions): (usize, usize),
    count: usize,
) -> Result<Option<&[f32]>, OperatorError> {
    let Some(tensor) = tensor else { return Ok(None) };
    if tensor.len() != directions * count {
        return Err(OperatorError::inputs(format!(
            "an input has {} elements; {} are expected",
            tensor.len(),
            directions * count
        )));
    }
    Ok(Some(&values::<f32>(tensor)?[direction * count..(direction + 1) * count]))
}

fn sigmoid(value: f32) -> f32 {
    1.0 / (1.0 + (-value).exp())
}

impl Lstm {
    fn clipped(&self, value: f32) -> f32 {
        self.clip.map_or(value, |clip| value.clamp(-clip, clip))
    }

    /// Runs one direction. `outputs` is `[steps, directions, batch, hidden]`; gives the
    /// last hidden and cell states.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one direction, which nothing else holds together"
    )]
    fn run_direction(
        &self,
        index: usize,
        sizes: Sizes,
        input: &[f32],
        (weights, recurrence): (&Weights<'_>, &Weights<'_>),
        rest: &Rest,
        outputs: &mut [f32],
        context: &Context<'_>,
    ) -> Result<(Vec<f32>, Vec<f32>), OperatorError> {
        let (count, size) = ((index, self.directions.len()), self.hidden);
        let bias = own_part(rest.bias.as_ref(), count, 8 * size)?;
        let peepholes = own_part(rest.peepholes.as_ref(), count, 3 * size)?;
        let states = sizes.batch * size;
        let initial = |tensor: &Option<Tensor>| {
            own_part(tensor.as_ref(), count, states)
                .map(|part| part.map_or_else(|| vec![0.0; states], <[f32]>::to_vec))
        };
        let (mut hidden, mut cell) = (initial(&rest.hidden)?, initial(&rest.cell)?);
        let mut last = hidden.clone();
        let longest = rest.lengths.iter().copied().max().unwrap_or(0);
        let projected = weights.multiply(&input[..longest * sizes.batch * sizes.inputs], context)?;
        for step in 0..longest {
            context.check()?;
            let recurrent = recurrence.multiply(&hidden, context)?;
            for (row, length) in rest.lengths.iter().enumerate().filter(|(_, length)| step < **length) {
                let time = match self.directions[index] {
                    Direction::Forward => step,
                    Direction::Backward => length - 1 - step,
                };
                let projected = &projected[(time * sizes.batch + row) * 4 * size..][..4 * size];
                let recurrent = &recurrent[row * 4 * size..][..4 * size];
                let place = ((time * count.1 + index) * sizes.batch + row) * size;
                for unit in 0..size {
                    // The gates lie in the order input, output, forget, cell.
                    let gate = |gate: usize| {
                        let column = gate * size + unit;
                        let biases = bias.map_or(0.0, |bias| bias[column] + bias[4 * size + column]);
                        projected[column] + recurrent[column] + biases
                    };
                    let peep =
                        |gate: usize, cell: f32| peepholes.map_or(0.0, |all| all[gate * size + unit] * cell);
                    let state = row * size + unit;
                    let before = cell[state];
                    let input_gate = sigmoid(self.clipped(gate(0) + peep(0, before)));
                    let forget_gate = sigmoid(self.clipped(gate(2) + peep(2, before)));
                    let candidate = self.clipped(gate(3)).tanh();
                    let after = forget_gate * before + input_gate * candidate;
                    let output_gate = sigmoid(self.clipped(gate(1) + peep(1, after)));
                    cell[state] = after;
                    hidden[state] = output_gate * after.tanh();
                    outputs[place + unit] = hidden[state];
                }
            }
            // The step behind its end still sees a sequence's last state; from the next on
            // the state counts as zeros where states are quantised together.
            for (row, length) in rest.lengths.iter().enumerate() {
                let own = row * size..(row + 1) * size;
                if *length == step + 1 {
                    last[own.clone()].copy_from_slice(&hidden[own.clone()]);
                }
                if *length <= step {
                    hidden[own].fill(0.0);
                }
            }
        }
        Ok((last, cell))
    }
}

impl Operator for Lstm {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let input = operands.tensor(0)?;
        let [steps, batch, width] = *input.shape() else {
            return Err(OperatorError::inputs(format!(
                "the input has the shape {:?}; three dimensions are expected",
                input.shape()
            )));
        };
        if width == 0 {
            return Err(OperatorError::inputs("the input has no features"));
        }
        let sizes = Sizes { steps, batch, inputs: width };
        // States, and the length of each sequence.
        context.reserve(ElementType::Float, &[4, self.directions.len(), batch, self.hidden])?;
        context.reserve(ElementType::Int64, &[batch])?;
        let (weights, recurrence) = (operands.tensor(1)?, operands.tensor(2)?);
        let parameters = [8, 9, 10, 11].map(|index| operands.tensor(index));
        let [weight_scales, weight_zero_points, recurrence_scales, recurrence_zero_points] = parameters;
        let (weight_scales, weight_zero_points) = (weight_scales?, weight_zero_points?);
        let (recurrence_scales, recurrence_zero_points) = (recurrence_scales?, recurrence_zero_points?);
        let lengths = match operands.optional_tensor(4)? {
            None => vec![sizes.steps; sizes.batch],
            Some(lengths) => values::<i32>(&lengths)?
                .iter()
                .map(|length| usize::try_from(*length).ok().filter(|length| *length <= sizes.steps))
                .collect::<Option<Vec<_>>>()
                .filter(|lengths| lengths.len() == sizes.batch)
                .ok_or_else(|| OperatorError::inputs("sequence_lens does not fit the input"))?,
        };
        let rest = Rest {
            bias: operands.optional_tensor(3)?,
            lengths,
            hidden: operands.optional_tensor(5)?,
            cell: operands.optional_tensor(6)?,
            peepholes: operands.optional_tensor(7)?,
        };
        let directions = self.directions.len();
        let shape = [sizes.steps, directions, sizes.batch, self.hidden];
        let mut outputs = vec![0.0_f32; context.reserve(ElementType::Float, &shape)?];
        let (mut last_hidden, mut last_cell) = (Vec::new(), Vec::new());
        let input = values::<f32>(&input)?;
        for index in 0..directions {
            let (place, columns) = ((index, directions), 4 * self.hidden);
            let own = (&weights, &weight_scales, &weight_zero_points);
            let own_weights = Weights::new(own, place, (sizes.inputs, columns))?;
            let own = (&recurrence, &recurrence_scales, &recurrence_zero_points);
            let own_recurrence = Weights::new(own, place, (self.hidden, columns))?;
            let matrices = (&own_weights, &own_recurrence);
            let (hidden, cell) =
                self.run_direction(index, sizes, input, matrices, &rest, &mut outputs, context)?;
            last_hidden.extend(hidden);
            last_cell.extend(cell);
        }
        let states = [directions, sizes.batch, self.hidden];
        Ok(vec![output(shape, outputs)?, output(states, last_hidden)?, output(states, last_cell)?])
    }
}
