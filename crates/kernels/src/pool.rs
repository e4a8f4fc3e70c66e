//! Pools: the largest or the mean of what a window covers, and the mean of whole images.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use super::{
    Level, Part, Unfit,
    bfloat::{
        Words,
        images::{ImageTask, dispatch_images},
    },
    buffer::Shared,
    convolution::{Images, Steps},
    isa::Isa,
    planes::Planes,
};

/// What a pool computes of the elements that its window covers.
#[derive(Clone, Copy, Debug)]
pub enum Pooling<'a> {
    /// The largest. A NaN is never the largest.
    Maximum,
    /// The sum, divided by the product of these two for the row and the column of the output.
    Mean(&'a [f32], &'a [f32]),
}

/// A pool that is about to run. Borders are never read: pads count as absent.
#[derive(Clone, Copy, Debug)]
pub struct Pool<'a> {
    pub level: Level,
    pub pooling: Pooling<'a>,
    /// The sizes of the window.
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
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let input = &self.input.planes;
        let counts = match self.pooling {
            Pooling::Maximum => true,
            Pooling::Mean(rows, columns) => {
                rows.len() == self.output.height && columns.len() == self.output.width
            }
        };
        let is_window = self.window.iter().chain(&self.steps.dilations).all(|size| *size > 0);
        let fits = counts
            && is_window
            && input.is_blocked()
            && self.output.is_blocked()
            && input.blocks == self.output.blocks
            && input.images == self.output.images
            && self.input.values.len() >= input.len()
            && output.len() >= self.output.len();
        if !fits {
            return Err(Unfit("a pool"));
        }
        let is_narrow = input.is_narrow() || self.output.is_narrow();
        dispatch_images(self.level, is_narrow, Rows { pool: self, output, part });
        Ok(())
    }
}

/// The places of a window, along one dimension, that are within an image: the first and the end.
fn within(
    place: usize,
    stride: usize,
    before: usize,
    dilation: usize,
    window: usize,
    size: usize,
) -> (usize, usize) {
    let start = place.saturating_mul(stride);
    // Most windows are within the image. Divisions are slow.
    let last = (window - 1).saturating_mul(dilation).saturating_add(start);
    if start >= before && last < size.saturating_add(before) {
        return (0, window);
    }
    // Place `k` is at `start + k * dilation - before`.
    let first = before.saturating_sub(start).div_ceil(dilation);
    let end = size.saturating_add(before).saturating_sub(start).div_ceil(dilation);
    (first.min(window), end.min(window))
}

struct Rows<'a> {
    pool: &'a Pool<'a>,
    output: Shared<'a>,
    part: Part,
}

impl ImageTask for Rows<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        if W::ARE_PAIRS && self.pool.input.planes.is_narrow() {
            self.any_rows::<W, true>(words);
        } else {
            self.any_rows::<W, false>(words);
        }
    }
}

/// The places of a window that are within an image.
#[derive(Clone, Copy)]
struct Places {
    first: *const f32,
    rows: usize,
    columns: usize,
    /// From a row of the window to the next, in floats.
    row: usize,
    /// From a column to the next.
    column: usize,
}

/// The largest or the sum of what a window covers. `COLUMNS` is the number of columns, if it is not 0.
///
/// # Safety
/// 16 floats can be read at each place, or 16-bit floats if `NARROW` says so.
#[inline(always)]
unsafe fn reduce<W: Words, const NARROW: bool, const MEAN: bool, const COLUMNS: usize>(
    words: W,
    places: Places,
) -> <W::Isa as Isa>::V {
    let isa = words.isa();
    let columns = if COLUMNS == 0 { places.columns } else { COLUMNS };
    let mut result = isa.splat(if MEAN { 0.0 } else { f32::NEG_INFINITY });
    for row in 0..places.rows {
        let line = places.first.wrapping_add(row * places.row);
        for column in 0..columns {
            // SAFETY: the caller says that the place can be read.
            let value = unsafe { words.load(line.wrapping_add(column * places.column), NARROW) };
            result = if MEAN { isa.add(result, value) } else { isa.at_least(result, value) };
        }
    }
    result
}

impl Rows<'_> {
    /// Computes rows of outputs.
    #[inline(always)]
    fn any_rows<W: Words, const NARROW: bool>(&self, words: W) {
        match (self.pool.pooling, self.pool.window[1]) {
            (Pooling::Maximum, 2) => self.rows::<W, NARROW, false, 2>(words),
            (Pooling::Maximum, 3) => self.rows::<W, NARROW, false, 3>(words),
            (Pooling::Maximum, _) => self.rows::<W, NARROW, false, 0>(words),
            (Pooling::Mean(..), 2) => self.rows::<W, NARROW, true, 2>(words),
            (Pooling::Mean(..), 3) => self.rows::<W, NARROW, true, 3>(words),
            (Pooling::Mean(..), _) => self.rows::<W, NARROW, true, 0>(words),
        }
    }

    /// The same. `COLUMNS` is the width of the window, if it is not 0.
    #[inline(always)]
    fn rows<W: Words, const NARROW: bool, const MEAN: bool, const COLUMNS: usize>(&self, words: W) {
        let isa = words.isa();
        let Pool { pooling, window, steps, input, output, .. } = *self.pool;
        let planes = &input.planes;
        let ([down, right], [before_rows, before]) = (steps.strides, steps.before);
        let dilations = steps.dilations;
        for number in self.part.of(output.blocks * output.images * output.height) {
            let y = number % output.height;
            let (block, image) =
                (number / output.height / output.images, number / output.height % output.images);
            let (top, bottom) = within(y, down, before_rows, dilations[0], window[0], planes.height);
            for x in 0..output.width {
                let (left, end) = within(x, right, before, dilations[1], window[1], planes.width);
                let is_empty = top >= bottom || left >= end;
                let first = if is_empty {
                    0
                } else {
                    let (row, column) = (
                        y * down + top * dilations[0] - before_rows,
                        x * right + left * dilations[1] - before,
                    );
                    planes.at(block, image, row, column)
                };
                let places = Places {
                    first: input.values[first..].as_ptr(),
                    rows: if is_empty { 0 } else { bottom - top },
                    columns: end.saturating_sub(left),
                    row: dilations[0] * planes.row(),
                    column: dilations[1] * planes.lanes,
                };
                // SAFETY: `run` has found that the buffer has all images, and the places are within this one.
                let mut result = unsafe {
                    if (left, end) == (0, window[1]) {
                        reduce::<W, NARROW, MEAN, COLUMNS>(words, places)
                    } else {
                        reduce::<W, NARROW, MEAN, 0>(words, places)
                    }
                };
                if let Pooling::Mean(rows, columns) = pooling {
                    result = isa.divide(result, isa.splat(rows[y] * columns[x]));
                }
                let to = self.output.pointer(output.at(block, image, y, x));
                // SAFETY: `run` has found that the output has room; this thread alone has this row.
                unsafe { words.store(result, to, output.is_narrow()) };
            }
        }
    }
}

/// The mean of every channel of every image.
#[derive(Clone, Copy, Debug)]
pub struct Mean<'a> {
    pub level: Level,
    pub input: Images<'a>,
    /// Images of one pixel.
    pub output: Planes,
}

impl Mean<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let input = &self.input.planes;
        let fits = input.is_blocked()
            && self.output.is_blocked()
            && input.blocks == self.output.blocks
            && input.images == self.output.images
            && (self.output.height, self.output.width) == (1, 1)
            && self.input.values.len() >= input.len()
            && output.len() >= self.output.len();
        if !fits {
            return Err(Unfit("a mean of images"));
        }
        let is_narrow = input.is_narrow() || self.output.is_narrow();
        dispatch_images(self.level, is_narrow, Means { mean: self, output, part });
        Ok(())
    }
}

struct Means<'a> {
    mean: &'a Mean<'a>,
    output: Shared<'a>,
    part: Part,
}

impl ImageTask for Means<'_> {
    #[inline(always)]
    fn run<W: Words>(self, words: W) {
        let isa = words.isa();
        let Mean { input, output, .. } = *self.mean;
        let planes = &input.planes;
        let pixels = isa.splat((planes.height * planes.width) as f32);
        for number in self.part.of(output.blocks * output.images) {
            let (block, image) = (number / output.images, number % output.images);
            // Several sums: they are added at the same time, and lose less of small numbers.
            let mut sums = [isa.splat(0.0); 8];
            for y in 0..planes.height {
                let row = &input.values[planes.at(block, image, y, 0)..][..planes.width * planes.lanes];
                for pixels in row.chunks(8 * planes.lanes) {
                    let count = pixels.len() / planes.lanes;
                    for (number, sum) in sums.iter_mut().enumerate() {
                        if number < count {
                            let from = pixels[number * planes.lanes..][..planes.lanes].as_ptr();
                            // SAFETY: the slice has 16 numbers.
                            *sum = isa.add(*sum, unsafe { words.load(from, planes.is_narrow()) });
                        }
                    }
                }
            }
            let [a, b, c, d, e, f, g, h] = sums;
            let low = isa.add(isa.add(a, b), isa.add(c, d));
            let high = isa.add(isa.add(e, f), isa.add(g, h));
            let mean = isa.divide(isa.add(low, high), pixels);
            // SAFETY: `run` has found that the output has room; this thread alone has this pixel.
            unsafe {
                words.store(mean, self.output.pointer(output.at(block, image, 0, 0)), output.is_narrow())
            };
        }
    }
}
