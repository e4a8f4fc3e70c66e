//! Images of floats become images of 16-bit floats.

#![expect(unsafe_code, reason = "reads and writes through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    bfloat::{PairTask, Pairs, WORDS, Words, dispatch},
    buffer::Shared,
    convolution::Images,
    isa::Isa,
    planes::Planes,
};

/// Rounds images in blocks to 16-bit floats. The border of the output is not written. Computes this
/// thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn narrow(
    level: Level,
    input: Images<'_>,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let fits = planes.lanes == BLOCK
        && output.lanes == WORDS
        && planes.blocks == output.blocks
        && planes.is_as_large_as(&output)
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("images that become narrow"));
    }
    dispatch(level, NarrowImages { input, output, buffer, part });
    Ok(())
}

struct NarrowImages<'a> {
    input: Images<'a>,
    output: Planes,
    buffer: Shared<'a>,
    part: Part,
}

impl PairTask for NarrowImages<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let Self { input, output, buffer, part } = self;
        let (height, width) = (output.height, output.width);
        for number in part.of(output.blocks * output.images * height) {
            let (block, image, y) =
                (number / height / output.images, number / height % output.images, number % height);
            let source = &input.values[input.planes.at(block, image, y, 0)..][..width * BLOCK];
            // SAFETY: this thread alone has this row of the output.
            let target = unsafe { buffer.part(output.at(block, image, y, 0), width * WORDS) };
            let Some(target) = target else { continue };
            for (target, source) in target.chunks_exact_mut(WORDS).zip(source.chunks_exact(BLOCK)) {
                // SAFETY: there are 16 floats, and room for 8 words.
                unsafe { words.store(words.load(source.as_ptr(), false), target.as_mut_ptr(), true) };
            }
        }
    }
}

/// Puts images `[image][channel][row][column]` of few channels into words: those of a pixel, each of two channels, next to
/// each other. A channel without another one has a zero. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn enter_pairs(
    level: Level,
    values: &[f32],
    channels: usize,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let fits = output.lanes == channels.div_ceil(2)
        && output.blocks == 1
        && values.len() >= output.images * channels * output.height * output.width
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("what enters a region as 16-bit floats"));
    }
    dispatch(level, EnterPairs { values, channels, output, buffer, part });
    Ok(())
}

struct EnterPairs<'a> {
    values: &'a [f32],
    channels: usize,
    output: Planes,
    buffer: Shared<'a>,
    part: Part,
}

impl PairTask for EnterPairs<'_> {
    #[inline(always)]
    fn run<W: Pairs>(self, words: W) {
        let Self { values, channels, output, buffer, part } = self;
        let (height, width, lanes) = (output.height, output.width, output.lanes);
        for number in part.of(output.images * height) {
            let (image, y) = (number / height, number % height);
            // SAFETY: this thread alone has this row of the output.
            let row = unsafe { buffer.part(output.at(0, image, y, 0), width * lanes) };
            let Some(row) = row else { continue };
            for lane in 0..lanes {
                let from = ((image * channels + 2 * lane) * height + y) * width;
                let low = &values[from..][..width];
                let high =
                    if 2 * lane + 1 < channels { &values[from + height * width..][..width] } else { &[] };
                for (number, pixels) in row.chunks_mut(BLOCK * lanes).enumerate() {
                    let mut numbers = [[0.0_f32; BLOCK]; 2];
                    for (numbers, from) in numbers.iter_mut().zip([low, high]) {
                        let from = from.get(number * BLOCK..).unwrap_or_default();
                        for (number, value) in numbers.iter_mut().zip(from) {
                            *number = *value;
                        }
                    }
                    let isa = words.isa();
                    let mut list = [0.0_f32; BLOCK];
                    // SAFETY: the arrays have 16 floats.
                    unsafe {
                        let pairs = words.pair(isa.load(numbers[0].as_ptr()), isa.load(numbers[1].as_ptr()));
                        isa.store(pairs, list.as_mut_ptr());
                    }
                    for (pixel, word) in pixels.chunks_exact_mut(lanes).zip(list) {
                        pixel[lane] = word;
                    }
                }
            }
        }
    }
}
