//! Real numbers in blocks that become bytes whose scale follows from them.

#![expect(unsafe_code, reason = "vectors are read through pointers; several threads write one output")]

use super::{
    Instructions,
    finish::nearest,
    instructions::{Integers, Task, dispatch},
    pool::Scale,
};
use crate::{BLOCK, Part, Unfit, buffer::Shared, convolution::Images, isa::Isa, planes::Planes};

/// The smallest and the largest of 0 and this thread's share of the numbers of images. NaN counts for nothing.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn range(
    instructions: Instructions,
    input: Images<'_>,
    channels: usize,
    part: Part,
) -> Result<[f32; 2], Unfit> {
    let planes = &input.planes;
    if !are_blocks(planes, channels) || input.values.len() < planes.len() {
        return Err(Unfit("real numbers whose range is wanted"));
    }
    let mut range = [0.0; 2];
    dispatch(instructions, Range { input, channels, part, range: &mut range });
    Ok(range)
}

/// Whether images are in blocks, of this number of channels.
fn are_blocks(planes: &Planes, channels: usize) -> bool {
    planes.lanes == BLOCK && channels.div_ceil(BLOCK) == planes.blocks
}

/// The rows of images of a thread: block, image, row.
fn rows(planes: Planes, part: Part) -> impl Iterator<Item = [usize; 3]> {
    let (images, height) = (planes.images, planes.height);
    let split = move |number: usize| [number / height / images, number / height % images, number % height];
    part.of(planes.blocks * images * height).map(split)
}

struct Range<'a> {
    input: Images<'a>,
    channels: usize,
    part: Part,
    range: &'a mut [f32; 2],
}

impl Task for Range<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let (floats, planes) = (isa.isa(), self.input.planes);
        for [block, image, y] in rows(planes, self.part) {
            let row = &self.input.values[planes.at(block, image, y, 0)..][..planes.width * BLOCK];
            let (mut low, mut high) = (floats.splat(0.0), floats.splat(0.0));
            for pixel in row.chunks_exact(BLOCK) {
                // SAFETY: the pixel has 16 floats.
                let value = unsafe { floats.load(pixel.as_ptr()) };
                (low, high) = (floats.at_most(low, value), floats.at_least(high, value));
            }
            let mut ends = [[0.0_f32; BLOCK]; 2];
            // SAFETY: both have room for 16 floats.
            unsafe {
                floats.store(low, ends[0].as_mut_ptr());
                floats.store(high, ends[1].as_mut_ptr());
            }
            // Lanes beyond the last channel may be anything.
            let count = BLOCK.min(self.channels - block * BLOCK);
            for (low, high) in ends[0].iter().zip(&ends[1]).take(count) {
                *self.range = [self.range[0].min(*low), self.range[1].max(*high)];
            }
        }
    }
}

/// Makes real numbers the nearest bytes, in planes of the same size with a border of their own. Computes this
/// thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn quantise(
    instructions: Instructions,
    input: Images<'_>,
    scale: Scale,
    output: Planes,
    buffer: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = &input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == BLOCK
        && planes.blocks == output.blocks
        && planes.is_as_large_as(&output)
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("real numbers that become bytes"));
    }
    dispatch(instructions, Quantise { input, scale, output, buffer, part });
    Ok(())
}

struct Quantise<'a> {
    input: Images<'a>,
    scale: Scale,
    output: Planes,
    buffer: Shared<'a, u8>,
    part: Part,
}

impl Task for Quantise<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let (floats, planes, output) = (isa.isa(), self.input.planes, self.output);
        let (divisor, zero) = (floats.splat(self.scale.scale), self.scale.zero_point);
        let (high, shift) = (255.0 - f32::from(zero), i32::from(zero));
        for [block, image, y] in rows(output, self.part) {
            let row = &self.input.values[planes.at(block, image, y, 0)..][..planes.width * BLOCK];
            // SAFETY: this thread alone has this row of the output.
            let target = unsafe { self.buffer.part(output.at(block, image, y, 0), row.len()) };
            let Some(target) = target else { continue };
            for (target, pixel) in target.chunks_exact_mut(BLOCK).zip(row.chunks_exact(BLOCK)) {
                // SAFETY: the pixel has 16 floats, and there is room for 16 bytes.
                unsafe {
                    let value = floats.divide(floats.load(pixel.as_ptr()), divisor);
                    isa.narrow(nearest(isa, value, high, shift), target.as_mut_ptr());
                }
            }
        }
    }
}
