//! Convolutions of 3 by 3 by Winograd's way, F(2x2, 3x3).
//!
//! Each tile of 2 by 2 outputs needs 4 by 4 inputs. These are transformed by additions, multiplied element
//! by element with transformed weights, summed over the channels, and transformed back: 16 multiplications
//! where the direct way has 36. The 16 elements are 16 products of matrices, for which the tiles of
//! [`super::tile`] serve. Rounding is no worse than of the direct way; a number that is not finite makes
//! the others of its tile so.
//!
//! Source: A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", 2015.

#![expect(unsafe_code, reason = "loads and stores through pointers; several threads write one output")]

use std::ops::Range;

use super::{
    BLOCK, Level, Part, Unfit,
    activation::Activation,
    buffer::{Buffer, Shared},
    convolution::Images,
    filters::Ahead,
    isa::{Isa, Task, dispatch},
    planes::Planes,
    tile::{Tile, blocks_of, kernels},
    weights::Weights,
};

/// Elements of a tile.
const ELEMENTS: usize = 16;

/// Floats of the scratch memory of a thread, about: half of a cache of the second level.
const SCRATCH: usize = 128 * 1024;

/// Weights of more floats than this are read from further away, so more tiles share a reading.
const MANY_WEIGHTS: usize = 128 * 1024;

/// The tiles that share it then.
const MANY_TILES: usize = 98;

/// With fewer tiles for each thread, threads share the weights.
const FEW_TILES: usize = 64;

/// The transformed weights of a convolution of 3 by 3, and its bias.
#[derive(Debug)]
pub struct Winograd {
    pub inputs: usize,
    pub outputs: usize,
    level: Level,
    /// `[element][panel][input][output of the panel]`.
    weights: Buffer,
    bias: Buffer,
    zeros: Buffer,
}

impl Winograd {
    /// Of weights `[output][input][3][3]` and a bias. `None` if the sizes do not fit.
    pub fn new(level: Level, weights: Weights<'_>, shape: [usize; 4], bias: Option<&[f32]>) -> Option<Self> {
        let [outputs, inputs, 3, 3] = shape else { return None };
        let fits = weights.fit(outputs, inputs * 9)
            && outputs * inputs > 0
            && bias.is_none_or(|bias| bias.len() == outputs);
        if !fits {
            return None;
        }
        let padded = outputs.div_ceil(BLOCK) * BLOCK;
        let mut all = Buffer::zeros(padded);
        if let Some(bias) = bias {
            all[..outputs].copy_from_slice(bias);
        }
        let packed = Buffer::zeros(ELEMENTS * padded * inputs);
        let zeros = Buffer::zeros(2 * BLOCK);
        let mut winograd = Self { inputs, outputs, level, weights: packed, bias: all, zeros };
        dispatch(level, Packing { winograd: &mut winograd, weights });
        Some(winograd)
    }

    fn blocks(&self) -> [usize; 2] {
        [self.inputs.div_ceil(BLOCK), self.outputs.div_ceil(BLOCK)]
    }

    /// Floats of the weights of an element.
    fn element(&self) -> usize {
        self.blocks()[1] * BLOCK * self.inputs
    }

    /// The blocks of output channels that tiles compute together: the first one, how many.
    fn panels(&self) -> impl Iterator<Item = (usize, usize)> + use<> {
        let (wide, blocks) = (blocks_of(self.level), self.blocks()[1]);
        (0..blocks).step_by(wide).map(move |block| (block, wide.min(blocks - block)))
    }

    /// How `tiles` tiles of a thread are computed: in chunks of this number.
    fn chunk(&self, tiles: usize) -> usize {
        let widest = kernels(self.level, blocks_of(self.level)).dense.len();
        let [inputs, outputs] = self.blocks();
        let room = SCRATCH / (ELEMENTS * BLOCK * (inputs + outputs));
        let is_many = ELEMENTS * BLOCK * BLOCK * inputs * outputs > MANY_WEIGHTS;
        let room = if is_many { room.max(MANY_TILES) } else { room };
        let most = (room / widest).max(1) * widest;
        tiles.div_ceil(tiles.div_ceil(most).max(1)).max(1)
    }

    /// Floats from one element to the next, of `blocks` blocks of `chunk` tiles. The elements of a tile are
    /// in different lines of the nearest cache, whatever the sizes.
    fn stride(blocks: usize, chunk: usize) -> usize {
        let lines = blocks * chunk;
        (lines + (21 - lines % 16) % 16) * BLOCK
    }

    /// Floats of scratch memory that each thread needs for images of this number of tiles.
    pub fn scratch(&self, tiles: usize) -> usize {
        let ([inputs, outputs], chunk) = (self.blocks(), self.chunk(tiles));
        ELEMENTS * (Self::stride(inputs, chunk) + Self::stride(outputs, chunk))
    }
}

/// Transforms weights: `G g Gᵀ` of the nine weights `g` of each window.
struct Packing<'a> {
    winograd: &'a mut Winograd,
    weights: Weights<'a>,
}

impl Task for Packing<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { winograd, weights } = self;
        let (inputs, element) = (winograd.inputs, winograd.element());
        let half = isa.splat(0.5);
        // The product of `G` and a column: a, (a + b + c) / 2, (a - b + c) / 2, c.
        let transform = |[a, b, c]: [I::V; 3]| {
            let (outer, inner) = (isa.multiply(isa.add(a, c), half), isa.multiply(b, half));
            [a, isa.add(outer, inner), isa.subtract(outer, inner), c]
        };
        for (first, wide) in winograd.panels() {
            for block in 0..wide {
                let start = (first + block) * BLOCK;
                let count = BLOCK.min(winograd.outputs - start);
                for input in 0..inputs {
                    let mut windows = [[0.0_f32; BLOCK]; 9];
                    for lane in 0..count {
                        let output = start + lane;
                        let mut window = [0.0; 9];
                        weights.copy(output, (output * inputs + input) * 9, &mut window);
                        for (windows, value) in windows.iter_mut().zip(window) {
                            windows[lane] = value;
                        }
                    }
                    // SAFETY: each array has 16 floats.
                    let g = windows.map(|values| unsafe { isa.load(values.as_ptr()) });
                    let columns = [0, 1, 2].map(|column| transform([0, 3, 6].map(|row| g[row + column])));
                    let place = (first * inputs + input * wide + block) * BLOCK;
                    for row in 0..4 {
                        let values = transform(columns.map(|column| column[row]));
                        for (column, value) in values.into_iter().enumerate() {
                            let place = (row * 4 + column) * element + place;
                            let target = &mut winograd.weights[place..place + BLOCK];
                            // SAFETY: the slice has 16 floats.
                            unsafe { isa.store(value, target.as_mut_ptr()) };
                        }
                    }
                }
            }
        }
    }
}

/// The tiles of an image.
pub fn tiles(height: usize, width: usize) -> usize {
    height.div_ceil(2) * width.div_ceil(2)
}

/// A convolution that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Tiles<'a> {
    pub winograd: &'a Winograd,
    /// Rows and columns before the image at which the first window begins.
    pub before: [usize; 2],
    pub input: Images<'a>,
    /// Images that are added to the sums.
    pub residual: Option<Images<'a>>,
    pub output: Planes,
    /// The function of the sums, before `residual` is added.
    pub activation: Activation,
    /// The function of the sums with `residual`.
    pub after: Activation,
}

impl Tiles<'_> {
    /// Computes this thread's share. `scratch` has room for all threads.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, scratch: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let (input, own, border) = (&self.input.planes, &self.output, self.input.planes.border);
        let [inputs, outputs] = self.winograd.blocks();
        // A tile reads 4 elements, and the last one may begin at the last output.
        let reaches = |places: usize, before: usize, own: usize, size: usize, after: usize| {
            own <= before && places.div_ceil(2) * 2 + 2 <= own + size + after
        };
        let fits = input.lanes == BLOCK
            && input.blocks == inputs
            && self.input.values.len() >= input.len()
            && own.lanes == BLOCK
            && own.blocks == outputs
            && own.images == input.images
            && output.len() >= own.len()
            && self.residual.is_none_or(|residual| {
                residual.planes.lanes == BLOCK
                    && residual.planes.blocks == outputs
                    && residual.planes.is_as_large_as(own)
                    && residual.values.len() >= residual.planes.len()
            })
            && (own.height == 0
                || reaches(own.height, border.top, self.before[0], input.height, border.bottom))
            && (own.width == 0 || reaches(own.width, border.left, self.before[1], input.width, border.right))
            && scratch.len() >= self.scratch() * part.count;
        if !fits {
            return Err(Unfit("a convolution by tiles"));
        }
        dispatch(self.winograd.level, Share { tiles: self, output, scratch, part });
        Ok(())
    }

    /// Floats of scratch memory of a thread.
    fn scratch(&self) -> usize {
        self.winograd.scratch(self.output.images * tiles(self.output.height, self.output.width))
    }
}

struct Share<'a> {
    tiles: &'a Tiles<'a>,
    output: Shared<'a>,
    scratch: Shared<'a>,
    part: Part,
}

/// Where a tile of outputs is.
#[derive(Clone, Copy)]
struct Place {
    image: usize,
    y: usize,
    x: usize,
}

impl Task for Share<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let tiles = self.tiles;
        let output = &tiles.output;
        let (down, right) = (output.height.div_ceil(2), output.width.div_ceil(2));
        let all = output.images * down * right;
        let (chunk, size) = (tiles.winograd.chunk(all), tiles.scratch());
        // Threads share the weights or the tiles. Those that share the weights transform all inputs, each for itself:
        // that is little work compared with the multiplications.
        let (panels, threads) = (tiles.winograd.panels().count(), self.part.count);
        let is_even = panels.is_multiple_of(threads) || panels >= 4 * threads;
        let by_panels = threads > 1 && all < FEW_TILES * threads && is_even;
        let (share, panels) =
            if by_panels { (0..all, self.part.of(panels)) } else { (self.part.of(all), 0..panels) };
        // SAFETY: each thread has a part of the scratch memory of its own.
        let Some(scratch) = (unsafe { self.scratch.part(self.part.index * size, size) }) else { return };
        let [inputs, outputs] = tiles.winograd.blocks();
        let strides = [Winograd::stride(inputs, chunk), Winograd::stride(outputs, chunk)];
        let (from, to) = scratch.split_at_mut(ELEMENTS * strides[0]);
        let place = |tile: usize| Place {
            image: tile / (down * right),
            y: tile / right % down * 2,
            x: tile % right * 2,
        };
        for start in share.clone().step_by(chunk) {
            let count = chunk.min(share.end - start);
            for tile in 0..count {
                self.enter(isa, place(start + tile), tile, (chunk, strides[0]), from);
            }
            self.multiply(count, chunk, strides, panels.clone(), (from, to));
            for tile in 0..count {
                self.leave(isa, place(start + tile), tile, (chunk, strides[1]), panels.clone(), to);
            }
        }
    }
}

impl Share<'_> {
    /// Transforms the inputs of a tile: `Bᵀ d B`, into `[element][block][tile][16]`.
    #[inline(always)]
    fn enter<I: Isa>(
        &self,
        isa: I,
        place: Place,
        tile: usize,
        (chunk, stride): (usize, usize),
        to: &mut [f32],
    ) {
        let (planes, before) = (&self.tiles.input.planes, self.tiles.before);
        let row = planes.row();
        let first = planes.at(0, place.image, place.y, place.x) - before[0] * row - before[1] * BLOCK;
        for block in 0..planes.blocks {
            let from = &self.tiles.input.values[first + block * planes.block()..];
            debug_assert!(from.len() >= 3 * row + 4 * BLOCK);
            let mut values = [isa.splat(0.0); ELEMENTS];
            for (number, value) in values.iter_mut().enumerate() {
                // SAFETY: `run` has found that four rows and columns are there for each tile.
                *value = unsafe { isa.load(from.as_ptr().add(number / 4 * row + number % 4 * BLOCK)) };
            }
            // Along columns, then along rows.
            for column in 0..4 {
                let [a, b, c, d] = [0, 4, 8, 12].map(|row| values[row + column]);
                values[column] = isa.subtract(a, c);
                values[4 + column] = isa.add(b, c);
                values[8 + column] = isa.subtract(c, b);
                values[12 + column] = isa.subtract(b, d);
            }
            for row in [0, 4, 8, 12] {
                let [a, b, c, d] = [0, 1, 2, 3].map(|column| values[row + column]);
                values[row] = isa.subtract(a, c);
                values[row + 1] = isa.add(b, c);
                values[row + 2] = isa.subtract(c, b);
                values[row + 3] = isa.subtract(b, d);
            }
            for (element, value) in values.into_iter().enumerate() {
                let start = element * stride + (block * chunk + tile) * BLOCK;
                let target = &mut to[start..start + BLOCK];
                // SAFETY: the slice has 16 floats.
                unsafe { isa.store(value, target.as_mut_ptr()) };
            }
        }
    }

    /// The product of each element of all tiles with its weights.
    #[inline(always)]
    fn multiply(
        &self,
        count: usize,
        chunk: usize,
        strides: [usize; 2],
        panels: Range<usize>,
        (from, to): (&[f32], &mut [f32]),
    ) {
        let winograd = self.tiles.winograd;
        let [inputs, _] = winograd.blocks();
        let target = Shared::new(to);
        for element in 0..ELEMENTS {
            for (block, wide) in winograd.panels().skip(panels.start).take(panels.len()) {
                let kernels = kernels(winograd.level, wide).dense;
                let strips = count.div_ceil(kernels.len());
                let weights = element * winograd.element() + block * BLOCK * winograd.inputs;
                let size = wide * BLOCK * winograd.inputs;
                let ahead = Ahead::new(weights + size, size, inputs, strips);
                let mut done = 0;
                for strip in 0..strips {
                    let width = (count - done).div_ceil(strips - strip);
                    let (ahead, ahead_lines) = ahead.take();
                    let tile = Tile {
                        input: from[element * strides[0] + done * BLOCK..].as_ptr(),
                        input_block: chunk * BLOCK,
                        window_row: 0,
                        window_column: 0,
                        step: BLOCK,
                        input_row: 0,
                        weights: winograd.weights[weights..].as_ptr(),
                        blocks: inputs,
                        channels: BLOCK,
                        last_channels: winograd.inputs - (inputs - 1) * BLOCK,
                        rows: 1,
                        columns: 1,
                        bias: winograd.zeros.as_ptr(),
                        output: target.pointer(element * strides[1] + (block * chunk + done) * BLOCK),
                        output_block: chunk * BLOCK,
                        output_row: 0,
                        output_step: BLOCK,
                        output_is_narrow: false,
                        residual: std::ptr::null(),
                        residual_block: 0,
                        residual_row: 0,
                        residual_step: 0,
                        residual_is_narrow: false,
                        low: f32::NEG_INFINITY,
                        high: f32::INFINITY,
                        ahead: winograd.weights.as_ptr().wrapping_add(ahead),
                        ahead_lines,
                    };
                    if let Some(kernel) = kernels.get(width.wrapping_sub(1)) {
                        // SAFETY: the scratch memory has room for `chunk` tiles of each element and block;
                        // the weights are those of one pixel for all input channels.
                        unsafe { kernel(&tile) };
                    }
                    done += width;
                }
            }
        }
    }

    /// Transforms the sums of a tile back, `Aᵀ m A`, and writes its outputs.
    #[inline(always)]
    fn leave<I: Isa>(
        &self,
        isa: I,
        place: Place,
        tile: usize,
        (chunk, stride): (usize, usize),
        panels: Range<usize>,
        from: &[f32],
    ) {
        let Tiles { winograd, output, residual, activation, after, .. } = *self.tiles;
        let wide = blocks_of(winograd.level);
        for block in panels.start * wide..output.blocks.min(panels.end * wide) {
            let mut values = [isa.splat(0.0); ELEMENTS];
            for (element, value) in values.iter_mut().enumerate() {
                let start = element * stride + (block * chunk + tile) * BLOCK;
                let source = &from[start..start + BLOCK];
                // SAFETY: the slice has 16 floats.
                *value = unsafe { isa.load(source.as_ptr()) };
            }
            let mut half = [isa.splat(0.0); 8];
            for column in 0..4 {
                let [a, b, c, d] = [0, 4, 8, 12].map(|row| values[row + column]);
                half[column] = isa.add(isa.add(a, b), c);
                half[4 + column] = isa.subtract(isa.subtract(b, c), d);
            }
            let bias = &winograd.bias[block * BLOCK..][..BLOCK];
            // SAFETY: the slice has 16 floats.
            let bias = unsafe { isa.load(bias.as_ptr()) };
            for number in 0..4 {
                let (y, x) = (place.y + number / 2, place.x + number % 2);
                if y >= output.height || x >= output.width {
                    continue;
                }
                let [a, b, c, d] = [0, 1, 2, 3].map(|column| half[number / 2 * 4 + column]);
                let sum = if number.is_multiple_of(2) {
                    isa.add(isa.add(a, b), c)
                } else {
                    isa.subtract(isa.subtract(b, c), d)
                };
                let mut value = activation.of(isa, isa.add(sum, bias));
                if let Some(residual) = residual {
                    let added = &residual.values[residual.planes.at(block, place.image, y, x)..][..BLOCK];
                    // SAFETY: the slice has 16 floats.
                    value = isa.add(value, unsafe { isa.load(added.as_ptr()) });
                }
                let value = after.of(isa, value);
                // SAFETY: `run` has found that the output has room; this thread alone has this block of this tile.
                unsafe { isa.store(value, self.output.pointer(output.at(block, place.image, y, x))) };
            }
        }
    }
}
