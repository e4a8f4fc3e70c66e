//! Images on their way into blocks of channels and out of them, and pixels that are repeated or left out.

#![expect(unsafe_code, reason = "several threads write one output")]

use super::{BLOCK, Part, Unfit, buffer::Shared, convolution::Images, planes::Planes};

/// Puts images `[image][channel][row][column]` into blocks, or with all channels of a pixel next to
/// each other where that is what the planes say. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn enter(
    values: &[f32],
    channels: usize,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let (height, width, lanes) = (output.height, output.width, output.lanes);
    if !can_enter(values, channels, output, buffer) {
        return Err(Unfit("what enters a region"));
    }
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        // SAFETY: this thread alone has this row of the output.
        let row = unsafe { buffer.part(output.at(block, image, y, 0), width * lanes) };
        let Some(row) = row else { continue };
        let first = block * lanes;
        for lane in 0..lanes.min(channels - first) {
            let from = ((image * channels + first + lane) * height + y) * width;
            let source = &values[from..][..width];
            for (pixel, value) in row.chunks_exact_mut(lanes).zip(source) {
                pixel[lane] = *value;
            }
        }
        if channels - first < lanes {
            for pixel in row.chunks_exact_mut(lanes) {
                pixel[channels - first..].fill(0.0);
            }
        }
    }
    Ok(())
}

/// Whether the numbers of all channels are there, and room for them.
fn can_enter(values: &[f32], channels: usize, output: Planes, buffer: Shared<'_>) -> bool {
    channels.div_ceil(output.lanes) == output.blocks
        && values.len() >= output.images * channels * output.height * output.width
        && buffer.len() >= output.len()
}

/// Whether images in blocks have these channels, and there is room for their numbers.
fn can_leave(input: Images<'_>, channels: usize, output: Shared<'_>) -> bool {
    let planes = input.planes;
    planes.lanes == BLOCK
        && channels.div_ceil(BLOCK) == planes.blocks
        && input.values.len() >= planes.len()
        && output.len() >= planes.images * channels * planes.height * planes.width
}

/// Puts images in blocks into `[image][channel][row][column]`. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn leave(input: Images<'_>, channels: usize, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
    let planes = input.planes;
    let (height, width) = (planes.height, planes.width);
    if !can_leave(input, channels, output) {
        return Err(Unfit("what leaves a region"));
    }
    // A row of all channels of a block at once: it is read from the nearest cache.
    for number in part.of(planes.images * planes.blocks * height) {
        let (image, block, y) =
            (number / height / planes.blocks, number / height % planes.blocks, number % height);
        let row = &input.values[planes.at(block, image, y, 0)..][..width * BLOCK];
        for lane in 0..BLOCK.min(channels - block * BLOCK) {
            let start = ((image * channels + block * BLOCK + lane) * height + y) * width;
            // SAFETY: this thread alone has this row of the output.
            let Some(target) = (unsafe { output.part(start, width) }) else { continue };
            for (value, pixel) in target.iter_mut().zip(row.chunks_exact(BLOCK)) {
                *value = pixel[lane];
            }
        }
    }
    Ok(())
}

/// Puts images `[image][row][column][channel]` into blocks, or with all channels of a pixel next to each other where that is
/// what the planes say. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn enter_pixels(
    values: &[f32],
    channels: usize,
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let (height, width, lanes) = (output.height, output.width, output.lanes);
    if !can_enter(values, channels, output, buffer) {
        return Err(Unfit("pixels that enter a region"));
    }
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        // SAFETY: this thread alone has this row of the output.
        let row = unsafe { buffer.part(output.at(block, image, y, 0), width * lanes) };
        let Some(row) = row else { continue };
        let source = &values[(image * height + y) * width * channels..][..width * channels];
        let first = block * lanes;
        for (pixel, source) in row.chunks_exact_mut(lanes).zip(source.chunks_exact(channels)) {
            let source = &source[first..channels.min(first + lanes)];
            if let (Some(pixel), Some(source)) =
                (pixel.first_chunk_mut::<BLOCK>(), source.first_chunk::<BLOCK>())
                && lanes == BLOCK
            {
                *pixel = *source;
            } else {
                let (taken, rest) = pixel.split_at_mut(source.len());
                taken.copy_from_slice(source);
                rest.fill(0.0);
            }
        }
    }
    Ok(())
}

/// Puts images in blocks into `[image][row][column][channel]`. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn leave_pixels(input: Images<'_>, channels: usize, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
    let planes = input.planes;
    let (height, width) = (planes.height, planes.width);
    if !can_leave(input, channels, output) {
        return Err(Unfit("pixels that leave a region"));
    }
    for number in part.of(planes.images * height) {
        let (image, y) = (number / height, number % height);
        // SAFETY: this thread alone has this row of the output.
        let Some(row) = (unsafe { output.part(number * width * channels, width * channels) }) else {
            continue;
        };
        for block in 0..planes.blocks {
            let source = &input.values[planes.at(block, image, y, 0)..][..width * BLOCK];
            let first = block * BLOCK;
            for (pixel, source) in row.chunks_exact_mut(channels).zip(source.as_chunks::<BLOCK>().0) {
                let pixel = &mut pixel[first..channels.min(first + BLOCK)];
                match pixel.first_chunk_mut::<BLOCK>() {
                    Some(pixel) => *pixel = *source,
                    None => pixel.copy_from_slice(&source[..pixel.len()]),
                }
            }
        }
    }
    Ok(())
}

/// Channels that are copied: from which on, to which, how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channels {
    pub from: usize,
    pub to: usize,
    pub count: usize,
}

/// Repeats each pixel, by the numbers of `times`, downwards and to the right, of images of any floats. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn repeat(
    input: Images<'_>,
    times: [usize; 2],
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let lanes = planes.lanes;
    let fits = planes.is_blocked()
        && output.lanes == lanes
        && planes.blocks == output.blocks
        && planes.images == output.images
        && times.iter().all(|times| *times > 0)
        && output.height == planes.height * times[0]
        && output.width == planes.width * times[1]
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("repeated pixels"));
    }
    let (height, width) = (output.height, output.width);
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        let source = &input.values[planes.at(block, image, y / times[0], 0)..][..planes.width * lanes];
        // SAFETY: this thread alone has this row of the output.
        let target = unsafe { buffer.part(output.at(block, image, y, 0), width * lanes) };
        let Some(target) = target else { continue };
        for (targets, pixel) in target.chunks_exact_mut(lanes * times[1]).zip(source.chunks_exact(lanes)) {
            for target in targets.chunks_exact_mut(lanes) {
                target.copy_from_slice(pixel);
            }
        }
    }
    Ok(())
}

/// Takes the first pixel of each rectangle of this many rows and columns, of images of any floats. Computes this thread's share.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn sample(
    input: Images<'_>,
    steps: [usize; 2],
    output: Planes,
    buffer: Shared<'_>,
    part: Part,
) -> Result<(), Unfit> {
    let planes = input.planes;
    let lanes = planes.lanes;
    let fits = planes.is_blocked()
        && output.lanes == lanes
        && planes.blocks == output.blocks
        && planes.images == output.images
        && steps.iter().all(|step| *step > 0)
        && output.height == planes.height.div_ceil(steps[0])
        && output.width == planes.width.div_ceil(steps[1])
        && input.values.len() >= planes.len()
        && buffer.len() >= output.len();
    if !fits {
        return Err(Unfit("pixels that are left out"));
    }
    let (height, width) = (output.height, output.width);
    for number in part.of(output.blocks * output.images * height) {
        let (block, image, y) =
            (number / height / output.images, number / height % output.images, number % height);
        let source = &input.values[planes.at(block, image, y * steps[0], 0)..][..planes.width * lanes];
        // SAFETY: this thread alone has this row of the output.
        let target = unsafe { buffer.part(output.at(block, image, y, 0), width * lanes) };
        let Some(target) = target else { continue };
        for (target, pixels) in target.chunks_exact_mut(lanes).zip(source.chunks(lanes * steps[1])) {
            target.copy_from_slice(&pixels[..lanes]);
        }
    }
    Ok(())
}

/// Makes the border of images zero.
///
/// # Errors
/// Buffers that do not fit the sizes.
pub fn clear_border(planes: Planes, buffer: &mut [f32]) -> Result<(), Unfit> {
    if planes.is_flat() {
        return Ok(());
    }
    let buffer = buffer.get_mut(..planes.len()).ok_or(Unfit("a border"))?;
    let (row, lanes, border) = (planes.row(), planes.lanes, planes.border);
    if row == 0 || planes.image() == 0 {
        return Ok(());
    }
    for number in 0..planes.blocks * planes.images {
        let (block, image) = (number / planes.images, number % planes.images);
        let image = &mut buffer[block * planes.block() + image * planes.image()..][..planes.image()];
        image[..border.top * row].fill(0.0);
        image[(border.top + planes.height) * row..].fill(0.0);
        for line in image[border.top * row..(border.top + planes.height) * row].chunks_exact_mut(row) {
            line[..border.left * lanes].fill(0.0);
            line[(border.left + planes.width) * lanes..].fill(0.0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planes::Border;

    #[test]
    fn pixels_enter_and_leave_with_their_channels_side_by_side() {
        let border = Border { top: 1, left: 2, bottom: 0, right: 1 };
        for (channels, lanes) in [(1, BLOCK), (16, BLOCK), (20, BLOCK), (35, BLOCK), (3, 3), (4, 4)] {
            let (images, height, width) = (2, 3, 5);
            let mut planes = Planes::new(channels, images, height, width, border);
            if lanes != BLOCK {
                planes = Planes { blocks: 1, lanes, ..planes };
            }
            let count = images * height * width * channels;
            let values: Vec<f32> = (0..count).map(|place| place as f32 + 1.0).collect();
            let mut found = vec![0.0; planes.len()];
            for index in 0..3 {
                let part = Part { index, count: 3 };
                enter_pixels(&values, channels, planes, Shared::new(&mut found), part).unwrap();
            }
            for (place, value) in values.iter().enumerate() {
                let (pixel, channel) = (place / channels, place % channels);
                let (image, y, x) = (pixel / width / height, pixel / width % height, pixel % width);
                let at = planes.at(channel / lanes, image, y, x) + channel % lanes;
                assert_eq!(found[at], *value, "{channels} {lanes} {place}");
            }
            let input = Images { planes, values: &found };
            let mut left = vec![0.0; count];
            for index in 0..3 {
                let part = Part { index, count: 3 };
                assert_eq!(
                    leave_pixels(input, channels, Shared::new(&mut left), part).is_ok(),
                    lanes == BLOCK
                );
            }
            assert!(lanes != BLOCK || left == values, "{channels}");
            let short = &values[1..];
            assert!(enter_pixels(short, channels, planes, Shared::new(&mut found), Part::WHOLE).is_err());
            let input = Images { planes, values: &found };
            assert!(leave_pixels(input, channels, Shared::new(&mut left[1..]), Part::WHOLE).is_err());
        }
    }

    #[test]
    fn the_first_pixel_of_each_rectangle_is_taken() {
        for (height, width, steps) in [(5, 4, [2, 2]), (1, 1, [3, 2]), (7, 6, [1, 3]), (0, 3, [2, 2])] {
            let border = Border { top: 1, left: 2, bottom: 0, right: 1 };
            let planes = Planes::new(20, 2, height, width, border);
            let output =
                Planes::new(20, 2, height.div_ceil(steps[0]), width.div_ceil(steps[1]), Border::default());
            let values: Vec<f32> = (0..planes.len()).map(|place| place as f32).collect();
            let mut found = vec![f32::NAN; output.len()];
            for index in 0..3 {
                let part = Part { index, count: 3 };
                let input = Images { planes, values: &values };
                sample(input, steps, output, Shared::new(&mut found), part).unwrap();
            }
            for block in 0..2 {
                for image in 0..2 {
                    for y in 0..output.height {
                        for x in 0..output.width {
                            let expected = planes.at(block, image, y * steps[0], x * steps[1]);
                            assert_eq!(found[output.at(block, image, y, x) + 3], values[expected + 3]);
                        }
                    }
                }
            }
            let wrong = Planes { width: output.width + 1, ..output };
            let input = Images { planes, values: &values };
            assert!(sample(input, steps, wrong, Shared::new(&mut found), Part::WHOLE).is_err());
        }
    }
}
