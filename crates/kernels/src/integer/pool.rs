//! Pools of images of bytes.

#![expect(unsafe_code, reason = "several threads write one output")]

use super::Images;
use crate::{BLOCK, Part, Unfit, buffer::Shared, convolution::Steps, planes::Planes};

/// A scale and a zero point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// The real size of one step.
    pub scale: f32,
    /// The byte of the real number 0.
    pub zero_point: u8,
}

impl Scale {
    /// The real number of a byte.
    pub fn real(self, byte: u8) -> f32 {
        (i32::from(byte) - i32::from(self.zero_point)) as f32 * self.scale
    }

    /// The byte of a number that was divided by the scale: the nearest, halves to the even one. A NaN
    /// becomes 0.
    pub fn byte(self, value: f32) -> u8 {
        let zero = f32::from(self.zero_point);
        let (low, high) = (0.0 - zero, 255.0 - zero);
        let value = if value > low { value.min(high) } else { low };
        (nearest(value) + i32::from(self.zero_point)) as u8
    }
}

/// The byte of a mean that was divided by the scale. As in ONNX Runtime, the zero point is added before the
/// number is rounded, which decides how a tie is rounded.
fn byte_of_mean(value: f32, to: Scale, is_signed: bool) -> u8 {
    let shift = if is_signed { 128 } else { 0 };
    let (low, high) = ((0 - shift) as f32, (255 - shift) as f32);
    let value = value + (i32::from(to.zero_point) - shift) as f32;
    let value = if value > low { value.min(high) } else { low };
    (nearest(value) + shift) as u8
}

/// The nearest integer, halves to the even one, of a number below 2^22.
fn nearest(value: f32) -> i32 {
    const ONES: f32 = 12_582_912.0;
    (value + ONES).to_bits().cast_signed().wrapping_sub(ONES.to_bits().cast_signed())
}

/// What a pool makes of the bytes under its window.
#[derive(Clone, Copy, Debug)]
pub enum Pooling<'a> {
    /// The largest one. Bytes around the image do not count.
    Maximum,
    /// The mean of their real numbers, in another scale: elements for each row, and for each column, of the
    /// output, and both scales; whether numbers are of int8, and bytes are 128 more.
    Mean { counts: [&'a [f32]; 2], from: Scale, to: Scale, is_signed: bool },
}

/// A pool under a window that moves.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    pub pooling: Pooling<'a>,
    pub window: [usize; 2],
    pub steps: Steps,
    pub input: Images<'a>,
    pub output: Planes,
}

impl Pool<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, buffer: Shared<'_, u8>, part: Part) -> Result<(), Unfit> {
        let (input, output) = (&self.input.planes, &self.output);
        let counts_fit = match self.pooling {
            Pooling::Maximum => true,
            Pooling::Mean { counts: [rows, columns], .. } => {
                rows.len() >= output.height && columns.len() >= output.width
            }
        };
        let fits = input.lanes == BLOCK
            && output.lanes == BLOCK
            && input.blocks == output.blocks
            && input.images == output.images
            && self.input.values.len() >= input.len()
            && buffer.len() >= output.len()
            && counts_fit;
        if !fits {
            return Err(Unfit("a pool of bytes"));
        }
        let (height, width) = (output.height, output.width);
        for number in part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            // SAFETY: this thread alone has this row of the output.
            let row = unsafe { buffer.part(output.at(block, image, y, 0), width * BLOCK) };
            for (x, target) in row.into_iter().flat_map(|row| row.chunks_exact_mut(BLOCK)).enumerate() {
                target.copy_from_slice(&self.pixel(block, image, y, x));
            }
        }
        Ok(())
    }

    fn pixel(&self, block: usize, image: usize, y: usize, x: usize) -> [u8; BLOCK] {
        let planes = &self.input.planes;
        // The places of the window that are in the image.
        let places = |axis: usize, place: usize, size: usize| {
            let (dilation, before) = (self.steps.dilations[axis], self.steps.before[axis]);
            let first = place * self.steps.strides[axis];
            (0..self.window[axis])
                .map(move |step| (first + step * dilation).wrapping_sub(before))
                .filter(move |place| *place < size)
        };
        let mut largest = [0; BLOCK];
        let mut sums = [0.0_f32; BLOCK];
        for row in places(0, y, planes.height) {
            for column in places(1, x, planes.width) {
                let bytes = &self.input.values[planes.at(block, image, row, column)..][..BLOCK];
                match self.pooling {
                    Pooling::Maximum => {
                        for (largest, byte) in largest.iter_mut().zip(bytes) {
                            *largest = (*largest).max(*byte);
                        }
                    }
                    Pooling::Mean { from, .. } => {
                        for (sum, byte) in sums.iter_mut().zip(bytes) {
                            *sum += from.real(*byte);
                        }
                    }
                }
            }
        }
        match self.pooling {
            Pooling::Maximum => largest,
            Pooling::Mean { counts: [rows, columns], to, is_signed, .. } => {
                let count = rows[y] * columns[x];
                sums.map(|sum| byte_of_mean(sum / count / to.scale, to, is_signed))
            }
        }
    }
}

/// The means of whole images.
#[derive(Clone, Copy, Debug)]
pub struct Mean<'a> {
    pub input: Images<'a>,
    pub output: Planes,
    pub from: Scale,
    pub to: Scale,
}

impl Mean<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, buffer: Shared<'_, u8>, part: Part) -> Result<(), Unfit> {
        let (planes, output) = (&self.input.planes, &self.output);
        let fits = planes.lanes == BLOCK
            && output.lanes == BLOCK
            && planes.blocks == output.blocks
            && planes.images == output.images
            && (output.height, output.width) == (1, 1)
            && self.input.values.len() >= planes.len()
            && buffer.len() >= output.len();
        if !fits {
            return Err(Unfit("a mean of bytes"));
        }
        let count = planes.height * planes.width;
        let scale = self.from.scale / (self.to.scale * count as f32);
        let zero = i32::from(self.from.zero_point).wrapping_mul(count as i32);
        for number in part.of(output.blocks * output.images) {
            let (block, image) = (number / output.images, number % output.images);
            let mut sums = [0_i32; BLOCK];
            for y in 0..planes.height {
                let row = &self.input.values[planes.at(block, image, y, 0)..][..planes.width * BLOCK];
                for pixel in row.chunks_exact(BLOCK) {
                    for (sum, byte) in sums.iter_mut().zip(pixel) {
                        *sum = sum.wrapping_add(i32::from(*byte));
                    }
                }
            }
            // SAFETY: this thread alone has this pixel of the output.
            if let Some(target) = unsafe { buffer.part(output.at(block, image, 0, 0), BLOCK) } {
                for (target, sum) in target.iter_mut().zip(sums) {
                    *target = self.to.byte(sum.wrapping_sub(zero) as f32 * scale);
                }
            }
        }
        Ok(())
    }
}
