//! Chooses the convolutions that are computed in 16-bit floats, and the values that are kept so.
//!
//! A convolution of 16-bit floats takes narrow images only. A value is narrow if its maker can write it so, if every reader
//! can take it so, and if that is of use: one of the readers multiplies 16-bit floats, or writes them itself. Any other
//! image is rounded in a step of its own. A photo is rounded when it enters.

use std::collections::{HashMap, HashSet};

use super::{
    draft::{Draft, Drafts},
    recognize::{Convolution, Form, Kind, Way},
    step::Value,
    whole_pixels,
};
use adytum_kernels::{BLOCK, activation::Activation};

/// With fewer input channels, only images with all channels of a pixel side by side are multiplied in pairs.
const FEWEST: usize = 8;

/// Chooses convolutions and values.
pub(crate) fn choose(drafts: &mut Drafts) {
    let photos = photos(drafts);
    for step in &mut drafts.steps {
        let reads_photo = step.inputs.first().is_some_and(|input| photos.contains(input));
        if let Form::Convolution(convolution) = &mut step.form
            && (reads_photo || fits(convolution))
        {
            convolution.way = Way::Narrow;
        }
    }
    drafts.narrow = values(drafts);
    drafts.narrow.extend(photos);
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

/// The inputs with all channels of a pixel side by side for whose readers pairs pay.
fn photos(drafts: &Drafts) -> HashSet<Value> {
    let mut found = whole_pixels::find(drafts);
    found.retain(|value| {
        let mut readers = drafts.steps.iter().filter(|step| step.inputs.contains(value));
        readers.all(|step| match &step.form {
            Form::Convolution(convolution) => {
                let [outputs, inputs, ..] = convolution.shape;
                inputs > 1 && outputs >= BLOCK
            }
            _ => false,
        })
    });
    found
}

fn is_narrow(step: &Draft) -> bool {
    matches!(&step.form, Form::Convolution(Convolution { way: Way::Narrow, .. }))
}

/// Whether one pass does all of a convolution, so that it can add and write narrow images.
fn is_whole(step: &Draft) -> bool {
    let (first, last) = match step.residual {
        None => (Activation::Identity, step.activation),
        Some(_) => (step.activation, step.after),
    };
    first == Activation::Identity && last.bounds().is_some()
}

/// What a step can do with narrow images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ability {
    takes: bool,
    adds: bool,
    makes: bool,
    /// Whether it moves numbers as they are, so that what it takes and what it makes are of one kind.
    moves: bool,
}

impl Ability {
    fn of(step: &Draft) -> Self {
        let able = |takes, makes| Self { takes, adds: false, makes, moves: false };
        match &step.form {
            Form::Convolution(convolution) => {
                let is_able = is_narrow(step) || convolution.kind == Kind::Depthwise;
                let is_whole = is_able && is_whole(step);
                Self { takes: is_able, adds: is_whole, makes: is_whole, moves: false }
            }
            Form::Maximum { .. } | Form::Mean { .. } | Form::GlobalMean | Form::Copy(_) => able(true, true),
            // A function of the result is a pass over floats.
            Form::Image(_) | Form::Pixel(_) | Form::Channels(_) => {
                able(true, step.activation == Activation::Identity)
            }
            Form::Sample(_) | Form::Repeat(_) => Self { moves: true, ..able(true, true) },
            Form::Activation(_)
            | Form::Narrow
            | Form::Dynamic(_)
            | Form::Resize(_)
            | Form::Pad(_)
            | Form::Normalization { .. } => able(false, false),
        }
    }
}

/// The values that can be narrow, and for which that is of use.
fn values(drafts: &Drafts) -> HashSet<Value> {
    let steps: Vec<(&Draft, Ability)> = drafts.steps.iter().map(|step| (step, Ability::of(step))).collect();
    let mut found: HashSet<Value> = steps
        .iter()
        .filter(|(_, ability)| ability.makes)
        .map(|(step, _)| step.output)
        .filter(|value| !drafts.outputs.contains(value))
        .collect();
    loop {
        let (mut others, mut useful) = (HashSet::new(), HashSet::new());
        for (step, ability) in &steps {
            let is_useful = is_narrow(step) || found.contains(&step.output);
            let taken = step.inputs.iter().map(|value| (value, ability.takes));
            for (value, is_able) in taken.chain(step.residual.iter().map(|value| (value, ability.adds))) {
                if is_useful {
                    useful.insert(*value);
                }
                if !is_able {
                    others.insert(*value);
                }
            }
            let both = || step.inputs.iter().chain([&step.output]);
            if ability.moves && !both().all(|value| found.contains(value)) {
                others.extend(both());
            }
        }
        let before = found.len();
        found.retain(|value| useful.contains(value) && !others.contains(value));
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
