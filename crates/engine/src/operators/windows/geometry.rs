//! Where a window is: kernels, strides, dilations, pads.

use std::ops::Range;

use crate::{
    operators::{Attributes, Definition, OperatorError, Refusal, arguments::unfit, axes::product},
    tensor::{Shape, strides},
};

/// The largest setting that is taken: products of two of them fit 64 bits.
const LIMIT: i64 = 1 << 30;

/// The most elements of a window: a thousand by a thousand.
const LARGEST: usize = 1 << 20;

/// How much is put around an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    /// This much: at the beginnings of all dimensions, then at the ends. None if empty.
    Explicit(Vec<usize>),
    /// So much that the size is divided by the stride; an odd one is at the end.
    SameUpper,
    /// The same; an odd one is at the beginning.
    SameLower,
    /// Nothing.
    Valid,
}

/// The settings of a window, as a node has them.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The size of the window, if the node says it.
    pub(crate) kernel: Option<Shape>,
    /// The step of the window, 1 if empty.
    pub(crate) strides: Shape,
    /// The distance between neighbours in the window, 1 if empty.
    pub(crate) dilations: Shape,
    /// The padding around the image.
    pub(crate) padding: Padding,
    /// Whether a last window that is cut off counts.
    pub(crate) ceil: bool,
}

/// A list of sizes, each from `least` to a bound that arithmetic can't overflow.
pub(crate) fn sizes(attributes: &Attributes, name: &str, least: i64) -> Result<Option<Shape>, Refusal> {
    let Some(values) = attributes.integers(name)? else { return Ok(None) };
    values
        .iter()
        .map(|value| match usize::try_from(*value) {
            Ok(size) if (least..=LIMIT).contains(value) => Ok(size),
            _ => Err(Refusal::new(format!("{name} has {value}; expected {least} to {LIMIT}"))),
        })
        .collect::<Result<Shape, Refusal>>()
        .map(Some)
}

impl Settings {
    /// Of a node.
    pub(crate) fn new(definition: &Definition<'_>) -> Result<Self, Refusal> {
        Self::of(definition.attributes)
    }

    /// Of the attributes of a node.
    pub(crate) fn of(attributes: &Attributes) -> Result<Self, Refusal> {
        let padding = match attributes.text("auto_pad")? {
            None | Some("NOTSET") => Padding::Explicit(sizes(attributes, "pads", 0)?.unwrap_or_default()),
            Some("SAME_UPPER") => Padding::SameUpper,
            Some("SAME_LOWER") => Padding::SameLower,
            Some("VALID") => Padding::Valid,
            Some(other) => return Err(Refusal::new(format!("the auto_pad {other:?} is not known"))),
        };
        Ok(Self {
            kernel: sizes(attributes, "kernel_shape", 1)?,
            strides: sizes(attributes, "strides", 1)?.unwrap_or_default(),
            dilations: sizes(attributes, "dilations", 1)?.unwrap_or_default(),
            padding,
            ceil: attributes.flag("ceil_mode", false)?,
        })
    }

    /// A setting with a value for each of `rank` dimensions; ones if it is not there.
    pub(crate) fn filled(values: &[usize], rank: usize, what: &str) -> Result<Shape, OperatorError> {
        match values.len() {
            0 => Ok(vec![1; rank]),
            found if found == rank => Ok(values.to_vec()),
            found => unfit(format!("{found} {what} are given for {rank} dimensions")),
        }
    }

    /// The window over an image.
    pub(crate) fn window(&self, image: &[usize], kernel: &[usize]) -> Result<Window, OperatorError> {
        let rank = image.len();
        if kernel.len() != rank {
            return unfit(format!(
                "a window of the shape {kernel:?} does not fit images of {rank} dimensions"
            ));
        }
        let volume = kernel.iter().fold(1_usize, |volume, size| volume.saturating_mul(*size));
        if volume > LARGEST {
            return unfit(format!("a window of the shape {kernel:?} has more than {LARGEST} elements"));
        }
        let strides = Self::filled(&self.strides, rank, "strides")?;
        let dilations = Self::filled(&self.dilations, rank, "dilations")?;
        let explicit = match &self.padding {
            Padding::Explicit(pads) if pads.is_empty() => vec![0; 2 * rank],
            Padding::Explicit(pads) if pads.len() == 2 * rank => pads.clone(),
            Padding::Explicit(pads) => {
                return unfit(format!("{} pads are given for {rank} dimensions", pads.len()));
            }
            _ => vec![0; 2 * rank],
        };
        let (mut before, mut after) = (explicit[..rank].to_vec(), explicit[rank..].to_vec());
        let mut output = Shape::with_capacity(rank);
        for axis in 0..rank {
            let (size, stride) = (image[axis], strides[axis]);
            let extent = extent(kernel[axis], dilations[axis])?;
            if matches!(self.padding, Padding::SameUpper | Padding::SameLower) {
                let count = size.div_ceil(stride);
                let total = (count.saturating_sub(1) * stride + extent).saturating_sub(size);
                let half = total / 2;
                let upper = self.padding == Padding::SameUpper;
                before[axis] = if upper { half } else { total - half };
                after[axis] = total - before[axis];
                output.push(count);
                continue;
            }
            let padded = size + before[axis] + after[axis];
            let Some(room) = padded.checked_sub(extent) else {
                return unfit(format!("a window of {extent} is larger than a padded image of {padded}"));
            };
            let mut count = if self.ceil { room.div_ceil(stride) } else { room / stride } + 1;
            // A last window must not begin beyond the image and what is before it.
            if self.ceil && count > 1 && (count - 1) * stride >= size + before[axis] {
                count -= 1;
            }
            output.push(count);
        }
        Ok(Window {
            image: image.to_vec(),
            output,
            kernel: kernel.to_vec(),
            strides,
            dilations,
            before,
            after,
        })
    }
}

/// From the first to the last element that a window covers along a dimension.
pub(crate) fn extent(kernel: usize, dilation: usize) -> Result<usize, OperatorError> {
    match kernel.checked_sub(1) {
        Some(gaps) if gaps as i64 <= LIMIT => Ok(gaps * dilation + 1),
        _ => unfit(format!("a window of {kernel} can't be moved")),
    }
}

/// A window that moves over an image.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    /// The sizes of the image.
    pub(crate) image: Shape,
    /// The number of places of the window along each dimension.
    pub(crate) output: Shape,
    /// The sizes of the window.
    pub(crate) kernel: Shape,
    /// The step between places.
    pub(crate) strides: Shape,
    /// The distance between neighbours in the window.
    pub(crate) dilations: Shape,
    /// The padding before the image.
    pub(crate) before: Shape,
    /// The padding after the image.
    pub(crate) after: Shape,
}

/// Places of a window, one after another, at which an element of it is in the image.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// The first place, as a number in the output.
    pub(crate) place: usize,
    /// How many there are.
    pub(crate) count: usize,
    /// The image's element at the first.
    pub(crate) element: usize,
}

impl Window {
    /// What an element of the image is from one place of a run to the next.
    pub(crate) fn step(&self) -> usize {
        self.strides.last().copied().unwrap_or(1)
    }

    /// Calls `each` for all runs of the window's element at `offset`, of the places in `range`.
    pub(crate) fn runs(&self, offset: &[usize], range: Range<usize>, mut each: impl FnMut(Run)) {
        let Some((last, outer)) = self.output.split_last() else {
            range.for_each(|place| each(Run { place, count: 1, element: 0 }));
            return;
        };
        if *last == 0 {
            return;
        }
        let axis = outer.len();
        let steps = strides(&self.image);
        let (stride, size) = (self.strides[axis], self.image[axis]);
        // Along the last dimension, the places whose element is in the image.
        let shift = offset[axis] * self.dilations[axis];
        let first = self.before[axis].saturating_sub(shift).div_ceil(stride);
        let end = (size + self.before[axis]).saturating_sub(shift).div_ceil(stride).min(*last);
        if first >= end {
            return;
        }
        let mut place = range.start;
        while place < range.end {
            let row = place / last;
            let row_start = row * last;
            let row_end = (row_start + last).min(range.end);
            let mut rest = row;
            let mut base = Some(0);
            for axis in (0..outer.len()).rev() {
                let index = rest % outer[axis];
                rest /= outer[axis];
                let position = index * self.strides[axis] + offset[axis] * self.dilations[axis];
                base = base.zip(position.checked_sub(self.before[axis])).and_then(|(base, position)| {
                    (position < self.image[axis]).then(|| base + position * steps[axis])
                });
            }
            if let Some(base) = base {
                let from = first.max(place - row_start);
                let to = end.min(row_end - row_start);
                if from < to {
                    let element = base + from * stride + shift - self.before[axis];
                    each(Run { place: row_start + from, count: to - from, element });
                }
            }
            place = row_end;
        }
    }

    /// Calls `each` for every element of the window, in order, with its number.
    pub(crate) fn offsets(&self, mut each: impl FnMut(usize, &[usize])) {
        let count = product(&self.kernel);
        let mut offset = vec![0; self.kernel.len()];
        for number in 0..count {
            each(number, &offset);
            for axis in (0..offset.len()).rev() {
                offset[axis] += 1;
                if offset[axis] < self.kernel[axis] {
                    break;
                }
                offset[axis] = 0;
            }
        }
    }

    /// Along a dimension, how many elements of the window are in the image at each place;
    /// or in the image and what is around it.
    pub(crate) fn counts(&self, axis: usize, with_pads: bool) -> Vec<usize> {
        let (least, end) = if with_pads {
            (0, self.before[axis] + self.image[axis] + self.after[axis])
        } else {
            (self.before[axis], self.before[axis] + self.image[axis])
        };
        let (stride, dilation, kernel) = (self.strides[axis], self.dilations[axis], self.kernel[axis]);
        // Of elements at start + number * dilation: those before a limit.
        let below = |start: usize, limit: usize| limit.saturating_sub(start).div_ceil(dilation).min(kernel);
        (0..self.output[axis])
            .map(|place| below(place * stride, end) - below(place * stride, least))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(padding: Padding, strides: &[usize], dilations: &[usize], ceil: bool) -> Settings {
        Settings { kernel: None, strides: strides.into(), dilations: dilations.into(), padding, ceil }
    }

    #[test]
    fn an_odd_pad_is_where_the_mode_says() {
        let lower = settings(Padding::SameLower, &[2], &[], false).window(&[3], &[2]).unwrap();
        assert_eq!((lower.before[0], lower.after[0], lower.output[0]), (1, 0, 2));
        let upper = settings(Padding::SameUpper, &[2], &[], false).window(&[3], &[2]).unwrap();
        assert_eq!((upper.before[0], upper.after[0], upper.output[0]), (0, 1, 2));
    }

    #[test]
    fn runs_are_the_places_within_the_image() {
        let cases = [
            (vec![4, 5], vec![3, 2], vec![1, 1, 2, 0], vec![2, 3], vec![1, 2]),
            (vec![3, 7], vec![1, 3], vec![0, 4, 0, 5], vec![1, 1], vec![1, 3]),
        ];
        for (image, kernel, pads, steps, dilations) in cases {
            let window =
                settings(Padding::Explicit(pads), &steps, &dilations, false).window(&image, &kernel).unwrap();
            let count = product(&window.output);
            window.offsets(|_, offset| {
                let mut found = vec![None; count];
                let half = count / 2;
                for range in [0..half, half..count] {
                    window.runs(offset, range, |run| {
                        for step in 0..run.count {
                            found[run.place + step] = Some(run.element + step * window.step());
                        }
                    });
                }
                for (place, found) in found.into_iter().enumerate() {
                    let index = [place / window.output[1], place % window.output[1]];
                    let at = |axis: usize| {
                        let position =
                            index[axis] * window.strides[axis] + offset[axis] * window.dilations[axis];
                        position.checked_sub(window.before[axis]).filter(|position| *position < image[axis])
                    };
                    let expected = at(0).zip(at(1)).map(|(row, column)| row * image[1] + column);
                    assert_eq!(found, expected);
                }
            });
        }
    }

    #[test]
    fn hostile_settings_are_errors() {
        assert!(settings(Padding::Valid, &[], &[], false).window(&[2], &[3]).is_err());
        assert!(settings(Padding::Valid, &[1, 1], &[], false).window(&[2], &[1]).is_err());
        assert!(settings(Padding::Valid, &[], &[], false).window(&[2], &[0]).is_err());
        assert!(settings(Padding::Valid, &[], &[1 << 30], false).window(&[2], &[1 << 30]).is_err());
        let empty = settings(Padding::SameUpper, &[2], &[], false).window(&[0], &[3]).unwrap();
        assert_eq!(empty.output, [0]);
    }
}
