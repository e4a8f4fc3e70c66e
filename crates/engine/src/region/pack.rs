//! Puts the weights of a region in the order in which kernels take them.

use std::{cmp::Reverse, collections::HashSet};

use super::{
    byte_convolution::pack_weights,
    draft::{Draft, Drafts},
    recognize::{Convolution, Dynamic, Form, Kind, Way},
    step::{Dynamics, Flow, Step, Value, Work},
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
        inputs: drafts.inputs.iter().map(|value| (*value, whole_pixels.contains(value))).collect(),
        channels: drafts.channels,
        narrow: drafts.narrow,
        outputs: drafts.outputs,
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
            let padded = count.div_ceil(BLOCK) * BLOCK;
            let (factors, summands) = (0..padded)
                .map(|channel| if channel < count { scale.of(channel) } else { (1.0, 0.0) })
                .map(|(factor, summand)| (factor as f32, summand as f32))
                .unzip();
            Work::Channels { factors, summands, activation: after }
        }
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

fn pack_convolution(
    convolution: &Convolution,
    numbers: Numbers<'_>,
    level: Level,
    whole: bool,
    (activation, after): (Activation, Activation),
    arena: &mut Arena,
) -> Result<Work, PackError> {
    let Convolution { kind, shape, settings, bias, scale, way, .. } = convolution;
    let (kind, shape, settings) = (*kind, *shape, settings.clone());
    let unfit = || {
        PackError::Unfit(
            "the weights of a convolution have another size than its node says, or there is no memory for them",
        )
    };
    let outputs = if kind == Kind::Spread { shape[1] } else { shape[0] };
    let biases: Option<Vec<f32>> = (bias.is_some() || !scale.factors.is_empty()).then(|| {
        (0..outputs)
            .map(|output| {
                let own = bias.as_ref().and_then(|bias| bias.get(output)).copied().unwrap_or(0.0);
                let (factor, summand) = scale.of(output);
                (f64::from(own) * factor + summand) as f32
            })
            .collect()
    });
    if numbers.len() != shape.iter().product::<usize>() {
        return Err(unfit());
    }
    if kind == Kind::Spread {
        let [inputs, _, rows, columns] = shape;
        let values = numbers.to_vec();
        let mut places = Vec::with_capacity(rows * columns);
        for place in 0..rows * columns {
            let mut weights = vec![0.0; outputs * inputs];
            for (number, window) in values.chunks_exact(rows * columns).enumerate() {
                let (input, output) = (number / outputs, number % outputs);
                let (factor, _) = scale.of(output);
                weights[output * inputs + input] = (f64::from(window[place]) * factor) as f32;
            }
            let shape = [outputs, inputs, 1, 1];
            let (given, bias) = (Given::plain(&weights), biases.as_deref());
            let words = (level, bfloat::Form::Single);
            let filters = Filters::new(words, given, shape, 1, bias, Reading::Blocks, arena);
            places.push(filters.ok_or_else(unfit)?);
        }
        return Ok(Work::Spread { places, times: [rows, columns], after });
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
            let filters = Filters::new((level, form), weights, shape, groups, bias, reading, arena);
            Work::Convolution { filters: filters.ok_or_else(unfit)?, settings, activation, after }
        }
        Kind::Spread | Kind::Depthwise => {
            let sizes = [shape[0], shape[2], shape[3]];
            let windows = Windows::new(level, weights, sizes, biases.as_deref(), arena);
            Work::Depthwise { windows: windows.ok_or_else(unfit)?, settings, activation, after }
        }
    })
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
