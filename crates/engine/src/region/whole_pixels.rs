//! Images that keep the channels of a pixel side by side: photos, which have few.

use std::collections::HashSet;

use super::{
    draft::Drafts,
    recognize::{Convolution, Form, Kind},
    step::Value,
};

/// Images of at most this number of channels are read with all channels of a pixel next to each other.
const FEW: usize = 4;

/// The inputs of a region that only convolutions take which read them so.
pub(super) fn find(drafts: &Drafts) -> HashSet<Value> {
    let is_whole = |input: &&Value| {
        let mut taken = false;
        let fits = drafts.steps.iter().all(|step| {
            let takes = step.inputs.contains(input);
            taken |= takes;
            let added = step.residual == Some(**input);
            !added && (!takes || reads_rows(&step.form))
        });
        fits && taken && !drafts.outputs.contains(input)
    };
    drafts.inputs.iter().filter(is_whole).copied().collect()
}

/// Whether a step is a convolution that can read few channels row by row.
fn reads_rows(form: &Form) -> bool {
    match form {
        Form::Convolution(Convolution { kind: Kind::Dense { groups: 1 }, shape, settings, .. }) => {
            shape[1] <= FEW && settings.dilations.get(1).is_none_or(|dilation| *dilation == 1)
        }
        _ => false,
    }
}
