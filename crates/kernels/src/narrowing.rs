//! Images of floats become images of 16-bit floats.

#![expect(unsafe_code, reason = "reads and writes through pointers; several threads write one output")]

use super::{
    BLOCK, Level, Part, Unfit,
    bfloat::{PairTask, WORDS, Words, dispatch},
    buffer::Shared,
    convolution::Images,
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
