//! Passes over the steps of a region of quantised numbers. Each leaves its answers as they are, to the last
//! bit.

use std::collections::{HashMap, HashSet};

use super::{
    super::step::Value,
    draft::{Draft, Drafts},
    recognize::{Form, Part},
};
use adytum_kernels::{
    integer::{elementwise::Function, finish::Addition},
    layout::Channels,
};

/// All passes.
pub(crate) fn fuse(drafts: &mut Drafts) {
    join_tables(drafts);
    fuse_sums(drafts);
    separate_borders(drafts);
}

/// A table of what a table gives is one table.
fn join_tables(drafts: &mut Drafts) {
    let uses = drafts.uses();
    let makers = drafts.makers();
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(Draft { form, inputs, .. }) = drafts.steps.get(index) else { break };
        let Some(value) = inputs.first().copied().filter(|value| uses.get(value.0) == Some(&1)) else {
            continue;
        };
        let Some(maker) = makers.get(&value).copied() else { continue };
        let Some(before) = drafts.steps.get(maker) else { continue };
        let (Some(joined), inputs) = (joined(&before.form, form), before.inputs.clone()) else { continue };
        if let Some(place) = drafts.steps.get_mut(index) {
            (place.form, place.inputs) = (joined, inputs);
        }
        gone.insert(maker);
    }
    drop_steps(drafts, &gone);
}

/// Two tables, one after the other, as one.
fn joined(first: &Form, second: &Form) -> Option<Form> {
    let both = |first: &[u8; 256], second: &[u8; 256]| {
        first.map(|byte| second.get(usize::from(byte)).copied().unwrap_or(byte))
    };
    Some(match (first, second) {
        (Form::Table(first), Form::Table(second)) => Form::Table(Box::new(both(first, second))),
        (Form::Table(first), Form::Tables(second)) => {
            Form::Tables(second.iter().map(|second| both(first, second)).collect())
        }
        (Form::Tables(first), Form::Table(second)) => {
            Form::Tables(first.iter().map(|first| both(first, second)).collect())
        }
        (Form::Tables(first), Form::Tables(second)) if first.len() == second.len() => {
            Form::Tables(first.iter().zip(second).map(|(first, second)| both(first, second)).collect())
        }
        _ => return None,
    })
}

/// Leaves steps out.
fn drop_steps(drafts: &mut Drafts, gone: &HashSet<usize>) {
    let mut index = 0;
    drafts.steps.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
}

/// The sum of a convolution and an image is the convolution's own work.
fn fuse_sums(drafts: &mut Drafts) {
    let uses = drafts.uses();
    let mut gone = HashSet::new();
    let mut makers = drafts.makers();
    for index in 0..drafts.steps.len() {
        let Some(sum) = drafts.steps.get(index) else { break };
        let (Form::Pair { function: Function::Add(addition), is_pixel: false }, &[left, right]) =
            (&sum.form, sum.inputs.as_slice())
        else {
            continue;
        };
        let (addition, output) = (*addition, sum.output);
        if left == right {
            continue;
        }
        let candidate = |value: Value| -> Option<usize> {
            let maker = *makers.get(&value)?;
            let step = drafts.steps.get(maker)?;
            let is_free = matches!(step.form, Form::Convolution(_))
                && step.addition.is_none()
                && uses.get(value.0) == Some(&1)
                && !gone.contains(&maker);
            is_free.then_some(maker)
        };
        // The later one: what it adds is there then.
        let chosen = [(left, right, true), (right, left, false)]
            .into_iter()
            .filter_map(|(value, other, is_first)| Some((candidate(value)?, other, is_first)))
            .max_by_key(|(maker, ..)| *maker);
        let Some((maker, other, is_first)) = chosen else { continue };
        let Some(mut fused) = drafts.steps.get(maker).cloned() else { continue };
        fused.addition = Some((other, Addition { is_first, ..addition }));
        fused.output = output;
        // It comes in the place of the sum.
        if let Some(place) = drafts.steps.get_mut(index) {
            *place = fused;
        }
        makers.insert(output, index);
        gone.insert(maker);
    }
    drop_steps(drafts, &gone);
}

/// A convolution reads the zero point of its input around the image. A value that convolutions read with
/// different zero points is copied.
fn separate_borders(drafts: &mut Drafts) {
    let mut bytes: HashMap<Value, u8> = HashMap::new();
    let mut index = 0;
    while let Some(Draft { form, inputs, .. }) = drafts.steps.get(index) {
        if let (Form::Convolution(convolution), Some(input)) = (form, inputs.first().copied()) {
            let zero_point = convolution.from;
            if *bytes.entry(input).or_insert(zero_point) != zero_point {
                let count = drafts.channels.get(input.0).copied().unwrap_or(0);
                let copy = drafts.value(count);
                let part = Part { runs: vec![Channels { from: 0, to: 0, count }], table: None };
                let form = Form::Copy(vec![part]);
                if let Some(input) = drafts.steps.get_mut(index).and_then(|step| step.inputs.first_mut()) {
                    *input = copy;
                }
                let step = Draft { form, inputs: vec![input], output: copy, addition: None };
                drafts.steps.insert(index, step);
                bytes.insert(copy, zero_point);
                index += 1;
            }
        }
        index += 1;
    }
}
