//! Images of bytes on their way into blocks of channels, between blocks, and out of them.

#![expect(unsafe_code, reason = "several threads write one output")]

use super::{
    GROUP, Images, Instructions,
    finish::nearest,
    instructions::{Integers, Task, dispatch},
    pool::Scale,
};
use crate::{BLOCK, Part, Unfit, buffer::Shared, isa::Isa, layout::Channels, planes::Planes};

/// The summand that makes a number of int8 a byte, in both directions.
const SIGN: u8 = 0x80;

/// Images as a model has them: `[image][channel][row][column]`.
#[derive(Clone, Copy, Debug)]
pub enum Entering<'a> {
    /// Real numbers, which become the nearest bytes.
    Floats(&'a [f32], Scale),
    /// Numbers of uint8.
    Unsigned(&'a [u8]),
    /// Numbers of int8.
    Signed(&'a [i8]),
}

impl Entering<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Floats(values, _) => values.len(),
            Self::Unsigned(values) => values.len(),
            Self::Signed(values) => values.len(),
        }
    }
}

/// Puts images into blocks, or with all channels of a pixel next to each other where that is what the planes
/// say. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn enter(
    instructions: Instructions,
    values: Entering<'_>,
    channels: usize,
    output: Planes,
    buffer: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    let count = output.images.checked_mul(channels).and_then(|count| count.checked_mul(output.height));
    let count = count.and_then(|count| count.checked_mul(output.width));
    let fits = output.lanes > 0
        && channels.div_ceil(output.lanes) == output.blocks
        && count.is_some_and(|count| values.len() >= count)
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("what enters a region of bytes"));
    }
    dispatch(instructions, Enter { values, channels, output, buffer, part });
    Ok(())
}

struct Enter<'a> {
    values: Entering<'a>,
    channels: usize,
    output: Planes,
    buffer: Shared<'a, u8>,
    part: Part,
}

impl Task for Enter<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let Self { values, channels, output, buffer, part } = self;
        let (height, width, lanes) = (output.height, output.width, output.lanes);
        for number in part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            // SAFETY: this thread alone has this row of the output.
            let row = unsafe { buffer.part(output.at(block, image, y, 0), width * lanes) };
            let Some(row) = row else { continue };
            let first = block * lanes;
            if let (Entering::Floats(values, scale), true) = (values, lanes == GROUP) {
                let own = |lane: usize| {
                    let from = ((image * channels + first + lane) * height + y) * width;
                    &values[from..][..width]
                };
                few(isa, &own, channels, scale, row);
                continue;
            }
            for lane in 0..lanes.min(channels - first) {
                let from = ((image * channels + first + lane) * height + y) * width;
                match values {
                    Entering::Unsigned(values) => {
                        for (pixel, value) in row.chunks_exact_mut(lanes).zip(&values[from..][..width]) {
                            pixel[lane] = *value;
                        }
                    }
                    Entering::Signed(values) => {
                        for (pixel, value) in row.chunks_exact_mut(lanes).zip(&values[from..][..width]) {
                            pixel[lane] = value.cast_unsigned() ^ SIGN;
                        }
                    }
                    Entering::Floats(values, scale) => {
                        let source = &values[from..][..width];
                        let pixels = row.chunks_mut(lanes * BLOCK);
                        for (pixels, source) in pixels.zip(source.chunks(BLOCK)) {
                            let bytes = quantise(isa, source, scale);
                            for (pixel, byte) in pixels.chunks_exact_mut(lanes).zip(bytes) {
                                pixel[lane] = byte;
                            }
                        }
                    }
                }
            }
            if channels - first < lanes {
                for pixel in row.chunks_exact_mut(lanes) {
                    pixel[channels - first..].fill(0);
                }
            }
        }
    }
}

/// A row of up to four channels of real numbers, as bytes of which those of a pixel are next to each other.
#[inline(always)]
fn few<'a, I: Integers>(
    isa: I,
    own: &impl Fn(usize) -> &'a [f32],
    channels: usize,
    scale: Scale,
    row: &mut [u8],
) {
    for (number, pixels) in row.chunks_mut(GROUP * BLOCK).enumerate() {
        let mut bytes = [[0; BLOCK]; GROUP];
        for (lane, bytes) in bytes.iter_mut().enumerate().take(channels) {
            *bytes = quantise(isa, &own(lane)[number * BLOCK..][..pixels.len() / GROUP], scale);
        }
        let mut together = [0; GROUP * BLOCK];
        // SAFETY: all four rows have 16 bytes, and there is room for 64.
        unsafe { isa.interleave(bytes.each_ref().map(|bytes| bytes.as_ptr()), together.as_mut_ptr()) };
        pixels.copy_from_slice(&together[..pixels.len()]);
    }
}

/// Up to 16 real numbers as bytes.
#[inline(always)]
fn quantise<I: Integers>(isa: I, values: &[f32], scale: Scale) -> [u8; BLOCK] {
    let mut padded = [0.0; BLOCK];
    padded[..values.len()].copy_from_slice(values);
    let (floats, zero) = (isa.isa(), scale.zero_point);
    let mut bytes = [0; BLOCK];
    // SAFETY: both arrays have 16 elements.
    unsafe {
        let value = floats.divide(floats.load(padded.as_ptr()), floats.splat(scale.scale));
        let value = nearest(isa, value, 255.0 - f32::from(zero), i32::from(zero));
        isa.narrow(value, bytes.as_mut_ptr());
    }
    bytes
}

/// Where images go as a model has them.
#[derive(Clone, Copy, Debug)]
pub enum Leaving<'a> {
    /// As real numbers.
    Floats(Shared<'a, f32>, Scale),
    /// As numbers of uint8.
    Unsigned(Shared<'a, u8>),
    /// As numbers of int8.
    Signed(Shared<'a, i8>),
}

/// Puts images in blocks into `[image][channel][row][column]`. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn leave(input: Images<'_>, channels: usize, output: Leaving<'_>, part: Part) -> Result<(), Unfit> {
    match output {
        Leaving::Floats(output, scale) => {
            let table: [f32; 256] = std::array::from_fn(|byte| scale.real(byte as u8));
            leave_as(input.planes, input.values, channels, output, part, |byte| table[usize::from(byte)])
        }
        Leaving::Unsigned(output) => {
            leave_as(input.planes, input.values, channels, output, part, |byte| byte)
        }
        Leaving::Signed(output) => {
            leave_as(input.planes, input.values, channels, output, part, |byte| (byte ^ SIGN).cast_signed())
        }
    }
}

/// The same for sums in blocks.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn leave_sums(
    sums: &[i32],
    planes: Planes,
    channels: usize,
    output: Shared<'_, i32>,
    part: Part,
) -> Result<(), Unfit> {
    leave_as(planes, sums, channels, output, part, |sum| sum)
}

fn leave_as<S: Copy, T: Copy>(
    planes: Planes,
    values: &[S],
    channels: usize,
    output: Shared<'_, T>,
    part: Part,
    convert: impl Fn(S) -> T,
) -> Result<(), Unfit> {
    let (height, width) = (planes.height, planes.width);
    let fits = planes.lanes == BLOCK
        && channels.div_ceil(BLOCK) == planes.blocks
        && values.len() >= planes.len()
        && output.len() >= planes.images * channels * height * width;
    if !fits {
        return Err(Unfit("what leaves a region of bytes"));
    }
    for number in part.of(planes.images * planes.blocks * height) {
        let (image, block, y) =
            (number / height / planes.blocks, number / height % planes.blocks, number % height);
        let row = &values[planes.at(block, image, y, 0)..][..width * BLOCK];
        for lane in 0..BLOCK.min(channels - block * BLOCK) {
            let start = ((image * channels + block * BLOCK + lane) * height + y) * width;
            // SAFETY: this thread alone has this row of the output.
            let Some(target) = (unsafe { output.part(start, width) }) else { continue };
            for (value, pixel) in target.iter_mut().zip(row.chunks_exact(BLOCK)) {
                *value = convert(pixel[lane]);
            }
        }
    }
    Ok(())
}

/// Copies channels from one buffer of images to another of the same size, each byte through a table if there
/// is one. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn copy(
    input: Images<'_>,
    runs: &[Channels],
    table: Option<&[u8; 256]>,
    output: Planes,
    buffer: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == BLOCK
        && planes.is_as_large_as(&output)
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len()
        && runs.iter().all(|run| {
            run.from + run.count <= planes.blocks * BLOCK && run.to + run.count <= output.blocks * BLOCK
        });
    if !fits {
        return Err(Unfit("copied channels of bytes"));
    }
    let (height, width) = (output.height, output.width);
    for number in part.of(output.images * height) {
        let (image, y) = (number / height, number % height);
        for run in runs {
            let mut done = 0;
            while done < run.count {
                let (from, to) = (run.from + done, run.to + done);
                let (lane_from, lane_to) = (from % BLOCK, to % BLOCK);
                let count = (run.count - done).min(BLOCK - lane_from).min(BLOCK - lane_to);
                let source = &input.values[planes.at(from / BLOCK, image, y, 0)..][..width * BLOCK];
                // SAFETY: this thread alone has this row of all blocks of the output.
                let target = unsafe { buffer.part(output.at(to / BLOCK, image, y, 0), width * BLOCK) };
                let Some(target) = target else { break };
                for (target, source) in target.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
                    let (target, source) =
                        (&mut target[lane_to..lane_to + count], &source[lane_from..lane_from + count]);
                    match table {
                        None => target.copy_from_slice(source),
                        Some(table) => {
                            for (target, byte) in target.iter_mut().zip(source) {
                                *target = table[usize::from(*byte)];
                            }
                        }
                    }
                }
                done += count;
            }
        }
    }
    Ok(())
}

/// Repeats each pixel, by the numbers of `times`, downwards and to the right. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn repeat(
    input: Images<'_>,
    times: [usize; 2],
    output: Planes,
    buffer: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == BLOCK
        && planes.blocks == output.blocks
        && planes.images == output.images
        && times.iter().all(|times| *times > 0)
        && Some(output.height) == planes.height.checked_mul(times[0])
        && Some(output.width) == planes.width.checked_mul(times[1])
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("repeated pixels of bytes"));
    }
    let (height, width) = (output.height, output.width);
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        let source = &input.values[planes.at(block, image, y / times[0], 0)..][..planes.width * BLOCK];
        // SAFETY: this thread alone has this row of the output.
        let target = unsafe { buffer.part(output.at(block, image, y, 0), width * BLOCK) };
        let Some(target) = target else { continue };
        for (targets, pixel) in target.chunks_exact_mut(BLOCK * times[1]).zip(source.chunks_exact(BLOCK)) {
            for target in targets.chunks_exact_mut(BLOCK) {
                target.copy_from_slice(pixel);
            }
        }
    }
    Ok(())
}

/// Makes the border of images this byte. The buffer has all of them.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn fill_border(planes: Planes, byte: u8, buffer: &mut [u8]) -> Result<(), Unfit> {
    if planes.is_flat() {
        return Ok(());
    }
    let buffer = buffer.get_mut(..planes.len()).ok_or(Unfit("a border of bytes"))?;
    let (row, lanes, border) = (planes.row(), planes.lanes, planes.border);
    if row == 0 || planes.image() == 0 {
        return Ok(());
    }
    for image in buffer.chunks_exact_mut(planes.image()) {
        image[..border.top * row].fill(byte);
        image[(border.top + planes.height) * row..].fill(byte);
        for line in image[border.top * row..(border.top + planes.height) * row].chunks_exact_mut(row) {
            line[..border.left * lanes].fill(byte);
            line[(border.left + planes.width) * lanes..].fill(byte);
        }
    }
    Ok(())
}
