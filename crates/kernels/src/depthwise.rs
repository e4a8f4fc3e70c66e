//! Convolutions in which every channel has a window of its own.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

use super::{
    BLOCK, Level, Part, Unfit,
    activation::{Activation, apply},
    arena::{Arena, Room},
    bfloat::{
        Words,
        images::{ImageTask, dispatch_images},
    },
    buffer::{Buffer, Shared},
    convolution::{Images, Steps},
    isa::Isa,
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
        let residual = self.residual.is_some_and(|residual| residual.planes.is_narrow());
        let is_narrow = self.input.planes.is_narrow() || self.output.is_narrow() || residual;
        dispatch_images(self.windows.level, is_narrow, Rows { depthwise: self, output, part });
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
        // No pass goes over narrow images.
        let has_lanes = |planes: &Planes| planes.lanes == BLOCK || planes.is_narrow() && self.is_plain();
        let fits = input.is_blocked()
            && input.blocks == blocks
            && self.input.values.len() >= input.len()
            && has_lanes(&self.output)
            && self.output.blocks == blocks
            && self.output.images == input.images
            && output.len() >= self.output.len()
            && self.residual.is_none_or(|residual| {
                has_lanes(&residual.planes)
                    && residual.planes.blocks == blocks
                    && residual.planes.is_as_large_as(&self.output)
                    && residual.values.len() >= residual.planes.len()
            })
            && reaches(0, self.output.height, windows.rows, border.top, input.height, border.bottom)
            && reaches(1, self.output.width, windows.columns, border.left, input.width, border.right);
        if fits { Ok(()) } else { Err(Unfit("a convolution by channels")) }
    }
}

impl Depthwise<'_> {
    /// Whether one pass does all of it: a sum, what is added, a clip.
    fn is_plain(&self) -> bool {
        self.activation == Activation::Identity && self.after.bounds().is_some()
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
    /// From one pixel to the next.
    residual_step: usize,
    residual_is_narrow: bool,
    output: *mut f32,
    output_step: usize,
    output_is_narrow: bool,
    low: f32,
    high: f32,
}

/// The columns of a window whose rows are read once for all pixels.
const FEW_COLUMNS: usize = 3;

/// Pixels that are computed at once, at most.
const PIXELS: usize = 8;

/// `COUNT` pixels whose inputs are `STEP` floats apart (0: what the pixels say). If `SHARES`, the window has three columns
/// that are as far apart, and what two pixels read is read once: a 16-bit float becomes a float each time that it is.
///
/// # Safety
/// The windows of the pixels are within the input, which is of 16-bit floats if `NARROW` says so, and there is room for the
/// outputs.
#[inline(always)]
unsafe fn pixels<W: Words, const NARROW: bool, const SHARES: bool, const COUNT: usize, const STEP: usize>(
    words: W,
    pixels: &Pixels,
) {
    let isa = words.isa();
    let step = if STEP == 0 { pixels.step } else { STEP };
    // SAFETY: the bias has 16 floats.
    let mut sums = [unsafe { isa.load(pixels.bias) }; COUNT];
    let mut weights = pixels.weights;
    let mut row = pixels.input;
    for _ in 0..pixels.rows {
        if SHARES {
            let mut inputs = [isa.splat(0.0); PIXELS + FEW_COLUMNS - 1];
            for (number, input) in inputs.iter_mut().enumerate().take(COUNT + FEW_COLUMNS - 1) {
                // SAFETY: the window is within the input.
                *input = unsafe { words.load(row.add(number * step), NARROW) };
            }
            for column in 0..FEW_COLUMNS {
                // SAFETY: there are 16 weights for each place of the window.
                let weight = unsafe { isa.load(weights) };
                for (number, sum) in sums.iter_mut().enumerate() {
                    *sum = isa.multiply_add(weight, inputs[number + column], *sum);
                }
                weights = weights.wrapping_add(BLOCK);
            }
        } else {
            let mut column = row;
            for _ in 0..pixels.columns {
                // SAFETY: there are 16 weights for each place of the window.
                let weight = unsafe { isa.load(weights) };
                for (number, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: the window is within the input.
                    let input = unsafe { words.load(column.add(number * step), NARROW) };
                    *sum = isa.multiply_add(weight, input, *sum);
                }
                weights = weights.wrapping_add(BLOCK);
                column = column.wrapping_add(pixels.window_column);
            }
        }
        row = row.wrapping_add(pixels.window_row);
    }
    let (low, high) = (isa.splat(pixels.low), isa.splat(pixels.high));
    for (number, sum) in sums.into_iter().enumerate() {
        let mut value = sum;
        if !pixels.residual.is_null() {
            let added = pixels.residual.wrapping_add(number * pixels.residual_step);
            // SAFETY: the images that are added are as large as the output.
            value = isa.add(value, unsafe { words.load(added, pixels.residual_is_narrow) });
        }
        let value = isa.at_most(isa.at_least(value, low), high);
        let to = pixels.output.wrapping_add(number * pixels.output_step);
        // SAFETY: the output has room for the pixels.
        unsafe { words.store(value, to, pixels.output_is_narrow) };
    }
}

/// # Safety
/// As of [`pixels`], for `count` pixels.
#[inline(always)]
unsafe fn row<W: Words, const NARROW: bool, const SHARES: bool, const STEP: usize>(
    words: W,
    first: Pixels,
    count: usize,
) {
    let tiles = count.div_ceil(PIXELS);
    let mut here = first;
    let mut done = 0;
    for number in 0..tiles {
        let width = (count - done).div_ceil(tiles - number);
        // SAFETY: the caller says that all pixels of the row are there.
        unsafe {
            match width {
                1 => pixels::<W, NARROW, SHARES, 1, STEP>(words, &here),
                2 => pixels::<W, NARROW, SHARES, 2, STEP>(words, &here),
                3 => pixels::<W, NARROW, SHARES, 3, STEP>(words, &here),
                4 => pixels::<W, NARROW, SHARES, 4, STEP>(words, &here),
                5 => pixels::<W, NARROW, SHARES, 5, STEP>(words, &here),
                6 => pixels::<W, NARROW, SHARES, 6, STEP>(words, &here),
                7 => pixels::<W, NARROW, SHARES, 7, STEP>(words, &here),
                _ => pixels::<W, NARROW, SHARES, PIXELS, STEP>(words, &here),
            }
        }
        here.input = here.input.wrapping_add(width * here.step);
        here.output = here.output.wrapping_add(width * here.output_step);
        if !here.residual.is_null() {
            here.residual = here.residual.wrapping_add(width * here.residual_step);
        }
        done += width;
    }
}

/// A row of pixels, by the form for its distances.
///
/// # Safety
/// As of [`pixels`], for `count` pixels of an input that is of 16-bit floats if `is_narrow` says so.
#[inline(always)]
unsafe fn any_row<W: Words>(words: W, first: Pixels, is_narrow: bool, count: usize) {
    let shares = first.columns == FEW_COLUMNS && first.window_column == first.step;
    // SAFETY: the caller says that all pixels of the row are there.
    unsafe {
        if W::ARE_PAIRS && is_narrow {
            match first.step {
                8 if shares => row::<W, true, true, 8>(words, first, count),
                16 => row::<W, true, false, 16>(words, first, count),
                _ => row::<W, true, false, 0>(words, first, count),
            }
        } else {
            match first.step {
                16 => row::<W, false, false, 16>(words, first, count),
                32 => row::<W, false, false, 32>(words, first, count),
                _ => row::<W, false, false, 0>(words, first, count),
            }
        }
    }
}

impl ImageTask for Rows<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let Depthwise { windows, steps, input, residual, output, activation, after } = *self.depthwise;
        let taps = windows.rows * windows.columns;
        let is_plain = self.depthwise.is_plain();
        let (low, high) = if is_plain { after.bounds() } else { activation.bounds() }
            .unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let rows = output.blocks * output.images * output.height;
        let lanes = input.planes.lanes;
        for number in self.part.of(rows) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let start = output.at(block, image, y, 0);
            let from = input.planes.at(block, image, y * steps.strides[0], 0)
                - steps.before[0] * input.planes.row()
                - steps.before[1] * lanes;
            let added = residual.map(|residual| {
                let from = residual.planes.at(block, image, y, 0);
                &residual.values[from..][..output.width * residual.planes.lanes]
            });
            let first = Pixels {
                input: input.values[from..].as_ptr(),
                window_row: steps.dilations[0] * input.planes.row(),
                window_column: steps.dilations[1] * lanes,
                step: steps.strides[1] * lanes,
                weights: windows.weights[block * taps * BLOCK..].as_ptr(),
                rows: windows.rows,
                columns: windows.columns,
                bias: windows.bias[block * BLOCK..].as_ptr(),
                residual: added.filter(|_| is_plain).map_or(std::ptr::null(), <[f32]>::as_ptr),
                residual_step: residual.map_or(0, |residual| residual.planes.lanes),
                residual_is_narrow: residual.is_some_and(|residual| residual.planes.is_narrow()),
                output: self.output.pointer(start),
                output_step: output.lanes,
                output_is_narrow: output.is_narrow(),
                low,
                high,
            };
            // SAFETY: `check` has found that all sizes fit; this thread alone has this row.
            unsafe { any_row(words, first, input.planes.is_narrow(), output.width) };
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
