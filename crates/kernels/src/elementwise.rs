//! Operators that work on each element: two images, or an image and a number for each channel.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    activation::Activation,
    bfloat::{
        Words,
        images::{ImageTask, dispatch_images},
    },
    buffer::Shared,
    convolution::Images,
    isa::Isa,
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
            images.planes.is_blocked()
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
        // No pass goes over narrow images.
        let is_done = self.activation == Activation::Identity;
        let has_lanes = self.output.lanes == BLOCK || self.output.is_narrow() && is_done;
        let fits = other
            && has_lanes
            && alike(&self.input)
            && self.input.planes.is_as_large_as(&self.output)
            && output.len() >= self.output.len();
        if !fits {
            return Err(Unfit("an operator of each element"));
        }
        let other = match &self.other {
            Other::Image(_, other) | Other::Pixel(_, other) => other.planes.is_narrow(),
            Other::None | Other::Channels(..) => false,
        };
        let is_narrow = other || self.input.planes.is_narrow() || self.output.is_narrow();
        dispatch_images(self.level, is_narrow, Rows { elementwise: self, output, part });
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

impl ImageTask for Rows<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let isa = words.isa();
        let Elementwise { level, input, other, activation, output } = *self.elementwise;
        let rows = output.blocks * output.images * output.height;
        let width = output.width;
        let (lanes, is_narrow) = (input.planes.lanes, input.planes.is_narrow());
        let (to_lanes, to_narrow) = (output.lanes, output.is_narrow());
        for number in self.part.of(rows) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let from = input.values[input.planes.at(block, image, y, 0)..][..width * lanes].as_ptr();
            let start = output.at(block, image, y, 0);
            // SAFETY: this thread alone has this row of the output.
            let Some(row) = (unsafe { self.output.part(start, width * to_lanes) }) else { continue };
            let to = row.as_mut_ptr();
            match other {
                Other::None => {
                    for place in 0..width {
                        // SAFETY: both rows have 16 numbers for each pixel.
                        unsafe {
                            words.store(
                                words.load(from.add(place * lanes), is_narrow),
                                to.add(place * to_lanes),
                                to_narrow,
                            );
                        }
                    }
                }
                Other::Image(binary, Images { planes, values }) => {
                    let other = values[planes.at(block, image, y, 0)..][..width * planes.lanes].as_ptr();
                    for place in 0..width {
                        // SAFETY: all three rows have 16 numbers for each pixel.
                        unsafe {
                            let left = words.load(from.add(place * lanes), is_narrow);
                            let right = words.load(other.add(place * planes.lanes), planes.is_narrow());
                            let result = combine(isa, binary, left, right);
                            words.store(result, to.add(place * to_lanes), to_narrow);
                        }
                    }
                }
                Other::Pixel(binary, Images { planes, values }) => {
                    let pixel = &values[planes.at(block, image, 0, 0)..][..planes.lanes];
                    // SAFETY: the slice has 16 numbers.
                    let right = unsafe { words.load(pixel.as_ptr(), planes.is_narrow()) };
                    for place in 0..width {
                        // SAFETY: both rows have 16 numbers for each pixel.
                        unsafe {
                            let left = words.load(from.add(place * lanes), is_narrow);
                            let result = combine(isa, binary, left, right);
                            words.store(result, to.add(place * to_lanes), to_narrow);
                        }
                    }
                }
                Other::Channels(factors, summands) => {
                    let (factors, summands) =
                        (&factors[block * BLOCK..][..BLOCK], &summands[block * BLOCK..][..BLOCK]);
                    // SAFETY: the slices have 16 floats each.
                    let (factor, summand) =
                        unsafe { (isa.load(factors.as_ptr()), isa.load(summands.as_ptr())) };
                    for place in 0..width {
                        // SAFETY: both rows have 16 numbers for each pixel.
                        unsafe {
                            let value = words.load(from.add(place * lanes), is_narrow);
                            let result = isa.multiply_add(value, factor, summand);
                            words.store(result, to.add(place * to_lanes), to_narrow);
                        }
                    }
                }
            }
            if activation != Activation::Identity {
                // SAFETY: the row is of floats, a multiple of 16.
                unsafe { super::activation::apply(level, activation, to, width * BLOCK) };
            }
        }
    }
}
