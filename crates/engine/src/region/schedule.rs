//! Where the values of a region are, for given sizes of its inputs: all in one block of memory.

use std::ops::Range;

use super::{
    byte_convolution::Packed,
    places::{Need, Place, arrange},
    recognize::Sources,
    step::{Flow, Spreading, Step, Value, Work},
    stretches::{Stretch, cut},
};
use crate::operators::{
    OperatorError,
    windows::geometry::{Settings, Window},
};
use adytum_kernels::{
    convolution::Steps,
    planes::{Border, Planes},
    winograd::tiles,
};

/// Sizes of images: how many, height, width.
type Size = [usize; 3];

/// A step with the sizes of a run.
#[derive(Debug)]
pub(super) struct Planned {
    /// The index of the step in the flow.
    pub(super) step: usize,
    /// How its window moves.
    pub(super) steps: Steps,
    /// Of means under a window: the elements for each row, and for each column, of the output.
    pub(super) counts: [Vec<f32>; 2],
    /// Of images of another size: where their pixels come from.
    pub(super) sources: Option<Sources>,
    /// About how many multiplications it takes for each image.
    pub(super) cost: usize,
    /// The border of its input as bytes, if it makes them.
    pub(super) bytes: Option<Border>,
}

/// A plan of memory.
#[derive(Debug)]
pub(super) struct Schedule {
    /// For each value: its place; `None` for one that nobody makes.
    pub(super) places: Vec<Option<Place>>,
    pub(super) steps: Vec<Planned>,
    /// The order in which the steps are computed for which images.
    pub(super) stretches: Vec<Stretch>,
    /// Floats of all of it.
    pub(super) total: usize,
    /// Floats that each thread needs besides.
    pub(super) scratch: usize,
    /// Bytes for numbers that become such.
    pub(super) bytes: usize,
    /// Bytes that each thread needs for the columns of those.
    pub(super) columns: usize,
}

impl Schedule {
    /// For inputs of these sizes, and what the wanted outputs need.
    pub(super) fn new(flow: &Flow, inputs: &[Option<Size>], wanted: &[bool]) -> Result<Self, OperatorError> {
        let needed = needed(flow, wanted);
        let count = flow.channels.len();
        let mut sizes: Vec<Option<Size>> = vec![None; count];
        let mut lanes = vec![false; count];
        for (entry, size) in flow.inputs.iter().zip(inputs) {
            put(&mut sizes, entry.value, *size);
            put(&mut lanes, entry.value, entry.is_whole);
        }
        let mut borders = vec![Border::default(); count];
        let mut steps = Vec::new();
        for (number, step) in flow.steps.iter().enumerate() {
            if !needed.get(step.output.0).copied().unwrap_or(false) {
                continue;
            }
            let size = |index: usize| -> Result<Size, OperatorError> {
                let value = step.inputs.get(index);
                let found = value.and_then(|value| sizes.get(value.0).copied().flatten());
                found.ok_or_else(|| missing(index))
            };
            let (planned, output, border) = plan(number, step, &size)?;
            if let (Some(border), Some(input)) = (border, step.inputs.first())
                && let Some(place) = borders.get_mut(input.0)
            {
                *place = place.and(border);
            }
            put(&mut sizes, step.output, Some(output));
            steps.push(planned);
        }
        let mut planes: Vec<Option<Planes>> = Vec::with_capacity(count);
        for (index, size) in sizes.iter().enumerate() {
            let channels = flow.channels.get(index).copied().unwrap_or(0);
            let border = borders.get(index).copied().unwrap_or_default();
            planes.push(match size {
                Some([images, height, width]) if needed.get(index) == Some(&true) => {
                    let mut planes = Planes::new(channels, *images, *height, *width, border);
                    let is_narrow = flow.narrow.contains(&Value(index));
                    if lanes.get(index) == Some(&true) {
                        let words = if is_narrow { channels.div_ceil(2) } else { channels };
                        (planes.lanes, planes.blocks) = (words, 1);
                    } else if is_narrow {
                        planes = planes.narrow();
                    }
                    Some(planes)
                }
                _ => None,
            });
        }
        let stretches = stretches(flow, &steps, &planes);
        let lives = lives(flow, &steps, &stretches, wanted);
        let (places, total) = place(flow, &steps, &stretches, &planes, &lives)?;
        let mut scratch = 0;
        for stretch in &stretches {
            for planned in steps.get(stretch.steps.clone()).unwrap_or_default() {
                let Some(step) = flow.steps.get(planned.step) else { continue };
                let (Work::Winograd { winograd, .. }, Some(Some(planes))) =
                    (&step.work, planes.get(step.output.0))
                else {
                    continue;
                };
                for group in &stretch.groups {
                    let images = planes.images.min(group.len());
                    scratch = scratch.max(winograd.scratch(images * tiles(planes.height, planes.width)));
                }
            }
        }
        let (bytes, columns) = bytes(flow, &steps, &planes)?;
        Ok(Self { places, steps, stretches, total, scratch, bytes, columns })
    }
}

/// The bytes that convolutions of bytes need, and those that each thread needs besides.
fn bytes(flow: &Flow, steps: &[Planned], planes: &[Option<Planes>]) -> Result<(usize, usize), OperatorError> {
    let (mut bytes, mut columns) = (0, 0);
    for planned in steps {
        let Some(Step { work: Work::Dynamic(dynamic), inputs, output }) = flow.steps.get(planned.step) else {
            continue;
        };
        let planes = |value: Option<&Value>| *planes.get(value?.0)?;
        let (Some(input), Some(output)) = (planes(inputs.first()), planes(Some(output))) else { continue };
        let input = Planes { border: planned.bytes.unwrap_or_default(), ..input };
        let too_large = || OperatorError::TooLarge { shape: vec![input.images, input.height, input.width] };
        let count = input.checked_len().ok_or_else(too_large)?;
        match &dynamic.weights {
            Packed::Filters(_) => bytes = bytes.max(count),
            Packed::Windows(windows) => {
                bytes = bytes.max(count);
                columns = columns.max(windows.scratch(&planned.steps, output.width));
            }
        }
    }
    Ok((bytes, columns))
}

/// Cuts the steps into stretches.
fn stretches(flow: &Flow, steps: &[Planned], planes: &[Option<Planes>]) -> Vec<Stretch> {
    // What numbers become bytes by depends on all images.
    let is_dynamic =
        |planned: &Planned| matches!(flow.steps.get(planned.step), Some(Step { work: Work::Dynamic(_), .. }));
    if steps.iter().any(is_dynamic) {
        return vec![Stretch::whole(0..steps.len())];
    }
    let known = || planes.iter().flatten();
    let images = known().next().map_or(0, |planes| planes.images);
    // Values of other batches never meet these.
    if known().any(|planes| planes.images != images) {
        return vec![Stretch::whole(0..steps.len())];
    }
    let bytes: Vec<usize> = steps
        .iter()
        .map(|planned| {
            let step = flow.steps.get(planned.step);
            let values = step.into_iter().flat_map(|step| step.inputs.iter().chain([&step.output]));
            let sizes = values.filter_map(|value| planes.get(value.0)?.as_ref()?.checked_len());
            sizes.fold(0_usize, usize::saturating_add).saturating_mul(size_of::<f32>())
        })
        .collect();
    cut(&bytes, images)
}

/// When a value is needed.
#[derive(Clone, Copy, Debug, Default)]
struct Life {
    /// The step that makes it; `None` for an input.
    made: Option<usize>,
    /// The last step that reads it.
    read: Option<usize>,
    /// Whether it is an output of the region.
    leaves: bool,
    /// Whether a stretch reads it that does not make it, or somebody outside.
    is_whole: bool,
}

fn lives(flow: &Flow, steps: &[Planned], stretches: &[Stretch], wanted: &[bool]) -> Vec<Life> {
    let mut lives = vec![Life::default(); flow.channels.len()];
    let is_cut = stretches.iter().any(|stretch| stretch.groups.len() > 1);
    for entry in &flow.inputs {
        put(&mut lives, entry.value, Life { is_whole: is_cut, ..Life::default() });
    }
    for (number, stretch) in stretches.iter().enumerate() {
        for index in stretch.steps.clone() {
            let Some(step) = steps.get(index).and_then(|planned| flow.steps.get(planned.step)) else {
                continue;
            };
            for input in &step.inputs {
                let Some(life) = lives.get_mut(input.0) else { continue };
                life.read = Some(index);
                life.is_whole |= life.made.is_some_and(|made| stretch_of(stretches, made) != number);
            }
            put(&mut lives, step.output, Life { made: Some(index), ..Life::default() });
        }
    }
    for (exit, _) in flow.outputs.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
        if let Some(life) = lives.get_mut(exit.value.0) {
            life.leaves = true;
            life.is_whole |= is_cut;
        }
    }
    lives
}

/// The number of the stretch that has a step.
fn stretch_of(stretches: &[Stretch], step: usize) -> usize {
    stretches.partition_point(|stretch| stretch.steps.end <= step)
}

/// Gives all values their places: first those that more than one stretch needs, then those of each stretch, which
/// take turns in the same memory. Returns the end of all.
fn place(
    flow: &Flow,
    steps: &[Planned],
    stretches: &[Stretch],
    planes: &[Option<Planes>],
    lives: &[Life],
) -> Result<(Vec<Option<Place>>, usize), OperatorError> {
    let mut places: Vec<Option<Place>> = vec![None; planes.len()];
    let mut whole = Vec::new();
    let mut own: Vec<Vec<Need>> = Vec::new();
    own.resize_with(stretches.len(), Vec::new);
    let entering = flow.inputs.iter().map(|entry| entry.value);
    let made = steps.iter().filter_map(|planned| Some(flow.steps.get(planned.step)?.output));
    for value in entering.chain(made) {
        let (Some(Some(planes)), Some(life)) = (planes.get(value.0), lives.get(value.0)) else { continue };
        let place = Place { planes: *planes, range: 0..0, is_whole: life.is_whole };
        let number = life.made.map_or(0, |made| stretch_of(stretches, made));
        if life.is_whole {
            // Every group of a stretch reads and writes it, so it lives as long as the stretch.
            let last = life.read.map_or(number, |read| stretch_of(stretches, read));
            let alive = (number, if life.leaves { usize::MAX } else { last });
            whole.push(Need { value, place, alive });
        } else if let (Some(needs), Some(stretch)) = (own.get_mut(number), stretches.get(number)) {
            let images = stretch.groups.iter().map(Range::len).max().unwrap_or(0);
            let planes = Planes { among: planes.images.min(images), ..planes.some(images) };
            // A value that is read last by a step is still there while the step writes.
            let from = life.made.map_or(0, |made| made + 1);
            let until = if life.leaves { usize::MAX } else { life.read.map_or(from, |read| read + 1) };
            needs.push(Need { value, place: Place { planes, ..place }, alive: (from, until) });
        }
    }
    let shared = arrange(&mut whole, 0)?;
    let mut total = shared;
    for needs in &mut own {
        total = total.max(arrange(needs, shared)?);
    }
    for need in whole.into_iter().chain(own.into_iter().flatten()) {
        put(&mut places, need.value, Some(need.place));
    }
    Ok((places, total))
}

fn put<T>(list: &mut [T], value: Value, item: T) {
    if let Some(place) = list.get_mut(value.0) {
        *place = item;
    }
}

fn unsized_images(height: usize, width: usize, what: &str) -> OperatorError {
    OperatorError::inputs(format!("images of {height} by {width} pixels can't be {what}"))
}

fn missing(index: usize) -> OperatorError {
    OperatorError::Engine { reason: format!("a step of a region has no input {index}") }
}

/// For each value: whether the wanted outputs need it.
pub(super) fn needed(flow: &Flow, wanted: &[bool]) -> Vec<bool> {
    let mut needed = vec![false; flow.channels.len()];
    for (exit, _) in flow.outputs.iter().zip(wanted).filter(|(_, wanted)| **wanted) {
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
    let mut planned = Planned {
        step: number,
        steps: still,
        counts: Default::default(),
        sources: None,
        cost: 0,
        bytes: None,
    };
    let mut output = first;
    let mut border = None;
    let over = |settings: &Settings, window: [usize; 2]| settings.window(&[height, width], &window);
    match &step.work {
        Work::Convolution { filters, settings, .. } => {
            let window = over(settings, [filters.rows, filters.columns])?;
            (planned.steps, output, border) = moved(images, &window)?;
            planned.cost = filters.inputs * filters.rows * filters.columns * filters.outputs * filters.groups;
        }
        Work::Winograd { winograd, settings, .. } => {
            let window = over(settings, [3, 3])?;
            (planned.steps, output, border) = moved(images, &window)?;
            planned.cost = 4 * winograd.inputs * winograd.outputs;
            // The last tile is whole.
            border = border.map(|border| {
                let after = |axis: usize, size: usize| {
                    let end = output[axis + 1].div_ceil(2) * 2 + 2;
                    end.saturating_sub(planned.steps.before[axis] + size)
                };
                let (bottom, right) = (after(0, height), after(1, width));
                border.and(Border { bottom, right, ..Border::default() })
            });
        }
        Work::Depthwise { windows, settings, .. } => {
            let window = over(settings, [windows.rows, windows.columns])?;
            (planned.steps, output, border) = moved(images, &window)?;
            // Memory is what it waits for.
            planned.cost = 4 * windows.rows * windows.columns * windows.channels;
        }
        Work::Spread { places, times, more, .. } => {
            let size = [height, width];
            let mut each = [0; 2];
            let mut around = Border::default();
            for axis in 0..2 {
                let found = size[axis].checked_add_signed(more[axis]);
                each[axis] = found.filter(|_| size[axis] > 0).ok_or_else(|| {
                    OperatorError::inputs(format!(
                        "a transposed convolution of {} pixels has none left after its pads",
                        size[axis]
                    ))
                })?;
                let result = each[axis].checked_mul(times[axis]);
                output[axis + 1] =
                    result.ok_or(OperatorError::TooLarge { shape: vec![each[axis], times[axis]] })?;
            }
            for Spreading { filters, before } in places {
                let after = |axis: usize, window: usize| {
                    (each[axis] + window).saturating_sub(1 + before[axis] + size[axis])
                };
                let (bottom, right) = (after(0, filters.rows), after(1, filters.columns));
                around = around.and(Border { top: before[0], left: before[1], bottom, right });
                planned.cost += filters.inputs * filters.rows * filters.columns * filters.outputs;
            }
            planned.cost /= places.len().max(1);
            border = Some(around);
        }
        Work::Resize(resizing) => {
            let sources = resizing.sources([height, width]);
            let sources = sources.ok_or_else(|| unsized_images(height, width, "resized"))?;
            let [rows, columns] = match &sources {
                Sources::Picked(places) => [places[0].len(), places[1].len()],
                Sources::Between(taps) => [taps[0].len(), taps[1].len()],
            };
            output = [images, rows, columns];
            planned.sources = Some(sources);
            planned.cost = 256;
        }
        Work::Pad(surround) => {
            let places = surround.sources([height, width]);
            let places = places.ok_or_else(|| unsized_images(height, width, "padded"))?;
            output = [images, places[0].len(), places[1].len()];
            planned.sources = Some(Sources::Picked(places));
            planned.cost = 256;
        }
        Work::Dynamic(dynamic) => {
            let [rows, columns] = dynamic.window();
            let window = over(&dynamic.settings, [rows, columns])?;
            // The border is around the bytes.
            (planned.steps, output, planned.bytes) = moved(images, &window)?;
            planned.cost = match &dynamic.weights {
                Packed::Filters(filters) => {
                    filters.inputs * rows * columns * filters.outputs * filters.groups / 3
                }
                Packed::Windows(windows) => 2 * rows * columns * windows.channels,
            };
        }
        Work::Maximum { settings, window } => {
            (planned.steps, output, _) = moved(images, &over(settings, *window)?)?;
            planned.cost = 1024;
        }
        Work::Mean { settings, window, with_pads } => {
            let window = over(settings, *window)?;
            (planned.steps, output, _) = moved(images, &window)?;
            for (axis, counts) in planned.counts.iter_mut().enumerate() {
                *counts = window.counts(axis, *with_pads).into_iter().map(|count| count as f32).collect();
            }
            planned.cost = 1024;
        }
        Work::GlobalMean => {
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
            planned.cost = 256;
        }
        Work::Sample([down, right]) => {
            output = [images, height.div_ceil((*down).max(1)), width.div_ceil((*right).max(1))];
            planned.cost = 256;
        }
        Work::Copy(_)
        | Work::Image { .. }
        | Work::Pixel { .. }
        | Work::Channels { .. }
        | Work::Activation(_)
        | Work::Normalization { .. }
        | Work::Narrow => {
            planned.cost = 256;
        }
    }
    for index in 1..step.inputs.len() {
        let other = size(index)?;
        let expected = match step.work {
            Work::Pixel { .. } => [images, 1, 1],
            _ => output,
        };
        if other != expected {
            return Err(OperatorError::inputs(format!(
                "images of the size {other:?} (images, height, width) meet images of the size {expected:?}"
            )));
        }
    }
    planned.cost = planned.cost.saturating_mul(output[1].saturating_mul(output[2]));
    Ok((planned, output, border))
}

/// How a window moves, the size of the result, and the border that it reads.
pub(super) fn moved(images: usize, window: &Window) -> Result<(Steps, Size, Option<Border>), OperatorError> {
    let two = |sizes: &[usize]| -> Result<[usize; 2], OperatorError> {
        sizes.try_into().map_err(|_| OperatorError::inputs("a window that is not one of two dimensions"))
    };
    let steps = Steps {
        strides: two(&window.strides)?,
        dilations: two(&window.dilations)?,
        before: two(&window.before)?,
    };
    let [height, width] = two(&window.output)?;
    let (kernel, image) = (two(&window.kernel)?, two(&window.image)?);
    let after = |axis: usize, places: usize| {
        let end =
            places.saturating_sub(1) * steps.strides[axis] + (kernel[axis] - 1) * steps.dilations[axis] + 1;
        if places == 0 { 0 } else { end.saturating_sub(steps.before[axis] + image[axis]) }
    };
    let border = Border {
        top: steps.before[0],
        left: steps.before[1],
        bottom: after(0, height),
        right: after(1, width),
    };
    Ok((steps, [images, height, width], Some(border)))
}
