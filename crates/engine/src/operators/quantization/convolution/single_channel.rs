//! Convolutions with one channel in each group ("depthwise"): each sum has few products, so
//! to gather them in columns would cost more than to compute them.

use super::{PADDING, Part, Task};
use crate::{
    operators::{Context, OperatorError},
    tensor::{Element, ElementType},
};

use super::super::number::Bytes;

/// Positions of the window that follow one another, all with the same place of it inside the
/// input.
#[derive(Debug)]
struct Line {
    /// The place in the window.
    place: usize,
    /// The first position, counted through the output's spatial dimensions.
    position: usize,
    count: usize,
    /// Where the place of the first position lies in the channel.
    offset: usize,
}

/// All lines of a convolution.
#[derive(Debug)]
pub(super) struct Lines {
    lines: Vec<Line>,
    /// How far apart the places of two positions of a line are in the channel.
    stride: usize,
}

impl Lines {
    /// The lines of a task, from its table of places.
    pub(super) fn new(task: &Task, table: &[u32], context: &Context<'_>) -> Result<Self, OperatorError> {
        let (stride, length) = task.geometry.line();
        let rows = table.len().checked_div(length).unwrap_or(0);
        // A line takes four numbers.
        context.reserve(ElementType::Uint64, &[rows, 4])?;
        let mut lines = Vec::with_capacity(rows);
        for (place, offsets) in table.chunks_exact(task.positions).enumerate() {
            for (row, offsets) in offsets.chunks_exact(length).enumerate() {
                // In a line the places inside the input follow one another: the padding is at its ends.
                let Some(first) = offsets.iter().position(|offset| *offset != PADDING) else { continue };
                let count = offsets[first..].iter().take_while(|offset| **offset != PADDING).count();
                let offset = offsets[first] as usize;
                lines.push(Line { place, position: row * length + first, count, offset });
            }
        }
        Ok(Self { lines, stride })
    }

    /// Computes the sums of an image and a group and hands those of each filter to `finish`.
    pub(super) fn run<T: Element>(
        &self,
        task: &Task,
        part: &Part<'_>,
        output: &mut [T],
        context: &Context<'_>,
        finish: impl Fn(usize, &[i32], &mut [T]),
    ) -> Result<(), OperatorError> {
        context.reserve(ElementType::Int16, &[task.size])?;
        let channel = match part.input {
            Bytes::Signed(values) => less(values, part.zero_point),
            Bytes::Unsigned(values) => less(values, part.zero_point),
        };
        let mut sums = vec![0_i32; context.reserve(ElementType::Int32, &[task.positions])?];
        for (filter, places) in output.chunks_exact_mut(task.positions).enumerate() {
            context.check()?;
            sums.fill(0);
            let weights = part.filters.row(filter);
            for line in &self.lines {
                let sums = &mut sums[line.position..line.position + line.count];
                self.add(sums, &channel[line.offset..], weights[line.place]);
            }
            finish(filter, &sums, places);
        }
        Ok(())
    }

    /// Adds the products of one line.
    fn add(&self, sums: &mut [i32], values: &[i16], weight: i16) {
        let weight = i32::from(weight);
        if self.stride == 1 {
            for (sum, value) in sums.iter_mut().zip(values) {
                *sum = sum.wrapping_add(i32::from(*value) * weight);
            }
        } else {
            for (sum, value) in sums.iter_mut().zip(values.iter().step_by(self.stride)) {
                *sum = sum.wrapping_add(i32::from(*value) * weight);
            }
        }
    }
}

/// Each value less the zero point.
fn less<T: Copy + Into<i16>>(values: &[T], zero_point: i32) -> Vec<i16> {
    values.iter().map(|value| (*value).into() - zero_point as i16).collect()
}
