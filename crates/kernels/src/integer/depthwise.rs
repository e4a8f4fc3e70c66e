//! Convolutions of each channel of bytes alone.
//!
//! Four rows of the window are multiplied at once: the bytes of four rows, one below the other, are put next
//! to each other first, for all columns that a row of outputs needs.

#![expect(unsafe_code, reason = "pixels are computed through pointers; several threads write one output")]

use super::{
    GROUP, Images, Instructions,
    convolution::reaches,
    filters::{Source, part},
    finish::{Finish, RealPointers, add, round},
    instructions::{Integers, Task, dispatch},
    memory::Bytes,
    target::Target,
    tile::{Form, WEIGHTS},
};
use crate::{BLOCK, Part, Unfit, convolution::Steps, isa::Isa, planes::Planes};

/// The weights of a convolution of each channel alone.
#[derive(Debug)]
pub struct Windows {
    instructions: Instructions,
    pub channels: usize,
    pub rows: usize,
    pub columns: usize,
    /// Several, where weights are sums of several numbers of int8.
    passes: usize,
    /// `[block][pass][four rows][column][channel][row of the four]`; of 16 bits
    /// `[block][four rows][column][two rows][channel][row of the two]`.
    weights: Bytes,
    bias: Vec<i32>,
    scales: Vec<f32>,
}

impl Windows {
    /// Of weights of the shape `[channels, 1, rows, columns]`. `None` if the sizes do not fit.
    pub fn new(instructions: Instructions, source: &Source<'_>) -> Option<Self> {
        let [channels, one, rows, columns] = source.shape;
        if !source.fits() || one != 1 || source.groups != channels {
            return None;
        }
        let blocks = channels.div_ceil(BLOCK);
        let fours = rows.div_ceil(GROUP);
        // Every weight fits 16 bits.
        let is_wide = instructions.word() == 2;
        let passes = if is_wide { 1 } else { source.passes() };
        let place_bytes = instructions.word() * WEIGHTS;
        let mut windows = Self {
            instructions,
            passes,
            channels,
            rows,
            columns,
            weights: Bytes::zeros(blocks * passes * fours * columns * place_bytes),
            bias: vec![0; blocks * BLOCK],
            scales: vec![0.0; blocks * BLOCK],
        };
        for (channel, weights) in source.weights.chunks_exact(rows * columns).enumerate() {
            windows.bias[channel] = source.shift(channel);
            windows.scales[channel] = source.scale(channel);
            for (place, weight) in weights.iter().enumerate() {
                let (row, column) = (place / columns, place % columns);
                for pass in 0..passes {
                    let four = ((channel / BLOCK * passes + pass) * fours + row / GROUP) * columns + column;
                    let own = &mut windows.weights[four * place_bytes..][..place_bytes];
                    let (lane, row) = (channel % BLOCK * GROUP, row % GROUP);
                    if is_wide {
                        let place = row / 2 * WEIGHTS + lane + row % 2 * 2;
                        own[place..][..2].copy_from_slice(&weight.to_ne_bytes());
                    } else {
                        own[lane + row] = part(*weight, pass);
                    }
                }
            }
        }
        Some(windows)
    }

    /// The summand of each channel, in whole blocks.
    pub fn bias(&self) -> &[i32] {
        &self.bias
    }

    /// Bytes that a thread needs for a row of this number of outputs.
    pub fn scratch(&self, steps: &Steps, width: usize) -> usize {
        self.needed(steps, width).saturating_mul(self.rows.div_ceil(GROUP)).saturating_mul(self.place())
    }

    /// Bytes of four rows of a column of 16 channels.
    fn place(&self) -> usize {
        WEIGHTS * self.instructions.word()
    }

    /// Columns of the input that a row of outputs needs.
    fn needed(&self, steps: &Steps, width: usize) -> usize {
        width.saturating_sub(1) * steps.strides[1] + (self.columns - 1) * steps.dilations[1] + 1
    }
}

/// A convolution by channels that is about to run. Around the image is the zero point of the input.
#[derive(Clone, Copy, Debug)]
pub struct Depthwise<'a> {
    pub windows: &'a Windows,
    pub steps: Steps,
    pub input: Images<'a>,
    /// The summands of the channels, in whole blocks, if they are not those of the windows.
    pub bias: Option<&'a [i32]>,
    pub output: Planes,
}

impl Depthwise<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, target: &Target<'_>, part: Part) -> Result<(), Unfit> {
        let (windows, input) = (self.windows, &self.input.planes);
        let blocks = windows.channels.div_ceil(BLOCK);
        let fits = input.lanes == BLOCK
            && input.blocks == blocks
            && self.input.values.len() >= input.len()
            && self.output.lanes == BLOCK
            && self.output.blocks == blocks
            && self.output.images == input.images
            && self.bias.is_none_or(|bias| bias.len() >= windows.bias.len())
            && target.fits(&self.output)
            && reaches(&self.steps, input, [windows.rows, windows.columns], &self.output);
        if !fits {
            return Err(Unfit("a convolution of bytes by channels"));
        }
        if self.output.width > 0 {
            dispatch(windows.instructions, Rows { job: self, target, part });
        }
        Ok(())
    }
}

struct Rows<'a> {
    job: &'a Depthwise<'a>,
    target: &'a Target<'a>,
    part: Part,
}

/// Pixels of a row: where their numbers are.
#[derive(Clone, Copy)]
struct Pixels {
    /// The interleaved bytes of the first window's first column.
    columns: *const u8,
    /// Bytes of four rows of a column.
    place: usize,
    /// From one four of rows to the next.
    four: usize,
    fours: usize,
    passes: usize,
    /// From one column of the window to the next.
    window: usize,
    /// Columns of the window.
    count: usize,
    /// From one pixel to the next.
    step: usize,
    weights: *const u8,
    bias: *const i32,
    scales: *const f32,
    form: Form,
    finish: Finish,
    reals: RealPointers,
    /// Numbers to add to the results, in their form; or null.
    residual: *const u8,
    output: *mut u8,
}

/// # Safety
/// The columns of `COUNT` pixels are there, and there is room for the outputs.
#[inline(always)]
unsafe fn pixels<I: Integers, const COUNT: usize>(isa: I, pixels: &Pixels) {
    // SAFETY: there are 16 integers and 16 scales.
    let (bias, scales) = unsafe { (isa.load(pixels.bias), isa.isa().load(pixels.scales)) };
    let mut sums = [bias; COUNT];
    let mut weights = pixels.weights;
    for four in 0..pixels.passes * pixels.fours {
        let mut column = pixels.columns.wrapping_add(four % pixels.fours * pixels.four);
        for _ in 0..pixels.count {
            // SAFETY: there are 64 weights for each four of rows and column.
            let loaded = unsafe { isa.weights(weights) };
            for (number, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the columns of each pixel are there.
                *sum = isa.dot(*sum, unsafe { isa.bytes(column.add(number * pixels.step)) }, loaded);
            }
            weights = weights.wrapping_add(pixels.place);
            column = column.wrapping_add(pixels.window);
        }
    }
    // SAFETY: the sums are those of the pixels; the rest is as the caller says.
    unsafe {
        match pixels.form {
            Form::Bytes => write_bytes(isa, pixels, sums, scales),
            Form::Floats | Form::Sums => write_words(isa, pixels, sums),
        }
    }
}

/// Writes sums as bytes.
///
/// # Safety
/// As of [`pixels`].
#[inline(always)]
unsafe fn write_bytes<I: Integers, const COUNT: usize>(
    isa: I,
    pixels: &Pixels,
    sums: [I::Sums; COUNT],
    scales: <I::Isa as Isa>::V,
) {
    let finish = &pixels.finish;
    let mut values = [isa.splat(0); COUNT];
    for (number, (value, sum)) in values.iter_mut().zip(sums).enumerate() {
        *value = round(isa, sum, scales, finish.zero_point);
        if let Some(addition) = finish.addition.filter(|_| !pixels.residual.is_null()) {
            let own = isa.at_least_zero(*value);
            // SAFETY: the images that are added are as large as the output.
            let other = unsafe { isa.widen(pixels.residual.add(number * BLOCK)) };
            let (first, second) = if addition.is_first { (own, other) } else { (other, own) };
            *value = add(isa, first, second, &addition);
        }
    }
    if let [a, b, c, d] = values.as_slice() {
        // SAFETY: the output has room for the pixels.
        unsafe { isa.narrow_four([*a, *b, *c, *d], pixels.output) };
    } else {
        for (number, value) in values.into_iter().enumerate() {
            // SAFETY: the same.
            unsafe { isa.narrow(value, pixels.output.add(number * BLOCK)) };
        }
    }
}

/// Writes sums, or what they become as real numbers.
///
/// # Safety
/// As of [`pixels`].
#[inline(always)]
unsafe fn write_words<I: Integers, const COUNT: usize>(isa: I, pixels: &Pixels, sums: [I::Sums; COUNT]) {
    let floats = isa.isa();
    // SAFETY: the numbers of 16 channels are there; so are the images that are added, and room for the output.
    unsafe {
        let line = pixels.reals.line(floats, 0);
        for (number, sum) in sums.into_iter().enumerate() {
            if matches!(pixels.form, Form::Sums) {
                isa.store(sum, pixels.output.cast::<i32>().add(number * BLOCK));
                continue;
            }
            let added = (!pixels.residual.is_null())
                .then(|| floats.load(pixels.residual.cast::<f32>().add(number * BLOCK)));
            let value = line.of(floats, isa.to_floats(sum), added);
            floats.store(value, pixels.output.cast::<f32>().add(number * BLOCK));
        }
    }
}

impl Task for Rows<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let Depthwise { windows, steps, input, bias, output } = *self.job;
        let bias = bias.unwrap_or(&windows.bias);
        let word = self.target.word();
        let fours = windows.rows.div_ceil(GROUP);
        let needed = windows.needed(&steps, output.width);
        let mut columns = Bytes::zeros(windows.scratch(&steps, output.width));
        let place = windows.place();
        let step = steps.strides[1] * place;
        for number in self.part.of(output.blocks * output.images * output.height) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let start = output.at(block, image, y, 0);
            let from = input.planes.at(block, image, y * steps.strides[0], 0)
                - steps.before[0] * input.planes.row()
                - steps.before[1] * BLOCK;
            let down = steps.dilations[0] * input.planes.row();
            for (four, target) in columns.chunks_exact_mut(needed * place).enumerate() {
                // Rows beyond the window have weights of zero; any bytes do.
                let rows: [&[u8]; GROUP] = std::array::from_fn(|row| {
                    let row = four * GROUP + row;
                    let row = if row < windows.rows { row } else { 0 };
                    &input.values[from + row * down..][..needed * BLOCK]
                });
                for (column, target) in target.chunks_exact_mut(place).enumerate() {
                    // SAFETY: each row has 16 bytes for each column, and the target four numbers for each.
                    unsafe {
                        let rows = rows.map(|row| row.as_ptr().add(column * BLOCK));
                        isa.columns(rows, target.as_mut_ptr());
                    }
                }
            }
            let end = self.target.row(block, start, |planes| planes.at(block, image, y, 0));
            let mut here = Pixels {
                columns: columns.as_ptr(),
                place,
                four: needed * place,
                fours,
                passes: windows.passes,
                window: steps.dilations[1] * place,
                count: windows.columns,
                step,
                weights: windows.weights[block * windows.passes * fours * windows.columns * place..].as_ptr(),
                bias: bias[block * BLOCK..].as_ptr(),
                scales: windows.scales[block * BLOCK..].as_ptr(),
                form: end.form,
                finish: end.finish,
                reals: end.reals,
                residual: end.residual,
                output: end.output,
            };
            let mut left = output.width;
            while left > 0 {
                // SAFETY: all columns that the outputs need are there; this thread alone has this row.
                let count = unsafe {
                    if left >= 4 {
                        pixels::<I, 4>(isa, &here);
                        4
                    } else {
                        pixels::<I, 1>(isa, &here);
                        1
                    }
                };
                here.columns = here.columns.wrapping_add(count * step);
                here.output = here.output.wrapping_add(count * BLOCK * word);
                if !here.residual.is_null() {
                    here.residual = here.residual.wrapping_add(count * BLOCK * word);
                }
                left -= count;
            }
        }
    }
}
