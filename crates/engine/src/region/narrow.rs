//! Chooses the convolutions that are computed in 16-bit floats, and the values that are kept so.
//!
//! A convolution of 16-bit floats takes narrow images only. Between two of them an image stays narrow if every other
//! reader can take it so, too. Any other image is rounded in a step of its own.

use std::collections::{HashMap, HashSet};

use super::{
    draft::{Draft, Drafts},
    recognize::{Convolution, Form, Kind, Way},
    step::Value,
};
use adytum_kernels::{BLOCK, activation::Activation};

/// With fewer input channels an image is read in another way.
const FEWEST: usize = 8;

/// Chooses convolutions and values.
pub(crate) fn choose(drafts: &mut Drafts) {
    for step in &mut drafts.steps {
        if let Form::Convolution(convolution) = &mut step.form
            && fits(convolution)
        {
            convolution.way = Way::Narrow;
        }
    }
    drafts.narrow = values(drafts);
    round_others(drafts);
}

/// Whether the kernels of 16-bit floats take a convolution, and pay for it: they multiply pairs of channels.
fn fits(convolution: &Convolution) -> bool {
    let [outputs, inputs, ..] = convolution.shape;
    matches!(convolution.kind, Kind::Dense { .. })
        && inputs >= FEWEST
        && inputs.is_multiple_of(2)
        && outputs >= BLOCK
}

fn is_narrow(step: &Draft) -> bool {
    matches!(&step.form, Form::Convolution(Convolution { way: Way::Narrow, .. }))
}

/// Whether the tiles of a convolution do all of it, so that they can add and write narrow images.
fn is_whole(step: &Draft) -> bool {
    let (first, last) = match step.residual {
        None => (Activation::Identity, step.activation),
        Some(_) => (step.activation, step.after),
    };
    is_narrow(step) && first == Activation::Identity && last.bounds().is_some()
}

/// The values that can be narrow: those that only narrow steps make and take.
fn values(drafts: &Drafts) -> HashSet<Value> {
    let passes_on = |step: &Draft| matches!(step.form, Form::Sample(_));
    let mut found: HashSet<Value> = drafts
        .steps
        .iter()
        .filter(|step| is_whole(step) || passes_on(step))
        .map(|step| step.output)
        .filter(|value| !drafts.outputs.contains(value))
        .collect();
    loop {
        let mut others = HashSet::new();
        for step in &drafts.steps {
            if passes_on(step) {
                let both = step.inputs.iter().chain([&step.output]);
                if !both.clone().all(|value| found.contains(value)) {
                    others.extend(both.copied());
                }
                continue;
            }
            if !is_narrow(step) {
                others.extend(step.inputs.iter().copied());
            }
            if !is_whole(step) {
                others.extend(step.residual);
            }
        }
        let before = found.len();
        found.retain(|value| !others.contains(value));
        if found.len() == before {
            return found;
        }
    }
}

/// Rounds the other images that narrow convolutions take, each once.
fn round_others(drafts: &mut Drafts) {
    let mut rounded: HashMap<Value, Value> = HashMap::new();
    let steps = std::mem::take(&mut drafts.steps);
    for mut step in steps {
        let taken = if is_narrow(&step) { step.inputs.first_mut() } else { None };
        if let Some(input) = taken.filter(|input| !drafts.narrow.contains(input)) {
            let wide = *input;
            let known = rounded.get(&wide).copied();
            let made =
                known.unwrap_or_else(|| drafts.value(drafts.channels.get(wide.0).copied().unwrap_or(0)));
            if known.is_none() {
                drafts.narrow.insert(made);
                rounded.insert(wide, made);
                drafts.steps.push(Draft::new(Form::Narrow, vec![wide], made, step.pixels));
            }
            *input = made;
        }
        drafts.steps.push(step);
    }
}
