//! Operators that work on each element: two images, or an image and a number for each channel.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    activation::Activation,
    buffer::Shared,
    convolution::Images,
    isa::{Isa, Task, dispatch},
    planes::Planes,
};

/// A function of two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Binary {
    /// `a + b`.
    Add,
    /// `a - b`.
    Subtract,
    /// `a * b`.
    Multiply,
    /// `a / b`.
    Divide,
}

/// What an image is combined with.
#[derive(Clone, Copy, Debug)]
pub enum Other<'a> {
    /// Nothing: the activation alone.
    None,
    /// Another image of the same size.
    Image(Binary, Images<'a>),
    /// An image of one pixel, of the same batch and channels.
    Pixel(Binary, Images<'a>),
    /// A factor and a summand for each channel, in whole blocks.
    Channels(&'a [f32], &'a [f32]),
}

/// An operator that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Elementwise<'a> {
    pub level: Level,
    pub input: Images<'a>,
    pub other: Other<'a>,
    pub activation: Activation,
    pub output: Planes,
}

impl Elementwise<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let alike = |images: &Images<'_>| {
            images.planes.lanes == BLOCK
                && images.planes.blocks == self.output.blocks
                && images.planes.images == self.output.images
                && images.values.len() >= images.planes.len()
        };
        let other = match &self.other {
            Other::None => true,
            Other::Image(_, other) => alike(other) && other.planes.is_as_large_as(&self.output),
            Other::Pixel(_, other) => alike(other) && (other.planes.height, other.planes.width) == (1, 1),
            Other::Channels(factors, summands) => {
                factors.len() >= self.output.blocks * BLOCK && summands.len() >= self.output.blocks * BLOCK
            }
        };
        let fits = other
            && self.output.lanes == BLOCK
            && alike(&self.input)
            && self.input.planes.is_as_large_as(&self.output)
            && output.len() >= self.output.len();
        if !fits {
            return Err(Unfit("an operator of each element"));
        }
        dispatch(self.level, Rows { elementwise: self, output, part });
        Ok(())
    }
}

struct Rows<'a> {
    elementwise: &'a Elementwise<'a>,
    output: Shared<'a>,
    part: Part,
}

#[inline(always)]
fn combine<I: Isa>(isa: I, binary: Binary, left: I::V, right: I::V) -> I::V {
    match binary {
        Binary::Add => isa.add(left, right),
        Binary::Subtract => isa.subtract(left, right),
        Binary::Multiply => isa.multiply(left, right),
        Binary::Divide => isa.divide(left, right),
    }
}

impl Task for Rows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Elementwise { level, input, other, activation, output } = *self.elementwise;
        let rows = output.blocks * output.images * output.height;
        let count = output.width * BLOCK;
        for number in self.part.of(rows) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let from = &input.values[input.planes.at(block, image, y, 0)..][..count];
            let start = output.at(block, image, y, 0);
            // SAFETY: this thread alone has this row of the output.
            let Some(to) = (unsafe { self.output.part(start, count) }) else { continue };
            match other {
                Other::None => to.copy_from_slice(from),
                Other::Image(binary, other) => {
                    let other = &other.values[other.planes.at(block, image, y, 0)..][..count];
                    for place in (0..count).step_by(BLOCK) {
                        // SAFETY: all three slices have `count` floats, a multiple of 16.
                        unsafe {
                            let left = isa.load(from.as_ptr().add(place));
                            let right = isa.load(other.as_ptr().add(place));
                            isa.store(combine(isa, binary, left, right), to.as_mut_ptr().add(place));
                        }
                    }
                }
                Other::Pixel(binary, other) => {
                    let pixel = &other.values[other.planes.at(block, image, 0, 0)..][..BLOCK];
                    // SAFETY: the slice has 16 floats.
                    let right = unsafe { isa.load(pixel.as_ptr()) };
                    for place in (0..count).step_by(BLOCK) {
                        // SAFETY: both slices have `count` floats, a multiple of 16.
                        unsafe {
                            let left = isa.load(from.as_ptr().add(place));
                            isa.store(combine(isa, binary, left, right), to.as_mut_ptr().add(place));
                        }
                    }
                }
                Other::Channels(factors, summands) => {
                    let (factors, summands) =
                        (&factors[block * BLOCK..][..BLOCK], &summands[block * BLOCK..][..BLOCK]);
                    // SAFETY: the slices have 16 floats each.
                    let (factor, summand) =
                        unsafe { (isa.load(factors.as_ptr()), isa.load(summands.as_ptr())) };
                    for place in (0..count).step_by(BLOCK) {
                        // SAFETY: both slices have `count` floats, a multiple of 16.
                        unsafe {
                            let value = isa.load(from.as_ptr().add(place));
                            let result = isa.multiply_add(value, factor, summand);
                            isa.store(result, to.as_mut_ptr().add(place));
                        }
                    }
                }
            }
            if activation != Activation::Identity {
                // SAFETY: the row has `count` floats, a multiple of 16.
                unsafe { super::activation::apply(level, activation, to.as_mut_ptr(), count) };
            }
        }
    }
}
