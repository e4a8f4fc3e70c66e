//! Passes that make a region shorter. Each leaves its answers as they are, but for rounding.

use std::collections::HashSet;

use super::{
    draft::{Draft, Drafts},
    recognize::{Form, Scale},
    step::Value,
};
use adytum_kernels::{activation::Activation, elementwise::Binary, layout::Channels};

/// All passes.
pub(crate) fn fuse(drafts: &mut Drafts) {
    drop_identities(drafts);
    join_gates(drafts);
    fold_scales(drafts);
    fuse_activations(drafts);
    fuse_sums(drafts);
    fuse_activations(drafts);
    join_copies(drafts);
}

/// Removes steps.
fn remove(drafts: &mut Drafts, gone: &HashSet<usize>) {
    let mut index = 0;
    drafts.steps.retain(|_| {
        index += 1;
        !gone.contains(&(index - 1))
    });
}

/// Removes steps that hand on what they take.
pub(crate) fn drop_identities(drafts: &mut Drafts) {
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(step) = drafts.steps.get(index) else { break };
        let is_identity = matches!(step.form, Form::Activation(Activation::Identity));
        let (Some(input), output) = (step.inputs.first().copied(), step.output) else { continue };
        // An input that leaves at once would have no step.
        if is_identity && !(drafts.inputs.contains(&input) && drafts.outputs.contains(&output)) {
            drafts.replace(output, input);
            gone.insert(index);
        }
    }
    remove(drafts, &gone);
}

/// `x * sigmoid(x)` is one function of `x`.
pub(crate) fn join_gates(drafts: &mut Drafts) {
    let (uses, makers) = (drafts.uses(), drafts.makers());
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(Draft { form: Form::Image(Binary::Multiply), inputs, .. }) = drafts.steps.get(index) else {
            continue;
        };
        let &[left, right] = inputs.as_slice() else { continue };
        let joined = [(left, right), (right, left)].into_iter().find_map(|(value, gate)| {
            let maker = *makers.get(&gate)?;
            let step = drafts.steps.get(maker)?;
            if uses.get(gate.0) != Some(&1) || step.inputs != [value] {
                return None;
            }
            match step.form {
                Form::Activation(Activation::Sigmoid) => Some((maker, value, Activation::Swish(1.0))),
                Form::Activation(Activation::HardSigmoid(alpha, beta)) => {
                    Some((maker, value, Activation::HardSwish(alpha, beta)))
                }
                _ => None,
            }
        });
        if let (Some((maker, value, activation)), Some(step)) = (joined, drafts.steps.get_mut(index)) {
            step.form = Form::Activation(activation);
            step.inputs = vec![value];
            gone.insert(maker);
        }
    }
    remove(drafts, &gone);
}

/// Whether a step is a convolution that nothing follows yet.
fn is_bare(step: &Draft) -> bool {
    step.activation == Activation::Identity && step.residual.is_none() && step.after == Activation::Identity
}

/// Factors and summands of channels go into the convolution, or the factors and summands, before them.
pub(crate) fn fold_scales(drafts: &mut Drafts) {
    let (uses, mut makers) = (drafts.uses(), drafts.makers());
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(step) = drafts.steps.get(index) else { break };
        let (Form::Channels(scale), Some(input), output) =
            (&step.form, step.inputs.first().copied(), step.output)
        else {
            continue;
        };
        let scale = scale.clone();
        let Some(maker) = makers.get(&input).copied() else { continue };
        if uses.get(input.0) != Some(&1) {
            continue;
        }
        let Some(before) = drafts.steps.get_mut(maker).filter(|step| is_bare(step)) else { continue };
        let target = match &mut before.form {
            Form::Convolution(convolution) => &mut convolution.scale,
            Form::Dynamic(dynamic) => &mut dynamic.scale,
            Form::Channels(before) | Form::Normalization { scale: before, .. } => before,
            _ => continue,
        };
        *target = target.then(&scale);
        before.output = output;
        makers.insert(output, maker);
        gone.insert(index);
    }
    remove(drafts, &gone);
}

/// Activations go into the step before them.
pub(crate) fn fuse_activations(drafts: &mut Drafts) {
    let (uses, mut makers) = (drafts.uses(), drafts.makers());
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(step) = drafts.steps.get(index) else { break };
        let (Form::Activation(activation), Some(input), output) =
            (&step.form, step.inputs.first().copied(), step.output)
        else {
            continue;
        };
        let activation = *activation;
        let Some(maker) = makers.get(&input).copied() else { continue };
        if uses.get(input.0) != Some(&1) {
            continue;
        }
        let Some(before) = drafts.steps.get_mut(maker) else { continue };
        // Outputs that are spread, or made of sums of bytes, are clipped, no more.
        let is_spread = matches!(&before.form, Form::Convolution(found) if found.kind.is_spread());
        let is_dynamic = matches!(before.form, Form::Dynamic(_));
        if (is_spread || is_dynamic) && activation.bounds().is_none() {
            continue;
        }
        let takes = is_dynamic
            || matches!(
                before.form,
                Form::Convolution(_)
                    | Form::Image(_)
                    | Form::Pixel(_)
                    | Form::Channels(_)
                    | Form::Normalization { .. }
            );
        let slot = match before.residual {
            Some(_) => &mut before.after,
            None => &mut before.activation,
        };
        if !takes || *slot != Activation::Identity {
            continue;
        }
        *slot = activation;
        before.output = output;
        makers.insert(output, maker);
        gone.insert(index);
    }
    remove(drafts, &gone);
}

/// Channels of copied channels are copied from where those come from.
pub(crate) fn join_copies(drafts: &mut Drafts) {
    let makers = drafts.makers();
    for index in 0..drafts.steps.len() {
        let Some(Draft { form: Form::Copy(runs), inputs, .. }) = drafts.steps.get(index) else { continue };
        let mut sources: Vec<(Value, Vec<Channels>)> = Vec::new();
        let mut add =
            |value: Value, run: Channels| match sources.iter_mut().find(|(known, _)| *known == value) {
                Some((_, runs)) => runs.push(run),
                None => sources.push((value, vec![run])),
            };
        for (input, runs) in inputs.iter().zip(runs) {
            let inner = makers.get(input).and_then(|maker| drafts.steps.get(*maker));
            for run in runs {
                let Some(Draft { form: Form::Copy(inner), inputs, .. }) = inner else {
                    add(*input, *run);
                    continue;
                };
                for (source, inner) in inputs.iter().zip(inner) {
                    for own in inner {
                        // What of the inner run the outer one takes.
                        let start = own.to.max(run.from);
                        let end = (own.to + own.count).min(run.from + run.count);
                        if start < end {
                            let from = own.from + start - own.to;
                            add(
                                *source,
                                Channels { from, to: run.to + start - run.from, count: end - start },
                            );
                        }
                    }
                }
            }
        }
        if let Some(step) = drafts.steps.get_mut(index) {
            let (inputs, runs) = sources.into_iter().unzip();
            step.inputs = inputs;
            step.form = Form::Copy(runs);
        }
    }
    // Copies that nobody takes any more.
    let uses = drafts.uses();
    drafts.steps.retain(|step| {
        !matches!(step.form, Form::Copy(_)) || uses.get(step.output.0).is_some_and(|count| *count > 0)
    });
}

/// The sum of a convolution and an image is the convolution's own work.
pub(crate) fn fuse_sums(drafts: &mut Drafts) {
    let (uses, mut makers) = (drafts.uses(), drafts.makers());
    let mut gone = HashSet::new();
    for index in 0..drafts.steps.len() {
        let Some(sum) = drafts.steps.get(index) else { break };
        let (Form::Image(Binary::Add), &[left, right]) = (&sum.form, sum.inputs.as_slice()) else { continue };
        if left == right || sum.residual.is_some() {
            continue;
        }
        let candidate = |value: Value| -> Option<usize> {
            let maker = *makers.get(&value)?;
            let step = drafts.steps.get(maker)?;
            let can = match &step.form {
                Form::Convolution(found) => !found.kind.is_spread(),
                // It has no function of what comes before the sum.
                Form::Dynamic(_) => step.activation == Activation::Identity,
                _ => false,
            };
            let is_free =
                can && step.residual.is_none() && uses.get(value.0) == Some(&1) && !gone.contains(&maker);
            is_free.then_some(maker)
        };
        // The later one: what it adds is there then.
        let chosen = [(left, right), (right, left)]
            .into_iter()
            .filter_map(|(value, other)| Some((candidate(value)?, other)))
            .max_by_key(|(maker, _)| *maker);
        let Some((maker, other)) = chosen else { continue };
        let (after, output) = (sum.activation, sum.output);
        let Some(mut fused) = drafts.steps.get(maker).cloned() else { continue };
        makers.remove(&fused.output);
        fused.residual = Some(other);
        fused.after = after;
        fused.output = output;
        // It comes in the place of the sum.
        if let Some(place) = drafts.steps.get_mut(index) {
            *place = fused;
        }
        gone.insert(maker);
        // A step that is gone makes nothing.
        let unused = drafts.value(0);
        if let Some(step) = drafts.steps.get_mut(maker) {
            step.output = unused;
        }
    }
    remove(drafts, &gone);
}

impl Scale {
    /// This one, then another.
    fn then(&self, next: &Self) -> Self {
        let both = |index: usize| {
            let (factor, summand) = self.of(index);
            let (next_factor, next_summand) = next.of(index);
            (factor * next_factor, summand * next_factor + next_summand)
        };
        let count = self.factors.len().max(next.factors.len());
        let (factors, summands) = (0..count).map(both).unzip();
        Self { factors, summands }
    }

    /// The factor and the summand of a channel.
    pub(crate) fn of(&self, channel: usize) -> (f64, f64) {
        let one = |numbers: &[f64], default: f64| numbers.get(channel).copied().unwrap_or(default);
        (one(&self.factors, 1.0), one(&self.summands, 0.0))
    }
}
