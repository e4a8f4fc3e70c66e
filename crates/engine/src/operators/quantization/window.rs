//! The windows of convolutions and pools.

use crate::{
    operators::{Attributes, OperatorError, Refusal},
    tensor::element_count,
};

/// How the edges of an input are filled.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Padding {
    /// A number for each side: all beginnings, then all ends.
    Given(Vec<usize>),
    /// As many as make the output `ceil(input / stride)` long, the odd one at the end.
    SameUpper,
    /// The same, the odd one at the beginning.
    SameLower,
}

/// The attributes of a window. Lists that are empty were left out.
#[derive(Clone, Debug)]
pub(super) struct Window {
    kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    padding: Padding,
    rounds_up: bool,
}

/// A window over an input of known size.
#[derive(Clone, Debug)]
pub(super) struct Geometry {
    /// The input's spatial dimensions.
    pub(super) input: Vec<usize>,
    /// The sizes of the output.
    pub(super) output: Vec<usize>,
    /// The sizes of the window.
    pub(super) kernel: Vec<usize>,
    strides: Vec<usize>,
    dilations: Vec<usize>,
    begins: Vec<usize>,
    ends: Vec<usize>,
}

impl Window {
    /// Reads `kernel_shape`, `strides`, `dilations`, `pads`, `auto_pad`, `ceil_mode`.
    pub(super) fn read(attributes: &Attributes) -> Result<Self, Refusal> {
        let sizes = |name: &str, least: i64| {
            let values = attributes.integers(name)?.unwrap_or_default();
            values
                .iter()
                // Up to 31 bits, so that sums of them do not overflow.
                .map(|value| match usize::try_from(*value) {
                    Ok(size) if *value >= least && *value <= i64::from(i32::MAX) => Ok(size),
                    _ => Err(Refusal::new(format!("the attribute {name} has the value {value}"))),
                })
                .collect::<Result<Vec<_>, _>>()
        };
        let padding = match attributes.text("auto_pad")? {
            None | Some("NOTSET") => Padding::Given(sizes("pads", 0)?),
            Some("VALID") => Padding::Given(Vec::new()),
            Some("SAME_UPPER") => Padding::SameUpper,
            Some("SAME_LOWER") => Padding::SameLower,
            Some(other) => {
                return Err(Refusal::new(format!(
                    "the attribute auto_pad is {other:?}, which ONNX does not know"
                )));
            }
        };
        let (kernel, strides) = (sizes("kernel_shape", 1)?, sizes("strides", 1)?);
        let rounds_up = attributes.integer("ceil_mode")?.unwrap_or(0) != 0;
        Ok(Self { kernel, strides, dilations: sizes("dilations", 1)?, padding, rounds_up })
    }

    /// The window over an input. `weights` are the kernel's dimensions where an operator
    /// has weights.
    pub(super) fn over(&self, input: &[usize], weights: Option<&[usize]>) -> Result<Geometry, OperatorError> {
        let rank = input.len();
        let wrong = |what: &str| {
            OperatorError::inputs(format!(
                "the {what} of the window does not fit an input of the spatial shape {input:?}"
            ))
        };
        let kernel = weights.map_or_else(|| self.kernel.clone(), <[usize]>::to_vec);
        if kernel.len() != rank || (!self.kernel.is_empty() && self.kernel != kernel) {
            return Err(wrong("kernel"));
        }
        let or_ones = |values: &[usize], what: &str| match values.len() {
            0 => Ok(vec![1; rank]),
            count if count == rank => Ok(values.to_vec()),
            _ => Err(wrong(what)),
        };
        let (strides, dilations) =
            (or_ones(&self.strides, "strides")?, or_ones(&self.dilations, "dilations")?);
        let mut geometry = Geometry {
            input: input.to_vec(),
            output: Vec::with_capacity(rank),
            kernel,
            strides,
            dilations,
            begins: Vec::with_capacity(rank),
            ends: Vec::with_capacity(rank),
        };
        for axis in 0..rank {
            self.add_axis(&mut geometry, axis, rank).ok_or_else(|| wrong("size"))?;
        }
        Ok(geometry)
    }

    fn add_axis(&self, geometry: &mut Geometry, axis: usize, rank: usize) -> Option<()> {
        let (input, stride) = (geometry.input[axis], geometry.strides[axis]);
        let reach =
            (geometry.kernel[axis].checked_sub(1)?).checked_mul(geometry.dilations[axis])?.checked_add(1)?;
        let (begin, end, output) = match &self.padding {
            Padding::Given(pads) => {
                let (begin, end) = match pads.len() {
                    0 => (0, 0),
                    count if count == 2 * rank => (pads[axis], pads[axis + rank]),
                    _ => return None,
                };
                let free = input.checked_add(begin)?.checked_add(end)?.checked_sub(reach)?;
                let mut output = if self.rounds_up { free.div_ceil(stride) } else { free / stride } + 1;
                // A window that would begin behind the input and its padding is left out.
                if self.rounds_up && (output - 1).checked_mul(stride)? >= input.checked_add(begin)? {
                    output -= 1;
                }
                (begin, end, output)
            }
            same => {
                let output = input.div_ceil(stride);
                let needed = output.saturating_sub(1).checked_mul(stride)?.checked_add(reach)?;
                let total = needed.saturating_sub(input);
                let smaller = total / 2;
                let begin = if *same == Padding::SameLower { total - smaller } else { smaller };
                (begin, total - begin, output)
            }
        };
        geometry.begins.push(begin);
        geometry.ends.push(end);
        geometry.output.push(output);
        Some(())
    }
}

/// What a window's place in an input is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tap {
    /// The element at this index of the input's spatial dimensions.
    Inside(usize),
    /// The padding.
    Padding,
    /// Beyond the padding, where `ceil_mode` puts a window over the end.
    Beyond,
}

impl Geometry {
    /// The number of positions of the window.
    pub(super) fn positions(&self) -> Option<usize> {
        element_count(&self.output)
    }

    /// The number of places in the window.
    pub(super) fn places(&self) -> usize {
        self.kernel.iter().copied().fold(1, usize::saturating_mul)
    }

    /// How far apart the windows of two positions are that follow one another in a line of
    /// the last dimension, and how many positions a line has. Without dimensions: 1 and 1.
    pub(super) fn line(&self) -> (usize, usize) {
        let stride = self.strides.last().copied().unwrap_or(1);
        (stride, self.output.last().copied().unwrap_or(1))
    }

    /// The places of the window at a position, in the kernel's order.
    pub(super) fn taps(&self, position: usize, taps: &mut Vec<Tap>) {
        taps.clear();
        taps.push(Tap::Inside(0));
        let mut rest = position;
        let mut coordinates = vec![0; self.output.len()];
        for (coordinate, size) in coordinates.iter_mut().zip(&self.output).rev() {
            *coordinate = rest % size;
            rest /= size;
        }
        // Each dimension multiplies the places of those before it.
        for (axis, coordinate) in coordinates.into_iter().enumerate() {
            let start = coordinate * self.strides[axis];
            let outer = std::mem::take(taps);
            for tap in outer {
                for step in 0..self.kernel[axis] {
                    let place = start + step * self.dilations[axis];
                    taps.push(self.extend(tap, axis, place));
                }
            }
        }
    }

    fn extend(&self, tap: Tap, axis: usize, place: usize) -> Tap {
        let (begin, size) = (self.begins[axis], self.input[axis]);
        let own = match place.checked_sub(begin) {
            Some(inside) if inside < size => Tap::Inside(inside),
            Some(behind) if behind >= size + self.ends[axis] => Tap::Beyond,
            _ => Tap::Padding,
        };
        match (tap, own) {
            (Tap::Beyond, _) | (_, Tap::Beyond) => Tap::Beyond,
            (Tap::Padding, _) | (_, Tap::Padding) => Tap::Padding,
            (Tap::Inside(outer), Tap::Inside(inner)) => Tap::Inside(outer * size + inner),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operators::Attribute;

    fn window(attributes: &[(&str, Attribute)]) -> Window {
        let attributes = attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Window::read(&attributes).unwrap()
    }

    #[test]
    fn odd_padding_goes_to_the_named_side() {
        for (name, first) in [("SAME_UPPER", Tap::Inside(0)), ("SAME_LOWER", Tap::Padding)] {
            let window = window(&[
                ("auto_pad", Attribute::Text(crate::tensor::Text::from(name.to_owned()))),
                ("kernel_shape", Attribute::Integers(vec![2])),
            ]);
            let geometry = window.over(&[3], None).unwrap();
            assert_eq!(geometry.output, [3]);
            let mut taps = Vec::new();
            geometry.taps(0, &mut taps);
            assert_eq!(taps[0], first);
        }
    }

    #[test]
    fn taps_of_two_dimensions() {
        let window = window(&[
            ("kernel_shape", Attribute::Integers(vec![2, 2])),
            ("pads", Attribute::Integers(vec![1, 0, 0, 0])),
            ("strides", Attribute::Integers(vec![2, 1])),
        ]);
        let geometry = window.over(&[3, 3], None).unwrap();
        assert_eq!(geometry.output, [2, 2]);
        let mut taps = Vec::new();
        geometry.taps(1, &mut taps);
        assert_eq!(taps, [Tap::Padding, Tap::Padding, Tap::Inside(1), Tap::Inside(2)]);
        geometry.taps(2, &mut taps);
        assert_eq!(taps, [3, 4, 6, 7].map(Tap::Inside));
    }

    #[test]
    fn windows_larger_than_the_input_are_an_error() {
        let window = window(&[("kernel_shape", Attribute::Integers(vec![i64::from(i32::MAX)]))]);
        assert!(window.over(&[3], None).is_err());
    }
}
