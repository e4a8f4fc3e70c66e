//! `QAttention` of `com.microsoft`: attention whose projection is quantised.

use super::{
    matmul::{Stacks, each_scale},
    number::{Bytes, byte_type, check_same_type},
    scales::{Each, Scale, check_scale, each_zero_point},
};
use crate::{
    operators::{
        Built, Context, Definition, Operator, OperatorError, Refusal,
        operands::{Operands, check_arity, output, values},
    },
    tensor::{ElementType, Tensor, Value, ValueType},
};

#[derive(Debug)]
struct Attention {
    heads: usize,
    /// Whether a position sees only those before it.
    is_causal: bool,
    /// The number to add to the score of a position that is masked.
    masked: f32,
}

pub(super) fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    check_arity(definition, 5..=9, 2)?;
    check_same_type(definition, 6, byte_type(definition, 0)?)?;
    check_same_type(definition, 7, byte_type(definition, 1)?)?;
    for index in [2, 3, 4, 8] {
        check_same_type(definition, index, ElementType::Float)?;
    }
    check_scale(definition, 3)?;
    check_scale(definition, 4)?;
    check_same_type(definition, 5, ElementType::Int32)?;
    let attributes = definition.attributes;
    let heads = attributes.integer("num_heads")?.unwrap_or(0);
    let heads = usize::try_from(heads)
        .ok()
        .filter(|heads| *heads > 0)
        .ok_or_else(|| Refusal::new(format!("the attribute num_heads is {heads}; at least 1 is expected")))?;
    if attributes.integer("do_rotary")?.unwrap_or(0) != 0 {
        return Err(Refusal::new("rotary embedding (do_rotary) is not computed"));
    }
    if definition.outputs > 1 && !definition.has_input(8) {
        return Err(Refusal::new("the second output needs the input past"));
    }
    let attention = Attention {
        heads,
        is_causal: attributes.integer("unidirectional")?.unwrap_or(0) != 0,
        masked: attributes.float("mask_filter_value")?.unwrap_or(-10000.0),
    };
    Ok(Built { operator: Box::new(attention), types: vec![ValueType::Tensor(ElementType::Float); 2] })
}

/// The sizes of a run.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    /// The number of new positions.
    length: usize,
    /// Positions of the past.
    past: usize,
    hidden: usize,
    /// The width of a head.
    head: usize,
}

impl Sizes {
    fn total(self) -> usize {
        self.past + self.length
    }
}

/// Which positions of each sequence are masked.
enum Mask {
    None,
    /// The first position and the one behind the last that are not, by sequence.
    Ranges(Vec<(usize, usize)>),
    /// `[batch, total]`: 0 is masked.
    Positions(Vec<i32>),
}

impl Mask {
    fn new(mask: Option<&Tensor>, sizes: Sizes) -> Result<Self, OperatorError> {
        let Some(mask) = mask else { return Ok(Self::None) };
        let numbers = values::<i32>(mask)?;
        let bound = |number: &i32| usize::try_from(*number).unwrap_or(0);
        match mask.shape() {
            [count] if *count == sizes.batch => {
                Ok(Self::Ranges(numbers.iter().map(|end| (0, bound(end))).collect()))
            }
            [count] if *count == 2 * sizes.batch => {
                let (ends, starts) = numbers.split_at(sizes.batch);
                Ok(Self::Ranges(
                    starts.iter().zip(ends).map(|(start, end)| (bound(start), bound(end))).collect(),
                ))
            }
            [rows, columns] if *rows == sizes.batch && *columns == sizes.total() => {
                Ok(Self::Positions(numbers.to_vec()))
            }
            // A mask of one column masks nothing.
            [rows, 1] if *rows == sizes.batch || *rows == 1 => Ok(Self::None),
            other => Err(OperatorError::inputs(format!("a mask of the shape {other:?} is not computed"))),
        }
    }

    fn is_masked(&self, sequence: usize, position: usize, total: usize) -> bool {
        match self {
            Self::None => false,
            Self::Ranges(ranges) => {
                let (start, end) = ranges[sequence];
                position < start || position >= end
            }
            Self::Positions(positions) => positions[sequence * total + position] == 0,
        }
    }
}

impl Attention {
    /// The real queries, keys and values: `[batch * length, 3 * hidden]`.
    fn project(
        operands: &mut Operands,
        input: &Tensor,
        weights: &Tensor,
        context: &Context<'_>,
    ) -> Result<Vec<f32>, OperatorError> {
        let stacks =
            Stacks::new(&[input.len() / weights.shape()[0].max(1), weights.shape()[0]], weights.shape())?;
        let scale = Scale::take(operands, 3, 6)?;
        let scales = each_scale(&operands.tensor(4)?, stacks.columns)?.map(|own| own * scale.scale);
        let zero_points = each_zero_point(operands.optional_tensor(7)?.as_ref(), stacks.columns)?;
        let bias = operands.tensor(2)?;
        if bias.shape() != [stacks.columns] {
            return Err(OperatorError::inputs(format!("the bias has the shape {:?}", bias.shape())));
        }
        let bias = values::<f32>(&bias)?;
        let left = (Bytes::new(input)?, &Each::same(scale.zero_point));
        let sums = stacks.multiply(left, (Bytes::new(weights)?, &zero_points), context)?;
        let columns = stacks.columns.max(1);
        let real =
            |(index, sum): (usize, &i32)| *sum as f32 * scales.of(index % columns) + bias[index % columns];
        Ok(sums.iter().enumerate().map(real).collect())
    }

    /// The attention of one head of one sequence.
    fn attend(
        &self,
        sizes: Sizes,
        query: impl Fn(usize) -> usize,
        projected: &[f32],
        (keys, cached): (&[f32], &[f32]),
        is_masked: impl Fn(usize) -> bool,
        mut write: impl FnMut(usize, &[f32]),
    ) {
        let scale = 1.0 / (sizes.head as f32).sqrt();
        let mut weights = vec![0.0_f32; sizes.total()];
        let mut mean = vec![0.0_f32; sizes.head];
        for position in 0..sizes.length {
            let query = &projected[query(position)..][..sizes.head];
            let mut largest = f32::MIN;
            for (other, weight) in weights.iter_mut().enumerate() {
                let key = &keys[other * sizes.head..][..sizes.head];
                let score: f32 = query.iter().zip(key).map(|(a, b)| a * b).sum();
                *weight = score * scale + if is_masked(other) { self.masked } else { 0.0 };
                if self.is_causal && other > sizes.past + position {
                    *weight = f32::MIN;
                }
                largest = largest.max(*weight);
            }
            let mut sum = 0.0;
            for weight in &mut weights {
                *weight = (*weight - largest).exp();
                sum += *weight;
            }
            mean.fill(0.0);
            for (other, weight) in weights.iter().enumerate() {
                let value = &cached[other * sizes.head..][..sizes.head];
                mean.iter_mut().zip(value).for_each(|(mean, value)| *mean += weight / sum * value);
            }
            write(position, &mean);
        }
    }
}

impl Operator for Attention {
    fn run(&self, inputs: Vec<Option<Value>>, context: &Context<'_>) -> Result<Vec<Value>, OperatorError> {
        let mut operands = Operands::new(inputs);
        let (input, weights) = (operands.tensor(0)?, operands.tensor(1)?);
        let ([batch, length, width], [depth, columns]) = (input.shape(), weights.shape()) else {
            return Err(OperatorError::inputs(
                "an input of three dimensions and weights of two are expected",
            ));
        };
        let hidden = columns / 3;
        if width != depth || hidden * 3 != *columns || !hidden.is_multiple_of(self.heads) || hidden == 0 {
            return Err(OperatorError::inputs(format!(
                "weights of the shape {:?} do not fit an input of the shape {:?} with {} heads",
                weights.shape(),
                input.shape(),
                self.heads
            )));
        }
        let past = operands.optional_tensor(8)?;
        let head = hidden / self.heads;
        let past_length = match past.as_ref().map(Tensor::shape) {
            None => 0,
            Some([2, sequences, heads, past, size])
                if sequences == batch && *heads == self.heads && *size == head =>
            {
                *past
            }
            Some(other) => {
                return Err(OperatorError::inputs(format!("a past of the shape {other:?} does not fit")));
            }
        };
        if past_length.checked_add(*length).is_none() {
            return Err(OperatorError::TooLarge { shape: vec![past_length, *length] });
        }
        let sizes = Sizes { batch: *batch, length: *length, past: past_length, hidden, head };
        let mask = Mask::new(operands.optional_tensor(5)?.as_ref(), sizes)?;
        let projected = Self::project(&mut operands, &input, &weights, context)?;
        let past_values = past.as_ref().map(values::<f32>).transpose()?.unwrap_or_default();

        // Keys, then values: `[2, batch, heads, total, head]`.
        let present_shape = [2, sizes.batch, self.heads, sizes.total(), sizes.head];
        let mut present = Vec::with_capacity(context.reserve(ElementType::Float, &present_shape)?);
        for part in 0..2 {
            for sequence in 0..sizes.batch {
                for head in 0..self.heads {
                    let old = sizes.past * sizes.head;
                    let start = ((part * sizes.batch + sequence) * self.heads + head) * old;
                    present.extend_from_slice(past_values.get(start..start + old).unwrap_or_default());
                    for position in 0..sizes.length {
                        let row = (sequence * sizes.length + position) * 3 * sizes.hidden;
                        let start = row + (part + 1) * sizes.hidden + head * sizes.head;
                        present.extend_from_slice(&projected[start..start + sizes.head]);
                    }
                }
            }
        }
        let shape = [sizes.batch, sizes.length, sizes.hidden];
        let mut attended = vec![0.0_f32; context.reserve(ElementType::Float, &shape)?];
        let step = sizes.total().saturating_mul(sizes.head);
        let (keys, cached) = present.split_at(present.len() / 2);
        for sequence in 0..sizes.batch {
            for head in 0..self.heads {
                context.check()?;
                let start = (sequence * self.heads + head) * step;
                self.attend(
                    sizes,
                    |position| (sequence * sizes.length + position) * 3 * sizes.hidden + head * sizes.head,
                    &projected,
                    (&keys[start..start + step], &cached[start..start + step]),
                    |position| mask.is_masked(sequence, position, sizes.total()),
                    |position, mean| {
                        let place = (sequence * sizes.length + position) * sizes.hidden + head * sizes.head;
                        attended[place..place + sizes.head].copy_from_slice(mean);
                    },
                );
            }
        }
        let mut outputs = vec![output(shape, attended)?];
        if past.is_some() {
            outputs.push(output(present_shape, present)?);
        }
        Ok(outputs)
    }
}
