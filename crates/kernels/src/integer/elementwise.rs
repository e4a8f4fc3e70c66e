//! Functions of the bytes of one image, or of two.

#![expect(unsafe_code, reason = "several threads write one output")]

use super::{
    Images, Instructions,
    finish::{Addition, add, nearest},
    instructions::{Integers, Task, dispatch},
    pool::Scale,
};
use crate::{BLOCK, Part, Unfit, buffer::Shared, isa::Isa, planes::Planes};

/// The function of two bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// The sum of their real numbers.
    Add(Addition),
    /// The product of their real numbers: the scales of both, and of the product.
    Multiply([Scale; 2], Scale),
}

/// A function of two images of the same size, or of an image and an image of one pixel.
#[derive(Clone, Copy, Debug)]
pub struct Pair<'a> {
    pub instructions: Instructions,
    pub function: Function,
    pub first: Images<'a>,
    pub second: Images<'a>,
    pub output: Planes,
}

impl Pair<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, buffer: Shared<'_, u8>, part: Part) -> Result<(), Unfit> {
        let output = &self.output;
        let fits = |images: &Images<'_>| {
            let planes = &images.planes;
            planes.lanes == BLOCK
                && planes.blocks == output.blocks
                && planes.images == output.images
                && images.values.len() >= planes.len()
        };
        let fits = output.lanes == BLOCK
            && buffer.len() >= output.len()
            && fits(&self.first)
            && fits(&self.second)
            && self.first.planes.is_as_large_as(output)
            && (self.second.planes.is_as_large_as(output)
                || (self.second.planes.height, self.second.planes.width) == (1, 1));
        if !fits {
            return Err(Unfit("a function of two images of bytes"));
        }
        dispatch(self.instructions, Rows { job: self, buffer, part });
        Ok(())
    }
}

struct Rows<'a> {
    job: &'a Pair<'a>,
    buffer: Shared<'a, u8>,
    part: Part,
}

impl Task for Rows<'_> {
    #[inline(always)]
    fn run<I: Integers>(self, isa: I) {
        let Pair { function, first, second, output, .. } = *self.job;
        let is_pixel = !second.planes.is_as_large_as(&output);
        let (height, width) = (output.height, output.width);
        for number in self.part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            let left = &first.values[first.planes.at(block, image, y, 0)..][..width * BLOCK];
            let right = if is_pixel {
                &second.values[second.planes.at(block, image, 0, 0)..][..BLOCK]
            } else {
                &second.values[second.planes.at(block, image, y, 0)..][..width * BLOCK]
            };
            // SAFETY: this thread alone has this row of the output.
            let row = unsafe { self.buffer.part(output.at(block, image, y, 0), width * BLOCK) };
            let Some(row) = row else { continue };
            for (x, (target, left)) in row.chunks_exact_mut(BLOCK).zip(left.chunks_exact(BLOCK)).enumerate() {
                let right = if is_pixel { right } else { &right[x * BLOCK..][..BLOCK] };
                // SAFETY: all three have 16 bytes.
                unsafe {
                    let (left, right) = (isa.widen(left.as_ptr()), isa.widen(right.as_ptr()));
                    isa.narrow(apply(isa, function, left, right), target.as_mut_ptr());
                }
            }
        }
    }
}

#[inline(always)]
fn apply<I: Integers>(isa: I, function: Function, left: I::Sums, right: I::Sums) -> I::Sums {
    match function {
        Function::Add(addition) => add(isa, left, right, &addition),
        Function::Multiply([first, second], to) => {
            let floats = isa.isa();
            let real = |bytes: I::Sums, scale: Scale| {
                let number = isa.add(bytes, isa.splat(-i32::from(scale.zero_point)));
                floats.multiply(isa.to_floats(number), floats.splat(scale.scale))
            };
            let product = floats.multiply(real(left, first), real(right, second));
            let value = floats.divide(product, floats.splat(to.scale));
            nearest(isa, value, 255.0 - f32::from(to.zero_point), i32::from(to.zero_point))
        }
    }
}

/// What bytes become.
#[derive(Clone, Copy, Debug)]
pub enum Tables<'a> {
    /// The same table for all channels.
    One(&'a [u8; 256]),
    /// A table for each channel, in whole blocks.
    Each(&'a [[u8; 256]]),
}

/// Replaces each byte by that of a table. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn look_up(
    tables: Tables<'_>,
    input: Images<'_>,
    output: Planes,
    buffer: Shared<'_, u8>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == BLOCK
        && planes.blocks == output.blocks
        && planes.is_as_large_as(&output)
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    let are_enough = match tables {
        Tables::One(_) => true,
        Tables::Each(tables) => tables.len().is_multiple_of(BLOCK) && tables.len() / BLOCK >= output.blocks,
    };
    if !fits || !are_enough {
        return Err(Unfit("a table of bytes"));
    }
    let (height, width) = (output.height, output.width);
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        let source = &input.values[planes.at(block, image, y, 0)..][..width * BLOCK];
        // SAFETY: this thread alone has this row of the output.
        let row = unsafe { buffer.part(output.at(block, image, y, 0), width * BLOCK) };
        let Some(row) = row else { continue };
        match tables {
            Tables::One(table) => {
                for (target, byte) in row.iter_mut().zip(source) {
                    *target = table[usize::from(*byte)];
                }
            }
            Tables::Each(tables) => {
                let own = &tables[block * BLOCK..][..BLOCK];
                for (target, bytes) in row.chunks_exact_mut(BLOCK).zip(source.chunks_exact(BLOCK)) {
                    for ((target, byte), table) in target.iter_mut().zip(bytes).zip(own) {
                        *target = table[usize::from(*byte)];
                    }
                }
            }
        }
    }
    Ok(())
}
