//! Convolutions, and transposed ones.

use super::{Convolution, Form, Kind, Piece, Reader, Scale, Way};
use crate::operators::windows::geometry::Padding;
use adytum_kernels::BLOCK;

/// Small groups are computed together, as one group with zeros for weights between them: at most this number, as
/// each of them multiplies with the zeros of the others.
const MOST_TOGETHER: usize = 8;

/// How many groups of this many input and output channels are computed together, so that they are whole blocks;
/// `None` if they can't be.
pub(crate) fn together(groups: usize, [inputs, outputs]: [usize; 2]) -> Option<usize> {
    (1..=MOST_TOGETHER.min(groups)).filter(|count| groups.is_multiple_of(*count)).find(|count| {
        let is_whole = |channels: usize| (channels * count).is_multiple_of(BLOCK);
        *count == groups || is_whole(inputs) && is_whole(outputs)
    })
}

impl Reader<'_> {
    pub(super) fn convolution(&mut self) -> Option<Vec<Piece>> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0)?;
        let settings = self.settings()?;
        let window = [shape[2], shape[3]];
        if shape[1].checked_mul(groups)? != channels
            || !shape[0].is_multiple_of(groups)
            || settings.ceil
            || settings.kernel.as_ref().is_some_and(|kernel| *kernel != window)
        {
            return None;
        }
        let kind = if groups > 1 && groups == channels {
            Kind::Depthwise
        } else {
            together(groups, [shape[1], shape[0] / groups])?;
            Kind::Dense { groups }
        };
        let bias = match self.input(2) {
            None => None,
            Some(_) => {
                let bias = self.floats(2)?;
                let values = bias.values::<f32>()?.to_vec();
                if bias.shape() != [shape[0]] {
                    return None;
                }
                Some(values)
            }
        };
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Some(vec![Piece {
            form,
            inputs: vec![(value, channels)],
            output: self.output()?,
            channels: shape[0],
        }])
    }

    /// A transposed convolution whose result has a whole number of strides.
    pub(super) fn transposed(&mut self) -> Option<Vec<Piece>> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let [inputs, outputs, rows, columns] = shape;
        let mut settings = self.settings()?;
        let attributes = &self.node.attributes;
        let pads = match &settings.padding {
            Padding::Explicit(pads) if pads.is_empty() => [0; 4],
            Padding::Explicit(pads) => pads.as_slice().try_into().ok()?,
            Padding::Valid => [0; 4],
            _ => return None,
        };
        let extra = attributes.integers("output_padding").ok()?.unwrap_or_default();
        let extra: [i64; 2] = match *extra {
            [] => [0, 0],
            [right] => [0, right],
            [down, right] => [down, right],
            _ => return None,
        };
        if inputs != channels
            || self.integer("group", 1)? != 1
            || attributes.contains("output_shape")
            || settings.dilations.iter().any(|dilation| *dilation != 1)
            || settings.kernel.as_ref().is_some_and(|kernel| *kernel != [rows, columns])
        {
            return None;
        }
        if settings.strides.is_empty() {
            settings.strides = vec![1, 1];
        }
        let mut more = [0; 2];
        for (axis, window) in [rows, columns].into_iter().enumerate() {
            let (stride, before, after) = (*settings.strides.get(axis)?, pads[axis], pads[axis + 2]);
            let room = isize::try_from(window).ok()?.checked_add(isize::try_from(extra[axis]).ok()?)?;
            let taken = stride.checked_add(before)?.checked_add(after)?;
            let rest = room.checked_sub(isize::try_from(taken).ok()?)?;
            let stride = isize::try_from(stride).ok()?;
            // Each place of the stride has as many outputs as the others.
            if before >= window || after >= window || extra[axis] < 0 || rest % stride != 0 {
                return None;
            }
            more[axis] = rest / stride;
        }
        let kind = Kind::Spread { before: [pads[0], pads[1]], more };
        let bias = match self.input(2) {
            None => None,
            Some(_) => {
                let bias = self.floats(2)?;
                if bias.shape() != [outputs] {
                    return None;
                }
                Some(bias.values::<f32>()?.to_vec())
            }
        };
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Some(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: outputs }])
    }
}
