//! Convolutions of bytes in blocks: a window that moves over rows, cut into tiles.

#![expect(unsafe_code, reason = "tiles are computed through pointers; several threads write one output")]

use super::{
    GROUP, Images, Reading,
    filters::{Filters, Panel},
    finish::Addition,
    kernels::{Kernels, blocks_of, kernels},
    target::Target,
    tile::{Kernel, Patches, Tile},
};
use crate::{BLOCK, Part, Unfit, convolution::Steps, planes::Planes};

/// A convolution that is about to run. Around the image is the zero point of the input.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    pub filters: &'a Filters,
    pub steps: Steps,
    pub input: Images<'a>,
    /// The summands of the output channels, in whole blocks, if they are not those of the filters.
    pub bias: Option<&'a [i32]>,
    pub output: Planes,
}

/// Input bytes that a chunk of rows has at most: they stay in the cache of the second level while all
/// weights go by.
const CHUNK: usize = 192 * 1024;

/// Outputs that tiles compute one after another.
#[derive(Clone, Copy, Debug)]
struct Strip {
    /// The place of the first window, in bytes.
    input: usize,
    /// The numbers before the first output, and before what is added to it.
    output: usize,
    residual: usize,
    pixels: usize,
}

/// How outputs are cut into strips.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// All pixels of all images in one row: windows of one pixel over images without borders.
    Flat { pixels: usize, strips: usize },
    /// Rows.
    Rows,
    /// This number of rows at once, which one tile covers.
    Groups(usize),
}

impl Convolution<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, target: &Target<'_>, part: Part) -> Result<(), Unfit> {
        self.check(target)?;
        let filters = self.filters;
        let cut = self.cut(target);
        let strips = match cut {
            Cut::Flat { strips, .. } => strips,
            Cut::Rows => self.output.images * self.output.height,
            Cut::Groups(rows) => self.output.images * self.output.height.div_ceil(rows),
        };
        let panels = filters.panel_count();
        // Threads share either the weights or the pixels.
        let by_panels = part.count > 1
            && (strips < part.count
                || panels >= 2 * part.count && filters.weights.len() > self.input.values.len());
        let (panels, strips) =
            if by_panels { (part.of(panels), 0..strips) } else { (0..panels, part.of(strips)) };
        let per_strip = self.output.width * self.steps.strides.iter().product::<usize>() * filters.inputs;
        let per_strip = match cut {
            Cut::Flat { pixels, strips } => pixels.div_ceil(strips) * filters.inputs,
            Cut::Rows => per_strip,
            Cut::Groups(rows) => per_strip * rows,
        };
        let chunk = (CHUNK / per_strip.max(1)).max(1);
        let (places, mut patches) = (self.places(), Vec::new());
        let mut start = strips.start;
        while start < strips.end {
            let end = (start + chunk).min(strips.end);
            for number in panels.clone() {
                let panel = filters.panel(number);
                let kernels = kernels(filters.instructions, panel.blocks);
                let mut tile = self.tile(&panel, target, &places);
                tile.patches = filters.patches(number, self.distances(), &mut patches);
                for strip in start..end {
                    self.strip(cut, strip, target.residual(), &mut tile, kernels);
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Whether everything that tiles reach is in the buffers.
    fn check(&self, target: &Target<'_>) -> Result<(), Unfit> {
        let (filters, input) = (self.filters, &self.input.planes);
        let (lanes, blocks) = match filters.reading {
            Reading::Blocks => (BLOCK, filters.groups * filters.inputs.div_ceil(BLOCK)),
            Reading::Whole => (filters.inputs.next_multiple_of(GROUP), 1),
        };
        if input.lanes != lanes || input.blocks != blocks || self.input.values.len() < input.len() {
            return Err(Unfit("the input of a convolution of bytes"));
        }
        if self.bias.is_some_and(|bias| bias.len() < filters.bias.len()) {
            return Err(Unfit("the summands of a convolution of bytes"));
        }
        let output_blocks = filters.groups * filters.blocks();
        if self.output.lanes != BLOCK
            || self.output.blocks != output_blocks
            || self.output.images != input.images
            || !target.fits(&self.output)
        {
            return Err(Unfit("the output of a convolution of bytes, or what is added to it"));
        }
        let window = [filters.rows, filters.columns];
        if reaches(&self.steps, input, window, &self.output) {
            Ok(())
        } else {
            Err(Unfit("the window of a convolution of bytes"))
        }
    }

    fn cut(&self, target: &Target<'_>) -> Cut {
        let filters = self.filters;
        let (input, output) = (&self.input.planes, &self.output);
        let widest = kernels(filters.instructions, blocks_of(filters.instructions));
        let is_near = self.steps.strides == [1, 1];
        let residual = target.residual().is_none_or(|residual| residual.is_flat());
        if is_near && filters.rows * filters.columns == 1 && input.is_flat() && output.is_flat() && residual {
            let pixels = output.images * output.height * output.width;
            let list = self.list(widest);
            return Cut::Flat { pixels, strips: pixels.div_ceil(list.len()) };
        }
        match widest.rows {
            Some((rows, width, _))
                if is_near
                    && filters.reading == Reading::Blocks
                    && output.width == width
                    && output.height >= rows =>
            {
                Cut::Groups(rows)
            }
            _ => Cut::Rows,
        }
    }

    /// The kernels for the distance of the inputs.
    fn list(&self, kernels: &Kernels) -> &'static [Kernel] {
        match (self.filters.reading, self.steps.strides[1]) {
            (Reading::Blocks, 1) => kernels.dense,
            (Reading::Blocks, 2) => kernels.halved,
            _ => kernels.any,
        }
    }

    fn strip(&self, cut: Cut, number: usize, residual: Option<Planes>, tile: &mut Tile, kernels: &Kernels) {
        let (input, steps) = (self.input.planes, &self.steps);
        let at = |image: usize, y: usize| Strip {
            input: input.at(0, image, y * steps.strides[0], 0)
                - steps.before[0] * input.row()
                - steps.before[1] * input.lanes,
            output: self.output.at(0, image, y, 0),
            residual: residual.map_or(0, |residual| residual.at(0, image, y, 0)),
            pixels: self.output.width,
        };
        match cut {
            Cut::Flat { pixels, strips } => {
                let (from, to) = (pixels * number / strips, pixels * (number + 1) / strips);
                let strip = Strip {
                    input: from * input.lanes,
                    output: from * BLOCK,
                    residual: from * BLOCK,
                    pixels: to - from,
                };
                self.row(strip, tile, kernels);
            }
            Cut::Rows => {
                let height = self.output.height;
                self.row(at(number / height, number % height), tile, kernels);
            }
            Cut::Groups(rows) => {
                let groups = self.output.height.div_ceil(rows);
                let (image, y) = (number / groups, number % groups * rows);
                match kernels.rows {
                    Some((_, _, kernel)) if y + rows <= self.output.height => {
                        // SAFETY: `check` has found that all sizes fit, and this thread alone has
                        // this panel of these rows.
                        unsafe { compute(at(image, y), tile, kernel) };
                    }
                    _ => {
                        for y in y..self.output.height.min(y + rows) {
                            self.row(at(image, y), tile, kernels);
                        }
                    }
                }
            }
        }
    }

    /// Computes the tiles of outputs in one row.
    fn row(&self, strip: Strip, tile: &mut Tile, kernels: &Kernels) {
        let list = self.list(kernels);
        let tiles = strip.pixels.div_ceil(list.len());
        let step = self.steps.strides[1] * self.input.planes.lanes;
        let mut done = 0;
        for number in 0..tiles {
            let pixels = (strip.pixels - done).div_ceil(tiles - number);
            let here = Strip {
                input: strip.input + done * step,
                output: strip.output + done * BLOCK,
                residual: strip.residual + done * BLOCK,
                pixels,
            };
            if let Some(kernel) = list.get(pixels.wrapping_sub(1)) {
                // SAFETY: `check` has found that all sizes fit, and this thread alone has this panel
                // of this row.
                unsafe { compute(here, tile, *kernel) };
            }
            done += pixels;
        }
    }

    /// How far the next block of channels is in the input, and the next row and column of the window.
    fn distances(&self) -> [usize; 3] {
        let planes = &self.input.planes;
        let [down, right] = self.steps.dilations;
        [planes.block(), down * planes.row(), right * planes.lanes]
    }

    /// How far each place of the window is from the first one, in each block of input channels.
    fn places(&self) -> Vec<usize> {
        let filters = self.filters;
        let blocks = match filters.reading {
            Reading::Blocks => filters.inputs.div_ceil(BLOCK),
            Reading::Whole => 1,
        };
        let [block, row, column] = self.distances();
        let window = filters.rows * filters.columns;
        (0..blocks * window)
            .map(|place| {
                let (number, place) = (place / window, place % window);
                number * block + place / filters.columns * row + place % filters.columns * column
            })
            .collect()
    }

    /// The tile of a panel, where the first image begins, without patches.
    fn tile(&self, panel: &Panel, target: &Target<'_>, places: &[usize]) -> Tile {
        let (filters, planes) = (self.filters, self.input.planes);
        let (blocks, groups, last) = match filters.reading {
            Reading::Blocks => {
                let blocks = filters.inputs.div_ceil(BLOCK);
                (blocks, BLOCK / GROUP, filters.inputs - (blocks - 1) * BLOCK)
            }
            Reading::Whole => (1, 0, filters.inputs),
        };
        let block = panel.group * filters.blocks() + panel.block;
        let start = block * self.output.block();
        let unused = Addition { ratios: [0.0; 2], fixed: 0.0, is_first: true, is_signed: false };
        let end = target.row(block, start, |planes| block * planes.block());
        let (word, added) = (target.word(), target.residual());
        let [input_block, window_row, window_column] = self.distances();
        Tile {
            input: self.input.values[panel.group * blocks * planes.block()..].as_ptr(),
            input_block,
            window_row,
            window_column,
            step: self.steps.strides[1] * planes.lanes,
            input_row: self.steps.strides[0] * planes.row(),
            weights: filters.weights[panel.weights..].as_ptr(),
            passes: filters.passes,
            blocks,
            groups,
            last_groups: last.div_ceil(GROUP),
            rows: filters.rows,
            columns: filters.columns,
            places: places.as_ptr(),
            place_count: places.len(),
            patches: Patches::NONE,
            bias: self.bias.unwrap_or(&filters.bias)[block * BLOCK..].as_ptr(),
            scales: filters.scales[block * BLOCK..].as_ptr(),
            form: end.form,
            reals: end.reals,
            zero_point: end.finish.zero_point,
            output: end.output,
            output_block: self.output.block() * word,
            output_row: self.output.row() * word,
            output_step: BLOCK * word,
            residual: end.residual,
            residual_block: added.map_or(0, |added| added.block() * word),
            residual_row: added.map_or(0, |added| added.row() * word),
            word,
            addition: end.finish.addition.unwrap_or(unused),
        }
    }
}

/// Computes a tile of a strip. The tile's pointers are where its panel begins, and are so again afterwards.
///
/// # Safety
/// As of the kernels, for this strip.
unsafe fn compute(strip: Strip, tile: &mut Tile, kernel: Kernel) {
    let (input, output, residual) = (tile.input, tile.output, tile.residual);
    tile.input = input.wrapping_add(strip.input);
    tile.output = output.wrapping_add(strip.output * tile.word);
    if !residual.is_null() {
        tile.residual = residual.wrapping_add(strip.residual * tile.word);
    }
    // SAFETY: the caller says so.
    unsafe { kernel(tile) };
    (tile.input, tile.output, tile.residual) = (input, output, residual);
}

/// Whether all windows are within images and their borders.
pub(super) fn reaches(steps: &Steps, input: &Planes, window: [usize; 2], output: &Planes) -> bool {
    let border = input.border;
    let along = |axis: usize, places: usize, before: usize, size: usize, after: usize| {
        steps.before[axis] <= before
            && (places == 0
                || (places - 1) * steps.strides[axis] + (window[axis] - 1) * steps.dilations[axis]
                    < steps.before[axis] + size + after)
    };
    along(0, output.height, border.top, input.height, border.bottom)
        && along(1, output.width, border.left, input.width, border.right)
}
