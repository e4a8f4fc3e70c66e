//! Convolutions, and transposed ones.

use super::{Convolution, Form, Kind, Piece, Reader, Scale, Way};
use crate::{operators::windows::geometry::Padding, outside::Outside};
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
    pub(super) fn convolution(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0);
        let groups = groups.ok_or(Outside::Attribute("group"))?;
        let settings = self.settings()?;
        let window = [shape[2], shape[3]];
        if shape[1].checked_mul(groups) != Some(channels) || !shape[0].is_multiple_of(groups) {
            return Err(Outside::Attribute("group"));
        }
        if settings.ceil {
            return Err(Outside::Attribute("ceil_mode"));
        }
        if settings.kernel.as_ref().is_some_and(|kernel| *kernel != window) {
            return Err(Outside::Attribute("kernel_shape"));
        }
        let kind = if groups > 1 && groups == channels && shape[0] == channels {
            Kind::Depthwise
        } else {
            together(groups, [shape[1], shape[0] / groups]).ok_or(Outside::Groups)?;
            Kind::Dense { groups }
        };
        let bias = self.vector(2, shape[0])?;
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: shape[0] }])
    }

    /// A transposed convolution whose result has a whole number of strides.
    pub(super) fn transposed(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let (weights, shape) = self.weights()?;
        let [inputs, outputs, rows, columns] = shape;
        let mut settings = self.settings()?;
        let attributes = &self.node.attributes;
        let pads = match &settings.padding {
            Padding::Explicit(pads) if pads.is_empty() => [0; 4],
            Padding::Explicit(pads) => pads.as_slice().try_into().map_err(|_| Outside::Attribute("pads"))?,
            Padding::Valid => [0; 4],
            _ => return Err(Outside::Attribute("auto_pad")),
        };
        let extra =
            attributes.integers("output_padding").map_err(|_| Outside::Attribute("output_padding"))?;
        let extra: [i64; 2] = match *extra.unwrap_or_default() {
            [] => [0, 0],
            [right] => [0, right],
            [down, right] => [down, right],
            _ => return Err(Outside::Attribute("output_padding")),
        };
        let is_wrong = [
            ("group", inputs != channels || self.integer("group", 1)? != 1),
            ("output_shape", attributes.contains("output_shape")),
            ("dilations", settings.dilations.iter().any(|dilation| *dilation != 1)),
            ("kernel_shape", settings.kernel.as_ref().is_some_and(|kernel| *kernel != [rows, columns])),
        ];
        if let Some((name, _)) = is_wrong.into_iter().find(|(_, is_wrong)| *is_wrong) {
            return Err(Outside::Attribute(name));
        }
        if settings.strides.is_empty() {
            settings.strides = vec![1, 1];
        }
        let along = |axis: usize, window: usize| {
            let (stride, before, after) = (*settings.strides.get(axis)?, pads[axis], pads[axis + 2]);
            let room = isize::try_from(window).ok()?.checked_add(isize::try_from(extra[axis]).ok()?)?;
            let taken = stride.checked_add(before)?.checked_add(after)?;
            let rest = room.checked_sub(isize::try_from(taken).ok()?)?;
            let stride = isize::try_from(stride).ok().filter(|stride| *stride > 0)?;
            // Each place of the stride has as many outputs as the others.
            let is_whole = before < window && after < window && extra[axis] >= 0 && rest % stride == 0;
            is_whole.then_some(rest / stride)
        };
        let more = along(0, rows).zip(along(1, columns)).ok_or(Outside::Attribute("pads or strides"))?;
        let kind = Kind::Spread { before: [pads[0], pads[1]], more: [more.0, more.1] };
        let bias = self.vector(2, outputs)?;
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: outputs }])
    }
}
