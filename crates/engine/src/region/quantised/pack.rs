//! Puts the weights of a region of quantised numbers in the order in which kernels take them.

use super::{
    super::{
        byte_convolution::{Convolution, Packed, pack_weights},
        pack::PackError,
        step::Value,
    },
    draft::{Draft, Drafts},
    recognize::Form,
    step::{Entry, Flow, Step, Work},
};
use crate::{
    onnx::{OnnxError, model::ValueId},
    tensor::Tensor,
};
use adytum_kernels::{
    BLOCK,
    integer::{GROUP, Instructions, Reading, finish::Finish},
};

/// Gives the weights of a model away, one after the other.
pub(crate) trait Weights {
    /// The weights. Nobody else in the region takes them again.
    fn take(&mut self, value: ValueId) -> Result<Option<Tensor>, OnnxError>;
}

/// The region, ready to run.
pub(crate) fn pack(
    drafts: Drafts,
    instructions: Instructions,
    weights: &mut dyn Weights,
) -> Result<Flow, PackError> {
    let whole = |value: Value| {
        let mut taken = false;
        let fits = drafts.steps.iter().all(|step| {
            let takes = step.inputs.contains(&value);
            taken |= takes;
            let added = step.addition.is_some_and(|(other, _)| other == value);
            !added && (!takes || reads_few(&step.form))
        });
        fits && taken && !drafts.exits.iter().any(|exit| exit.value == value)
    };
    let entries: Vec<Entry> = drafts
        .entries
        .iter()
        .map(|(value, passage)| Entry { value: *value, passage: *passage, is_whole: whole(*value) })
        .collect();
    let mut steps = Vec::with_capacity(drafts.steps.len());
    for draft in drafts.steps {
        let is_whole = draft
            .inputs
            .first()
            .is_some_and(|input| entries.iter().any(|entry| entry.value == *input && entry.is_whole));
        steps.push(step(draft, instructions, is_whole, weights)?);
    }
    Ok(Flow { channels: drafts.channels, entries, exits: drafts.exits, steps })
}

/// Whether a step is a convolution that can read all of a few channels at once.
fn reads_few(form: &Form) -> bool {
    match form {
        Form::Convolution(convolution) => convolution.groups == 1 && convolution.shape[1] <= GROUP,
        _ => false,
    }
}

fn step(
    draft: Draft,
    instructions: Instructions,
    is_whole: bool,
    weights: &mut dyn Weights,
) -> Result<Step, PackError> {
    let Draft { form, mut inputs, output, addition } = draft;
    inputs.extend(addition.map(|(value, _)| value));
    let addition = addition.map(|(_, addition)| addition);
    let mut zero_point = 0;
    let work = match form {
        Form::Convolution(convolution) => {
            zero_point = convolution.from;
            let tensor = weights
                .take(convolution.weights)
                .map_err(PackError::Onnx)?
                .ok_or(PackError::Unfit("the weights of a convolution are gone"))?;
            let finish = Finish { zero_point: convolution.to, addition };
            pack_convolution(convolution, &tensor, instructions, is_whole, finish).ok_or(PackError::Unfit(
                "the weights of a convolution have another size than its node says",
            ))?
        }
        Form::Maximum { settings, window } => Work::Maximum { settings, window },
        Form::Mean { settings, window, with_pads, from, to, is_signed } => {
            Work::Mean { settings, window, with_pads, from, to, is_signed }
        }
        Form::GlobalMean { from, to } => Work::GlobalMean { from, to },
        Form::Pair { function, is_pixel } => Work::Pair { function, is_pixel },
        Form::Copy(parts) => Work::Copy(parts),
        Form::Table(table) => Work::Table(table),
        Form::Tables(mut tables) => {
            tables.resize(tables.len().next_multiple_of(BLOCK), [0; 256]);
            Work::Tables(tables)
        }
        Form::Repeat(times) => Work::Repeat(times),
        Form::Quantise(_) | Form::Dequantise(_) | Form::Same | Form::Absorbed => {
            return Err(PackError::Unfit("what enters or leaves is a step"));
        }
    };
    Ok(Step { work, inputs, output, zero_point })
}

fn pack_convolution(
    convolution: Convolution,
    tensor: &Tensor,
    instructions: Instructions,
    is_whole: bool,
    finish: Finish,
) -> Option<Work> {
    let reading = if is_whole { Reading::Whole } else { Reading::Blocks };
    let packed = pack_weights(&convolution, tensor, instructions, reading)?;
    let settings = convolution.settings;
    Some(match packed {
        Packed::Filters(filters) => Work::Convolution { filters, settings, finish },
        Packed::Windows(windows) => Work::Depthwise { windows, settings, finish },
    })
}
