//! Where the values of a region of quantised numbers are, for given sizes of its inputs: all in one block of
//! memory.

use std::ops::Range;

use super::{
    super::{schedule::moved, step::Value},
    step::{Flow, Step, Work},
};
use crate::operators::{OperatorError, windows::geometry::Settings};
use adytum_kernels::{
    convolution::Steps,
    integer::GROUP,
    planes::{Border, Planes},
};

/// Sizes of images: how many, height, width.
type Size = [usize; 3];

/// Values begin at multiples of this number of bytes.
const LINE: usize = 64;

/// A step with the sizes of a run.
#[derive(Debug)]
pub(super) struct Planned {
    /// The index of the step in the flow.
    pub(super) step: usize,
    /// How its window moves.
    pub(super) steps: Steps,
    /// Of means under a window: the elements for each row, and for each column, of the output.
    pub(super) counts: [Vec<f32>; 2],
    /// About how many multiplications it takes.
    pub(super) cost: usize,
}

/// A place in memory.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) planes: Planes,
    pub(super) range: Range<usize>,
    /// The byte around the images.
    pub(super) around: u8,
}

/// A plan of memory.
#[derive(Debug)]
pub(super) struct Schedule {
    /// For each value; `None` for one that nobody makes.
    pub(super) places: Vec<Option<Place>>,
    pub(super) steps: Vec<Planned>,
    /// Bytes of all values.
    pub(super) total: usize,
    /// Bytes that each thread needs besides.
    pub(super) scratch: usize,
}

impl Schedule {
    /// For inputs of these sizes, and what the wanted outputs need.
    pub(super) fn new(flow: &Flow, inputs: &[Option<Size>], wanted: &[bool]) -> Result<Self, OperatorError> {
        let needed = needed(flow, wanted);
        let count = flow.channels.len();
        let mut sizes: Vec<Option<Size>> = vec![None; count];
        let mut whole = vec![false; count];
        for (entry, size) in flow.entries.iter().zip(inputs) {
            put(&mut sizes, entry.value, *size);
            put(&mut whole, entry.value, entry.is_whole);
        }
        let mut borders = vec![(Border::default(), 0_u8); count];
        let (mut steps, mut scratch) = (Vec::new(), 0);
        for (number, step) in flow.steps.iter().enumerate() {
            if !needed.get(step.output.0).copied().unwrap_or(false) {
                continue;
            }
            let size = |index: usize| -> Result<Size, OperatorError> {
                let value = step.inputs.get(index);
                let found = value.and_then(|value| sizes.get(value.0).copied().flatten());
                found.ok_or_else(|| OperatorError::Engine {
                    reason: format!("a step of a region has no input {index}"),
                })
            };
            let (planned, output, border) = plan(number, step, &size)?;
            if let (Some(border), Some(input)) = (border, step.inputs.first())
                && let Some((place, around)) = borders.get_mut(input.0)
            {
                (*place, *around) = (place.and(border), step.zero_point);
            }
            if let Work::Depthwise { windows, .. } = &step.work {
                scratch = scratch.max(windows.scratch(&planned.steps, output[2]));
            }
            put(&mut sizes, step.output, Some(output));
            steps.push(planned);
        }
        let mut places = Vec::with_capacity(count);
        for (index, size) in sizes.iter().enumerate() {
            let channels = flow.channels.get(index).copied().unwrap_or(0);
            let (border, around) = borders.get(index).copied().unwrap_or_default();
            places.push(match size {
                Some([images, height, width]) if needed.get(index) == Some(&true) => {
                    let mut planes = Planes::new(channels, *images, *height, *width, border);
                    if whole.get(index) == Some(&true) {
                        (planes.lanes, planes.blocks) = (channels.next_multiple_of(GROUP), 1);
                    }
                    Some(Place { planes, range: 0..0, around })
                }
                _ => None,
            });
        }
        let total = arrange(flow, &steps, &mut places, wanted)?;
        Ok(Self { places, steps, total, scratch })
    }
}

fn put<T>(list: &mut [T], value: Value, item: T) {
    if let Some(place) = list.get_mut(value.0) {
        *place = item;
    }
}

/// For each value: whether the wanted outputs need it.
pub(super) fn needed(flow: &Flow, wanted: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; flow.channels.len()];
    for (exit, _) in flow.exits.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        put(&mut needed, exit.value, true);
    }
    for step in flow.steps.iter().rev() {
        if needed.get(step.output.0) == Some(&true) {
            for input in &step.inputs {
                put(&mut needed, *input, true);
            }
        }
    }
    needed
}

/// The sizes of a step, those of its output, and the border that its first input must have.
fn plan(
    number: usize,
    step: &Step,
    size: &dyn Fn(usize) -> Result<Size, OperatorError>,
) -> Result<(Planned, Size, Option<Border>), OperatorError> {
    let first = size(0)?;
    let [images, height, width] = first;
    let still = Steps { strides: [1, 1], dilations: [1, 1], before: [0, 0] };
    let mut planned = Planned { step: number, steps: still, counts: [Vec::new(), Vec::new()], cost: 0 };
    let mut output = first;
    let mut border = None;
    let over = |settings: &Settings, window: [usize; 2]| settings.window(&[height, width], &window);
    match &step.work {
        Work::Convolution { filters, settings, .. } => {
            let window = over(settings, [filters.rows, filters.columns])?;
            (planned.steps, output, border) = moved(images, &window)?;
            let products = filters.inputs * filters.rows * filters.columns * filters.outputs * filters.groups;
            planned.cost = products / 3;
        }
        Work::Depthwise { windows, settings, .. } => {
            let window = over(settings, [windows.rows, windows.columns])?;
            (planned.steps, output, border) = moved(images, &window)?;
            planned.cost = 2 * windows.rows * windows.columns * windows.channels;
        }
        Work::Maximum { settings, window } => {
            (planned.steps, output, _) = moved(images, &over(settings, *window)?)?;
            planned.cost = 512;
        }
        Work::Mean { settings, window, with_pads, .. } => {
            let window = over(settings, *window)?;
            (planned.steps, output, _) = moved(images, &window)?;
            for (axis, counts) in planned.counts.iter_mut().enumerate() {
                *counts = window.counts(axis, *with_pads).into_iter().map(|count| count as f32).collect();
            }
            planned.cost = 2048;
        }
        Work::GlobalMean { .. } => {
            if height * width == 0 {
                return Err(OperatorError::inputs("an image without elements can't be pooled"));
            }
            output = [images, 1, 1];
        }
        Work::Repeat([down, right]) => {
            let times = |size: usize, times: usize| {
                size.checked_mul(times).ok_or(OperatorError::TooLarge { shape: vec![size, times] })
            };
            output = [images, times(height, *down)?, times(width, *right)?];
            planned.cost = 64;
        }
        Work::Copy(_) | Work::Pair { .. } | Work::Table(_) | Work::Tables(_) => planned.cost = 128,
    }
    for index in 1..step.inputs.len() {
        let other = size(index)?;
        let expected = match step.work {
            Work::Pair { is_pixel: true, .. } => [images, 1, 1],
            _ => output,
        };
        if other != expected {
            return Err(OperatorError::inputs(format!(
                "images of the size {other:?} (images, height, width) meet images of the size {expected:?}"
            )));
        }
    }
    planned.cost = planned.cost.saturating_mul(output[0].saturating_mul(output[1]).saturating_mul(output[2]));
    Ok((planned, output, border))
}

/// Gives each value a place that no other value has while it is alive: the first gap that is large enough.
/// The bytes of all of them.
fn arrange(
    flow: &Flow,
    steps: &[Planned],
    places: &mut [Option<Place>],
    wanted: &[bool],
) -> Result<usize, OperatorError> {
    let mut ends = vec![0_usize; places.len()];
    for (time, planned) in steps.iter().enumerate() {
        for value in flow.steps.get(planned.step).into_iter().flat_map(|step| &step.inputs) {
            put(&mut ends, *value, time + 1);
        }
    }
    for (exit, _) in flow.exits.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        put(&mut ends, exit.value, usize::MAX);
    }
    // The values in the order in which they are made.
    let entering = flow.entries.iter().map(|entry| (entry.value, 0));
    let made = steps
        .iter()
        .enumerate()
        .filter_map(|(time, planned)| flow.steps.get(planned.step).map(|step| (step.output, time + 1)));
    let mut alive: Vec<(Range<usize>, usize)> = Vec::new();
    let mut total = 0;
    for (value, time) in entering.chain(made) {
        let Some(place) = places.get_mut(value.0).and_then(Option::as_mut) else { continue };
        let planes = place.planes;
        let too_large = || OperatorError::TooLarge {
            shape: vec![planes.images, planes.blocks * planes.lanes, planes.height, planes.width],
        };
        let len = planes.checked_len().ok_or_else(too_large)?.next_multiple_of(LINE);
        // A value that ends where this one begins is still read then.
        alive.retain(|(_, end)| *end >= time);
        alive.sort_by_key(|(range, _)| range.start);
        let mut start = 0;
        for (range, _) in &alive {
            if range.start >= start + len {
                break;
            }
            start = start.max(range.end);
        }
        let end = start.checked_add(len).ok_or_else(too_large)?;
        total = total.max(end);
        alive.push((start..end, ends.get(value.0).copied().unwrap_or(0).max(time)));
        place.range = start..end;
    }
    Ok(total)
}
