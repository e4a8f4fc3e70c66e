//! Moves strides to where pixels are made.
//!
//! A convolution of one pixel with a stride of 2 reads a quarter of its input. If all that read an image skip the same
//! pixels, the convolution that makes it takes the stride, and does not compute them at all. Each output that is left
//! is the same sum as before. An image that is added to it is thinned out.

use super::{
    draft::{Draft, Drafts},
    recognize::{Convolution, Form},
};
use crate::operators::windows::geometry::{Padding, Settings};

/// Moves each stride as far as it goes.
pub(crate) fn propagate(drafts: &mut Drafts) {
    let mut taken = Vec::new();
    // From the last maker to the first: a stride that moved may move on.
    for index in (0..drafts.steps.len()).rev() {
        let Some(stride) = drafts.steps.get(index).and_then(|step| common_stride(drafts, step)) else {
            continue;
        };
        let Some(maker) = drafts.steps.get_mut(index) else { continue };
        let output = maker.output;
        let Form::Convolution(convolution) = &mut maker.form else { continue };
        let [down, right] = two(&convolution.settings.strides);
        let (Some(down), Some(right)) = (down.checked_mul(stride[0]), right.checked_mul(stride[1])) else {
            continue;
        };
        convolution.settings.strides = vec![down, right];
        maker.pixels = maker.pixels.map(|pixels| pixels / stride[0] / stride[1]);
        for reader in drafts.steps.iter_mut().filter(|step| step.inputs.contains(&output)) {
            if let Form::Convolution(convolution) = &mut reader.form {
                convolution.settings.strides = vec![1, 1];
            }
        }
        taken.push((index, stride));
    }
    // Images that are added, from the last step to the first, so that indices stay right.
    for (index, stride) in taken {
        let Some(added) = drafts.steps.get(index).and_then(|step| step.residual) else { continue };
        let channels = drafts.channels.get(added.0).copied().unwrap_or(0);
        let thinned = drafts.value(channels);
        if let Some(step) = drafts.steps.get_mut(index) {
            step.residual = Some(thinned);
            let pixels = step.pixels;
            drafts.steps.insert(index, Draft::new(Form::Sample(stride), vec![added], thinned, pixels));
        }
    }
}

/// The sizes of two dimensions; ones if none are given.
fn two(strides: &[usize]) -> [usize; 2] {
    strides.try_into().unwrap_or([1, 1])
}

/// The stride of all that read the output of a convolution, if it can take it.
fn common_stride(drafts: &Drafts, maker: &Draft) -> Option<[usize; 2]> {
    let Form::Convolution(convolution) = &maker.form else { return None };
    // The pads of other kinds depend on the stride.
    let is_fixed = matches!(convolution.settings.padding, Padding::Explicit(_) | Padding::Valid);
    if convolution.kind.is_spread() || !is_fixed || drafts.outputs.contains(&maker.output) {
        return None;
    }
    let mut common = None;
    for step in &drafts.steps {
        if step.residual == Some(maker.output) {
            return None;
        }
        if !step.inputs.contains(&maker.output) {
            continue;
        }
        let Form::Convolution(reader) = &step.form else { return None };
        let stride = skipped(reader)?;
        if common.is_some_and(|common| common != stride) {
            return None;
        }
        common = Some(stride);
    }
    common.filter(|stride| *stride != [1, 1])
}

/// The stride of a convolution that reads single pixels.
fn skipped(convolution: &Convolution) -> Option<[usize; 2]> {
    let Settings { padding, strides, .. } = &convolution.settings;
    let padded = matches!(padding, Padding::Explicit(pads) if pads.iter().any(|pad| *pad > 0));
    let reads_pixels = !convolution.kind.is_spread() && convolution.shape[2..] == [1, 1];
    (reads_pixels && !padded).then(|| two(strides))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        onnx::model::ValueId,
        region::{
            orders::Leaving,
            recognize::{Kind, Scale, Way},
        },
    };

    fn convolution(window: usize, stride: usize) -> Form {
        Form::Convolution(Convolution {
            kind: Kind::Dense { groups: 1 },
            weights: ValueId(0),
            shape: [16, 16, window, window],
            part: None,
            bias: None,
            settings: Settings {
                kernel: None,
                strides: if stride == 1 { vec![] } else { vec![stride; 2] },
                dilations: vec![],
                padding: Padding::Explicit(vec![window / 2; 4]),
                ceil: false,
            },
            scale: Scale::default(),
            way: Way::Direct,
        })
    }

    /// A region of these steps: form, inputs, output. The last output leaves.
    fn region(steps: &[(Form, &[u32], u32)]) -> Drafts {
        let mut drafts = Drafts::default();
        for (form, inputs, output) in steps {
            let inputs = inputs.iter().map(|input| drafts.input(ValueId(*input), 16)).collect();
            drafts.add(form.clone(), inputs, ValueId(*output), (16, Some(64)));
        }
        if let Some((_, _, last)) = steps.last() {
            drafts.output(ValueId(*last), Leaving::Channels);
        }
        drafts
    }

    fn strides(drafts: &Drafts) -> Vec<Option<[usize; 2]>> {
        let stride = |step: &Draft| match &step.form {
            Form::Convolution(convolution) => Some(two(&convolution.settings.strides)),
            _ => None,
        };
        drafts.steps.iter().map(stride).collect()
    }

    #[test]
    fn a_stride_moves_through_single_pixels_into_a_window() {
        // A block of ResNet: the image that is added is thinned out.
        let mut drafts = region(&[
            (convolution(1, 1), &[0], 1),
            (convolution(3, 1), &[1], 2),
            (convolution(1, 1), &[2], 3),
            (convolution(1, 2), &[3], 4),
            (convolution(1, 2), &[3], 5),
            (Form::Image(adytum_kernels::elementwise::Binary::Add), &[4, 5], 6),
        ]);
        let first = drafts.inputs[0];
        drafts.steps[2].residual = Some(first);
        propagate(&mut drafts);
        let (one, two) = (Some([1, 1]), Some([2, 2]));
        assert_eq!(strides(&drafts), [one, two, None, one, one, one, None]);
        assert!(matches!(drafts.steps[2].form, Form::Sample([2, 2])));
        assert_eq!(drafts.steps[2].inputs, [first]);
        assert_eq!(drafts.steps[3].residual, Some(drafts.steps[2].output));
        assert_eq!(drafts.steps[1].pixels, Some(16));
    }

    #[test]
    fn a_stride_stays_where_another_reader_needs_the_pixels() {
        let relu = Form::Activation(adytum_kernels::activation::Activation::RELU);
        for other in [convolution(1, 1), convolution(3, 2), convolution(1, 3), relu] {
            let mut drafts =
                region(&[(convolution(3, 1), &[0], 1), (convolution(1, 2), &[1], 2), (other, &[1], 3)]);
            let before = strides(&drafts);
            propagate(&mut drafts);
            assert_eq!(strides(&drafts), before);
        }
        // The image leaves, or is added to another.
        let mut drafts = region(&[(convolution(3, 1), &[0], 1), (convolution(1, 2), &[1], 2)]);
        drafts.output(ValueId(1), Leaving::Channels);
        propagate(&mut drafts);
        assert_eq!(strides(&drafts), [Some([1, 1]), Some([2, 2])]);
        let mut drafts = region(&[(convolution(3, 1), &[0], 1), (convolution(1, 2), &[1], 2)]);
        drafts.steps[1].residual = Some(drafts.steps[0].output);
        propagate(&mut drafts);
        assert_eq!(strides(&drafts), [Some([1, 1]), Some([2, 2])]);
    }
}
