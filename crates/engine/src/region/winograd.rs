//! Chooses the convolutions that are computed by Winograd's way ([`adytum_kernels::winograd`]).

use std::cmp::Reverse;

use super::{
    draft::Drafts,
    recognize::{Convolution, Form, Kind, Way},
};

/// With fewer channels the transformations take more than the multiplications that they save.
const FEWEST: usize = 32;

/// With fewer pixels the weights, which are 16/9 of their size, are too far away.
const FEWEST_PIXELS: usize = 36;

/// Chooses convolutions until the weights have grown by `budget` bytes: they grow to 16/9 of their size. Those of
/// the largest images come first, as they save most for each byte. Images of an open size are taken for large
/// ones where the weights are few.
pub(crate) fn choose(drafts: &mut Drafts, budget: usize) {
    let mut candidates: Vec<(Reverse<usize>, usize, usize)> = drafts
        .steps
        .iter()
        .enumerate()
        .filter_map(|(index, step)| match &step.form {
            Form::Convolution(convolution) if fits(convolution) => {
                let bytes = convolution.shape.iter().product::<usize>() * size_of::<f32>();
                let pixels = step.pixels.unwrap_or(usize::MAX);
                (pixels >= FEWEST_PIXELS).then_some((Reverse(pixels), bytes, index))
            }
            _ => None,
        })
        .collect();
    candidates.sort_unstable();
    let mut grown = 0;
    for (_, bytes, index) in candidates {
        let more = bytes / 9 * 7;
        if grown + more > budget {
            continue;
        }
        grown += more;
        if let Some(Form::Convolution(convolution)) = drafts.steps.get_mut(index).map(|step| &mut step.form) {
            convolution.way = Way::Winograd;
        }
    }
}

fn fits(convolution: &Convolution) -> bool {
    let ones = |values: &[usize]| values.iter().all(|value| *value == 1);
    let [outputs, inputs, rows, columns] = convolution.shape;
    convolution.kind == Kind::Dense { groups: 1 }
        && (rows, columns) == (3, 3)
        && ones(&convolution.settings.strides)
        && ones(&convolution.settings.dilations)
        && inputs >= FEWEST
        && outputs >= FEWEST
}
