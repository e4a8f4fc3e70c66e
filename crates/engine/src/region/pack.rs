//! Puts the weights of a region in the order in which kernels take them.

use std::{cmp::Reverse, collections::HashSet};

use super::{
    byte_convolution::pack_weights,
    draft::{Draft, Drafts},
    recognize::{Convolution, Dynamic, Form, Kind, Part, Scale, Way, together},
    step::{Dynamics, Entry, Exit, Flow, Spreading, Step, Value, Work},
    whole_pixels,
};
use crate::{
    onnx::{OnnxError, model::ValueId},
    tensor::Tensor,
};
use adytum_kernels::{
    BLOCK, Level,
    activation::Activation,
    arena::Arena,
    bfloat,
    channels::Mix,
    depthwise::Windows,
    filters::{Filters, Reading},
    integer::{Instructions, Reading as OfBytes},
    weights::{Numbers, Weights as Given},
    winograd::Winograd,
};

/// A region can't be made: a fault of the plan, or of the file.
#[derive(Debug)]
pub(crate) enum PackError {
    /// The file.
    Onnx(OnnxError),
    /// Sizes that do not fit.
    Unfit(&'static str),
}

/// Gives the weights of a model away, one after the other.
pub(crate) trait Weights {
    /// Where weights are in the model's file: those that are further back are to be taken first.
    fn place(&self, value: ValueId) -> usize;

    /// Gives weights to the function that packs them into `arena`. Nobody else in the region takes them again.
    fn take(
        &mut self,
        value: ValueId,
        arena: &mut Arena,
        pack: &mut dyn FnMut(Numbers<'_>, &mut Arena) -> Result<Work, PackError>,
    ) -> Result<Work, PackError>;

    /// Gives weights of bytes away. Nobody else in the region takes them again.
    fn take_bytes(&mut self, value: ValueId) -> Result<Tensor, PackError>;
}

/// The region, ready to run. Its weights are in `arena`.
pub(crate) fn pack(
    drafts: Drafts,
    level: Level,
    weights: &mut dyn Weights,
    arena: &mut Arena,
) -> Result<Flow, PackError> {
    let whole_pixels = whole_pixels::find(&drafts);
    let mut waiting: Vec<(usize, usize, Draft)> = Vec::with_capacity(drafts.steps.len());
    for (index, draft) in drafts.steps.into_iter().enumerate() {
        let place = match &draft.form {
            Form::Convolution(convolution) => weights.place(convolution.weights),
            _ => 0,
        };
        waiting.push((place, index, draft));
    }
    waiting.sort_by_key(|(place, ..)| Reverse(*place));
    let mut steps = Vec::with_capacity(waiting.len());
    for (_, index, draft) in waiting {
        steps.push((index, step(draft, level, &whole_pixels, &drafts.channels, (weights, arena))?));
    }
    steps.sort_by_key(|(index, _)| *index);
    let steps = steps.into_iter().map(|(_, step)| step).collect();
    Ok(Flow {
        inputs: (drafts.inputs.into_iter().zip(drafts.entries))
            .map(|(value, order)| Entry { value, is_whole: whole_pixels.contains(&value), order })
            .collect(),
        channels: drafts.channels,
        narrow: drafts.narrow,
        outputs: (drafts.outputs.into_iter().zip(drafts.exits))
            .map(|(value, order)| Exit { value, order })
            .collect(),
        lines: drafts.lines,
        steps,
    })
}

fn step(
    draft: Draft,
    level: Level,
    whole_pixels: &HashSet<Value>,
    channels: &[usize],
    (weights, arena): (&mut dyn Weights, &mut Arena),
) -> Result<Step, PackError> {
    let Draft { form, mut inputs, output, mut activation, residual, mut after, .. } = draft;
    if residual.is_none() {
        (activation, after) = (Activation::Identity, activation);
    }
    let whole = inputs.first().is_some_and(|input| whole_pixels.contains(input));
    let count = channels.get(output.0).copied().unwrap_or(0);
    let work = match form {
        Form::Convolution(convolution) => {
            inputs.truncate(1);
            inputs.extend(residual);
            weights.take(convolution.weights, arena, &mut |numbers, arena| {
                pack_convolution(&convolution, numbers, level, whole, (activation, after), arena)
            })?
        }
        Form::Dynamic(dynamic) => {
            inputs.truncate(1);
            inputs.extend(residual);
            let tensor = weights.take_bytes(dynamic.convolution.weights)?;
            pack_dynamic(dynamic, &tensor, Instructions::of(level), after).ok_or(PackError::Unfit(
                "the weights of a convolution of bytes have another size than its node says",
            ))?
        }
        Form::Maximum { settings, window } => Work::Maximum { settings, window },
        Form::Mean { settings, window, with_pads } => Work::Mean { settings, window, with_pads },
        Form::GlobalMean => Work::GlobalMean,
        Form::Image(binary) => Work::Image { binary, activation: after },
        Form::Pixel(binary) => Work::Pixel { binary, activation: after },
        Form::Channels(scale) => {
            let (factors, summands) = of_channels(&scale, count);
            Work::Channels { factors, summands, activation: after }
        }
        Form::Normalization { group, epsilon, scale } => {
            let (factors, summands) = of_channels(&scale, count);
            Work::Normalization { group, epsilon, factors, summands, activation: after }
        }
        Form::Resize(resizing) => Work::Resize(resizing),
        Form::Pad(surround) => Work::Pad(surround),
        Form::Activation(activation) => Work::Activation(activation),
        Form::Copy(runs) => {
            let mix = Mix::new(level, &runs, count);
            Work::Copy(mix.ok_or(PackError::Unfit("channels are copied to where there are none"))?)
        }
        Form::Repeat(times) => Work::Repeat(times),
        Form::Sample(steps) => Work::Sample(steps),
        Form::Narrow => Work::Narrow,
    };
    Ok(Step { work, inputs, output })
}

/// Factors and summands of channels, in whole blocks.
fn of_channels(scale: &Scale, count: usize) -> (Vec<f32>, Vec<f32>) {
    (0..count.next_multiple_of(BLOCK))
        .map(|channel| if channel < count { scale.of(channel) } else { (1.0, 0.0) })
        .map(|(factor, summand)| (factor as f32, summand as f32))
        .unzip()
}

fn pack_convolution(
    convolution: &Convolution,
    numbers: Numbers<'_>,
    level: Level,
    whole: bool,
    (activation, after): (Activation, Activation),
    arena: &mut Arena,
) -> Result<Work, PackError> {
    let Convolution { kind, shape, part, settings, bias, scale, way, .. } = convolution;
    let (kind, shape, settings) = (*kind, *shape, settings.clone());
    let unfit = || {
        PackError::Unfit(
            "the weights of a convolution have another size than its node says, or there is no memory for them",
        )
    };
    let outputs = if kind.is_spread() { shape[1] } else { shape[0] };
    let biases: Option<Vec<f32>> = (bias.is_some() || !scale.factors.is_empty()).then(|| {
        (0..outputs)
            .map(|output| {
                let own = bias.as_ref().and_then(|bias| bias.get(output)).copied().unwrap_or(0.0);
                let (factor, summand) = scale.of(output);
                (f64::from(own) * factor + summand) as f32
            })
            .collect()
    });
    let cut;
    let numbers = match part {
        None => numbers,
        Some(part) => {
            cut = part_of_windows(&numbers.to_vec(), shape, part);
            Numbers::Floats(&cut)
        }
    };
    if numbers.len() != shape.iter().product::<usize>() {
        return Err(unfit());
    }
    if let Kind::Spread { before, more } = kind {
        let times: [usize; 2] = settings.strides.as_slice().try_into().map_err(|_| unfit())?;
        let values = numbers.to_vec();
        let mut places = Vec::with_capacity(times[0] * times[1]);
        for place in 0..times[0] * times[1] {
            let place = [place / times[1], place % times[1]];
            let [down, right] =
                [0, 1].map(|axis| Taps::new(shape[axis + 2], times[axis], before[axis], place[axis]));
            let weights = turned_weights(&values, shape, [&down, &right], scale);
            let shape = [outputs, shape[0], down.taps.len(), right.taps.len()];
            let (given, bias) = (Given::plain(&weights), biases.as_deref());
            let words = (level, bfloat::Form::Single);
            let filters = Filters::new(words, given, shape, 1, bias, Reading::Blocks, arena);
            let before = [down.before, right.before];
            places.push(Spreading { filters: filters.ok_or_else(unfit)?, before });
        }
        return Ok(Work::Spread { places, times, more, after });
    }
    let factors =
        if scale.factors.iter().any(|factor| *factor != 1.0) { scale.factors.as_slice() } else { &[] };
    let weights = Given { numbers, factors };
    Ok(match kind {
        Kind::Dense { .. } if *way == Way::Winograd => {
            let winograd = Winograd::new(level, weights, shape, biases.as_deref(), arena);
            Work::Winograd { winograd: winograd.ok_or_else(unfit)?, settings, activation, after }
        }
        Kind::Dense { groups } => {
            let reading = if whole { Reading::Rows } else { Reading::Blocks };
            let form = match (way, reading) {
                (Way::Narrow, Reading::Blocks) => bfloat::Form::of_pairs(level),
                // Tile registers read blocks only.
                (Way::Narrow, Reading::Rows) => bfloat::Form::Pair,
                _ => bfloat::Form::Single,
            };
            let bias = biases.as_deref();
            let filters = dense_filters((level, form), weights, (shape, groups), bias, reading, arena);
            Work::Convolution { filters: filters.ok_or_else(unfit)?, settings, activation, after }
        }
        Kind::Spread { .. } | Kind::Depthwise => {
            let sizes = [shape[0], shape[2], shape[3]];
            let windows = Windows::new(level, weights, sizes, biases.as_deref(), arena);
            Work::Depthwise { windows: windows.ok_or_else(unfit)?, settings, activation, after }
        }
    })
}

/// The weights of a part of each window.
fn part_of_windows(values: &[f32], shape: [usize; 4], part: &Part) -> Vec<f32> {
    let ([.., rows, columns], [_, wide], [top, left]) = (shape, part.window, part.first);
    let windows = values.chunks_exact(part.window[0] * wide);
    let own = windows.flat_map(|window| {
        window.chunks_exact(wide).skip(top).take(rows).flat_map(|row| &row[left..left + columns])
    });
    own.copied().collect()
}

/// The weights of a convolution whose groups may be small.
fn dense_filters(
    words: (Level, bfloat::Form),
    weights: Given<'_>,
    (shape, groups): ([usize; 4], usize),
    bias: Option<&[f32]>,
    reading: Reading,
    arena: &mut Arena,
) -> Option<Filters> {
    let count = together(groups, [shape[1], shape[0].checked_div(groups)?])?;
    if count == 1 {
        return Filters::new(words, weights, shape, groups, bias, reading, arena);
    }
    let numbers = joined_weights(&weights.numbers.to_vec(), shape, groups, count);
    let weights = Given { numbers: Numbers::Floats(&numbers), ..weights };
    let shape = [shape[0], shape[1] * count, shape[2], shape[3]];
    Filters::new(words, weights, shape, groups / count, bias, reading, arena)
}

/// The weights `[output][input][depth][row][column]` of a convolution of volumes, for each depth of the window. `None` if the
/// sizes do not fit, or if there is no memory.
pub(crate) fn slice_filters(
    numbers: Numbers<'_>,
    shape: [usize; 5],
    groups: usize,
    level: Level,
    arena: &mut Arena,
) -> Option<Vec<Filters>> {
    let [outputs, inputs, depth, rows, columns] = shape;
    let (values, size) = (numbers.to_vec(), rows * columns);
    if values.len() != shape.iter().product::<usize>() {
        return None;
    }
    let slice = |number: usize| {
        let windows = values.chunks_exact(depth * size);
        let own: Vec<f32> =
            windows.flat_map(|window| &window[number * size..(number + 1) * size]).copied().collect();
        let words = (level, bfloat::Form::Single);
        let shape = ([outputs, inputs, rows, columns], groups);
        dense_filters(words, Given::plain(&own), shape, None, Reading::Blocks, arena)
    };
    (0..depth).map(slice).collect()
}

/// The weights of groups of which `count` are computed together: those between two groups are zeros.
fn joined_weights(values: &[f32], shape: [usize; 4], groups: usize, count: usize) -> Vec<f32> {
    let [outputs, inputs, rows, columns] = shape;
    let row = inputs * rows * columns;
    let mut joined = vec![0.0; outputs * row * count];
    let targets = joined.chunks_exact_mut(row * count);
    for (output, (target, values)) in targets.zip(values.chunks_exact(row)).enumerate() {
        let place = output / (outputs / groups) % count;
        target[place * row..][..row].copy_from_slice(values);
    }
    joined
}

/// The window, along one dimension, of the outputs of one place of the stride of a transposed convolution. Output `o` is
/// the sum of the inputs `(o + before - k) / stride` by the weights `k`, for each `k` that leaves no rest.
struct Taps {
    /// The weight of each place of the window; `None` for nothing.
    taps: Vec<Option<usize>>,
    /// Inputs before the first one at which the first window begins.
    before: usize,
}

impl Taps {
    fn new(window: usize, stride: usize, before: usize, place: usize) -> Self {
        let (first, skipped) = ((place + before) % stride, (place + before) / stride);
        let own = window.saturating_sub(first).div_ceil(stride);
        let count = own.max(skipped + 1);
        let tap = |place: usize| {
            let weight = first + stride * (count - 1 - place);
            (weight < window).then_some(weight)
        };
        Self { taps: (0..count).map(tap).collect(), before: count - 1 - skipped }
    }
}

/// The weights `[output][input][row][column]` of one place of the stride of a transposed convolution, whose own are
/// `[input][output][row][column]`.
fn turned_weights(values: &[f32], shape: [usize; 4], [down, right]: [&Taps; 2], scale: &Scale) -> Vec<f32> {
    let [inputs, outputs, rows, columns] = shape;
    let mut weights = Vec::with_capacity(outputs * inputs * down.taps.len() * right.taps.len());
    for output in 0..outputs {
        let (factor, _) = scale.of(output);
        for input in 0..inputs {
            let window = &values[(input * outputs + output) * rows * columns..][..rows * columns];
            for row in &down.taps {
                for column in &right.taps {
                    weights.push(match (row, column) {
                        (Some(row), Some(column)) => {
                            (f64::from(window[row * columns + column]) * factor) as f32
                        }
                        _ => 0.0,
                    });
                }
            }
        }
    }
    weights
}

fn pack_dynamic(
    dynamic: Dynamic,
    tensor: &Tensor,
    instructions: Instructions,
    after: Activation,
) -> Option<Work> {
    let Dynamic { convolution, scales, scale } = dynamic;
    let outputs = convolution.shape[0];
    let padded = |number: &dyn Fn(usize) -> f32| -> Vec<f32> {
        let mut numbers: Vec<f32> = (0..outputs).map(number).collect();
        numbers.resize(outputs.next_multiple_of(BLOCK), 0.0);
        numbers
    };
    let weights = pack_weights(&convolution, tensor, instructions, OfBytes::Blocks)?;
    let line = (!scale.factors.is_empty())
        .then(|| [padded(&|output| scale.of(output).0 as f32), padded(&|output| scale.of(output).1 as f32)]);
    let scales = padded(&|output| scales.get(output).or(scales.first()).copied().unwrap_or(f32::NAN));
    let (low, high) = after.bounds()?;
    Some(Work::Dynamic(Box::new(Dynamics {
        weights,
        settings: convolution.settings,
        instructions,
        outputs,
        scales,
        line,
        bounds: [low, high],
    })))
}
