//! Convolutions in which every channel has a window of its own.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

use super::{
    BLOCK, Level, Part, Unfit,
    activation::{Activation, apply},
    arena::{Arena, Room},
    buffer::{Buffer, Shared},
    convolution::{Images, Steps},
    isa::{Isa, Task, dispatch},
    planes::Planes,
    weights::Weights,
};

/// The weights of a convolution by channels, and its bias.
#[derive(Debug)]
pub struct Windows {
    level: Level,
    pub channels: usize,
    /// The sizes of the window.
    pub rows: usize,
    pub columns: usize,
    /// `[block][row][column][16]`.
    weights: Room,
    bias: Buffer,
}

impl Windows {
    /// Of weights `[channel][row][column]` and a bias. `None` if the sizes do not fit, or if there is no memory.
    pub fn new(
        level: Level,
        weights: Weights<'_>,
        sizes: [usize; 3],
        bias: Option<&[f32]>,
        arena: &mut Arena,
    ) -> Option<Self> {
        let [channels, rows, columns] = sizes;
        let taps = rows * columns;
        if channels * taps == 0
            || !weights.fit(channels, taps)
            || bias.is_some_and(|bias| bias.len() != channels)
        {
            return None;
        }
        let blocks = channels.div_ceil(BLOCK);
        let mut packed = arena.zeros(blocks * taps * BLOCK)?;
        let mut scaled = vec![0.0; taps];
        for channel in 0..channels {
            weights.copy(channel, channel * taps, &mut scaled);
            for (tap, weight) in scaled.iter().enumerate() {
                packed[(channel / BLOCK * taps + tap) * BLOCK + channel % BLOCK] = *weight;
            }
        }
        let mut all = Buffer::zeros(blocks * BLOCK);
        if let Some(bias) = bias {
            all[..channels].copy_from_slice(bias);
        }
        Some(Self { level, channels, rows, columns, weights: packed, bias: all })
    }
}

/// A convolution by channels that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    pub windows: &'a Windows,
    pub steps: Steps,
    pub input: Images<'a>,
    /// Images that are added to the sums.
    pub residual: Option<Images<'a>>,
    pub output: Planes,
    /// The function of the sums, before `residual` is added.
    pub activation: Activation,
    /// The function of the sums with `residual`.
    pub after: Activation,
}

impl Depthwise<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        self.check(output)?;
        dispatch(self.windows.level, Rows { depthwise: self, output, part });
        Ok(())
    }

    fn check(&self, output: Shared<'_>) -> Result<(), Unfit> {
        let (windows, input, steps, border) =
            (self.windows, &self.input.planes, &self.steps, self.input.planes.border);
        let reaches =
            |axis: usize, places: usize, window: usize, before: usize, size: usize, after: usize| {
                steps.before[axis] <= before
                    && (places == 0
                        || (places - 1) * steps.strides[axis] + (window - 1) * steps.dilations[axis]
                            < steps.before[axis] + size + after)
            };
        let blocks = windows.channels.div_ceil(BLOCK);
        let fits = input.lanes == BLOCK
            && input.blocks == blocks
            && self.input.values.len() >= input.len()
            && self.output.lanes == BLOCK
            && self.output.blocks == blocks
            && self.output.images == input.images
            && output.len() >= self.output.len()
            && self.residual.is_none_or(|residual| {
                residual.planes.lanes == BLOCK
                    && residual.planes.blocks == blocks
                    && residual.planes.is_as_large_as(&self.output)
                    && residual.values.len() >= residual.planes.len()
            })
            && reaches(0, self.output.height, windows.rows, border.top, input.height, border.bottom)
            && reaches(1, self.output.width, windows.columns, border.left, input.width, border.right);
        if fits { Ok(()) } else { Err(Unfit("a convolution by channels")) }
    }
}

struct Rows<'a> {
    depthwise: &'a Depthwise<'a>,
    output: Shared<'a>,
    part: Part,
}

/// Pixels of a row: where their numbers are.
#[derive(Clone, Copy)]
struct Pixels {
    input: *const f32,
    window_row: usize,
    window_column: usize,
    step: usize,
    weights: *const f32,
    rows: usize,
    columns: usize,
    bias: *const f32,
    residual: *const f32,
    output: *mut f32,
    low: f32,
    high: f32,
}

/// # Safety
/// The windows of `COUNT` pixels are within the input, and there is room for the outputs.
#[inline(always)]
unsafe fn pixels<I: Isa, const COUNT: usize, const STEP: usize>(isa: I, pixels: &Pixels) {
    let step = if STEP == 0 { pixels.step } else { STEP };
    // SAFETY: the bias has 16 floats.
    let mut sums = [unsafe { isa.load(pixels.bias) }; COUNT];
    let mut weights = pixels.weights;
    let mut row = pixels.input;
    for _ in 0..pixels.rows {
        let mut column = row;
        for _ in 0..pixels.columns {
            // SAFETY: there are 16 weights for each place of the window.
            let weight = unsafe { isa.load(weights) };
            for (number, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the window is within the input.
                *sum = isa.multiply_add(weight, unsafe { isa.load(column.add(number * step)) }, *sum);
            }
            weights = weights.wrapping_add(BLOCK);
            column = column.wrapping_add(pixels.window_column);
        }
        row = row.wrapping_add(pixels.window_row);
    }
    let (low, high) = (isa.splat(pixels.low), isa.splat(pixels.high));
    for (number, sum) in sums.into_iter().enumerate() {
        let mut value = sum;
        if !pixels.residual.is_null() {
            // SAFETY: the images that are added are as large as the output.
            value = isa.add(value, unsafe { isa.load(pixels.residual.add(number * BLOCK)) });
        }
        let value = isa.at_most(isa.at_least(value, low), high);
        // SAFETY: the output has room for the pixels.
        unsafe { isa.store(value, pixels.output.add(number * BLOCK)) };
    }
}

/// # Safety
/// As of [`pixels`], for `count` pixels.
#[inline(always)]
unsafe fn row<I: Isa, const STEP: usize>(isa: I, first: Pixels, step: usize, count: usize) {
    let tiles = count.div_ceil(8);
    let mut here = first;
    let mut done = 0;
    for number in 0..tiles {
        let width = (count - done).div_ceil(tiles - number);
        // SAFETY: the caller says that all pixels of the row are there.
        unsafe {
            match width {
                1 => pixels::<I, 1, STEP>(isa, &here),
                2 => pixels::<I, 2, STEP>(isa, &here),
                3 => pixels::<I, 3, STEP>(isa, &here),
                4 => pixels::<I, 4, STEP>(isa, &here),
                5 => pixels::<I, 5, STEP>(isa, &here),
                6 => pixels::<I, 6, STEP>(isa, &here),
                7 => pixels::<I, 7, STEP>(isa, &here),
                _ => pixels::<I, 8, STEP>(isa, &here),
            }
        }
        here.input = here.input.wrapping_add(width * step);
        here.output = here.output.wrapping_add(width * BLOCK);
        if !here.residual.is_null() {
            here.residual = here.residual.wrapping_add(width * BLOCK);
        }
        done += width;
    }
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Depthwise { windows, steps, input, residual, output, activation, after } = *self.depthwise;
        let taps = windows.rows * windows.columns;
        let is_plain = activation == Activation::Identity && after.bounds().is_some();
        let (low, high) = if is_plain { after.bounds() } else { activation.bounds() }
            .unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let rows = output.blocks * output.images * output.height;
        let step = steps.strides[1] * BLOCK;
        for number in self.part.of(rows) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let start = output.at(block, image, y, 0);
            let from = input.planes.at(block, image, y * steps.strides[0], 0)
                - steps.before[0] * input.planes.row()
                - steps.before[1] * BLOCK;
            let added = residual.map(|residual| {
                &residual.values[residual.planes.at(block, image, y, 0)..][..output.width * BLOCK]
            });
            let first = Pixels {
                input: input.values[from..].as_ptr(),
                window_row: steps.dilations[0] * input.planes.row(),
                window_column: steps.dilations[1] * BLOCK,
                step,
                weights: windows.weights[block * taps * BLOCK..].as_ptr(),
                rows: windows.rows,
                columns: windows.columns,
                bias: windows.bias[block * BLOCK..].as_ptr(),
                residual: added.filter(|_| is_plain).map_or(std::ptr::null(), <[f32]>::as_ptr),
                output: self.output.pointer(start),
                low,
                high,
            };
            // SAFETY: `check` has found that all sizes fit; this thread alone has this row.
            unsafe {
                match step {
                    16 => row::<I, 16>(isa, first, step, output.width),
                    32 => row::<I, 32>(isa, first, step, output.width),
                    _ => row::<I, 0>(isa, first, step, output.width),
                }
            }
            if is_plain {
                continue;
            }
            let (level, count) = (windows.level, output.width * BLOCK);
            if activation.bounds().is_none() {
                // SAFETY: the same.
                unsafe { apply(level, activation, self.output.pointer(start), count) };
            }
            // SAFETY: the same.
            if let (Some(added), Some(row)) = (added, unsafe { self.output.part(start, count) }) {
                for (value, added) in row.iter_mut().zip(added) {
                    *value += *added;
                }
            }
            if after != Activation::Identity {
                // SAFETY: the same.
                unsafe { apply(level, after, self.output.pointer(start), count) };
            }
        }
    }
}
