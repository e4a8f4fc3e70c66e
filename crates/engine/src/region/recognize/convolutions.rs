//! Convolutions, and transposed ones.

use super::{Convolution, Form, Kind, Part, Piece, Reader, Scale, Way};
use crate::{
    operators::windows::geometry::{Padding, Settings},
    outside::Outside,
};
use adytum_kernels::BLOCK;
use std::ops::Range;

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

/// Sizes, pads and steps from which on a window is left as it is: products of two of them are far from overflowing.
const LARGEST: usize = 1 << 24;

/// The places of a window that reach an image along one dimension, and the pads that these need. `None` if those can't be
/// less.
fn live(
    size: usize,
    window: usize,
    [stride, dilation]: [usize; 2],
    [before, after]: [usize; 2],
) -> Option<(Range<usize>, [usize; 2])> {
    if [size, window, stride, dilation, before, after].into_iter().any(|number| number > LARGEST) {
        return None;
    }
    let extent = |window: usize| window.checked_sub(1)?.checked_mul(dilation)?.checked_add(1);
    let outputs = |window: usize, before: usize, after: usize| {
        Some((size + before + after).checked_sub(extent(window)?)? / stride + 1)
    };
    let count = outputs(window, before, after)?;
    let reaches = |place: &usize| {
        let first = place * dilation;
        first < before + size && first + (count - 1) * stride >= before
    };
    // The part begins within the pads that are there.
    let first = (0..window).find(reaches)?.min(before / dilation);
    let end = (0..window).rev().find(reaches)? + 1;
    let own = before - first * dilation;
    let last = (count - 1) * stride + extent(end - first)?;
    let rest = last.saturating_sub(own + size);
    let is_same = outputs(end - first, own, rest) == Some(count);
    (is_same && (first, end) != (0, window)).then_some((first..end, [own, rest]))
}

impl Reader<'_> {
    /// Leaves out the rows and columns of a window that are in the pads wherever the window is, as those of large dilations
    /// are: the border that they need would be larger than the image.
    fn leave_out_pads(&self, shape: &mut [usize; 4], settings: &mut Settings) -> Option<Part> {
        let fact = self.fact(0)?;
        let size = |axis: usize| usize::try_from(fact.dimension(axis)?).ok().filter(|size| *size > 0);
        let sizes = if self.is_of_lines() { [1, size(2)?] } else { [size(2)?, size(3)?] };
        let Padding::Explicit(pads) = &settings.padding else { return None };
        let pads: [usize; 4] = if pads.is_empty() { [0; 4] } else { pads.as_slice().try_into().ok()? };
        let two = |values: &[usize]| values.try_into().unwrap_or([1, 1]);
        let (strides, dilations): ([usize; 2], [usize; 2]) =
            (two(&settings.strides), two(&settings.dilations));
        let window = [shape[2], shape[3]];
        let (mut first, mut kept, mut own) = ([0; 2], window, pads);
        for axis in 0..2 {
            let steps = [strides[axis], dilations[axis]];
            if let Some((range, [before, after])) =
                live(sizes[axis], window[axis], steps, [pads[axis], pads[axis + 2]])
            {
                (first[axis], kept[axis]) = (range.start, range.len());
                (own[axis], own[axis + 2]) = (before, after);
            }
        }
        if kept == window {
            return None;
        }
        settings.padding = Padding::Explicit(own.to_vec());
        settings.kernel = None;
        (shape[2], shape[3]) = (kept[0], kept[1]);
        Some(Part { window, first })
    }

    pub(super) fn convolution(&mut self) -> Result<Vec<Piece>, Outside> {
        let (value, channels) = self.image(0)?;
        let (weights, mut shape) = self.weights()?;
        let groups = usize::try_from(self.integer("group", 1)?).ok().filter(|groups| *groups > 0);
        let groups = groups.ok_or(Outside::Attribute("group"))?;
        let mut settings = self.settings()?;
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
        let kind = if groups > 1 && groups == channels {
            Kind::Depthwise
        } else {
            together(groups, [shape[1], shape[0] / groups]).ok_or(Outside::Groups)?;
            Kind::Dense { groups }
        };
        let bias = self.vector(2, shape[0])?;
        let part = self.leave_out_pads(&mut shape, &mut settings);
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            part,
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
            let is_whole = before < window
                && after < window
                && rest % stride == 0
                && (0..stride as i64).contains(&extra[axis]);
            is_whole.then_some(rest / stride)
        };
        let more = along(0, rows).zip(along(1, columns)).ok_or(Outside::Attribute("pads or strides"))?;
        let kind = Kind::Spread { before: [pads[0], pads[1]], more: [more.0, more.1] };
        let bias = self.vector(2, outputs)?;
        let form = Form::Convolution(Convolution {
            kind,
            weights,
            shape,
            part: None,
            bias,
            settings,
            scale: Scale::default(),
            way: Way::Direct,
        });
        Ok(vec![Piece { form, inputs: vec![(value, channels)], output: self.output()?, channels: outputs }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_are_always_in_the_pads_are_left_out() {
        // Only the middle of a window of a large dilation reaches the image.
        assert_eq!(live(16, 3, [1, 24], [24, 24]), Some((1..2, [0, 0])));
        assert_eq!(live(30, 5, [1, 20], [40, 40]), Some((1..4, [20, 20])));
        assert_eq!(live(16, 3, [2, 16], [16, 16]), Some((1..2, [0, 0])));
        // All of them do.
        assert_eq!(live(16, 3, [1, 12], [12, 12]), None);
        assert_eq!(live(5, 3, [1, 1], [1, 1]), None);
        // The window is larger than all that there is.
        assert_eq!(live(5, 9, [1, 1], [1, 1]), None);
        // Numbers of a file may be any.
        let any = [1, 3, 1 << 24, usize::MAX / 2, usize::MAX];
        for number in 0..any.len().pow(6) {
            let at = |place: u32| any[number / any.len().pow(place) % any.len()];
            let _ = live(at(0), at(1).min(99), [at(2), at(3)], [at(4), at(5)]);
        }
    }
}
