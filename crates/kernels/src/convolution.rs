//! Convolutions of images in blocks: a window that moves over rows, cut into tiles.

#![expect(unsafe_code, reason = "tiles are computed through pointers; several threads write one output")]

use super::{
    BLOCK, Part, Unfit,
    activation::{Activation, apply},
    bfloat::WORDS,
    buffer::Shared,
    filters::{Ahead, Filters, Panel, Reading},
    planes::Planes,
    tile::{Kernel, Kernels, Tile},
};

/// How a window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// From one output row and column to the next.
    pub strides: [usize; 2],
    /// From one place of the window to the next.
    pub dilations: [usize; 2],
    /// Rows and columns before the image at which the first window begins.
    pub before: [usize; 2],
}

/// Images and where they are.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    pub planes: Planes,
    pub values: &'a [f32],
}

/// A convolution that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Convolution<'a> {
    pub filters: &'a Filters,
    pub steps: Steps,
    pub input: Images<'a>,
    /// Images that are added to the sums.
    pub residual: Option<Images<'a>>,
    pub output: Planes,
    /// The function of the sums, before `residual` is added.
    pub activation: Activation,
    /// The function of the sums with `residual`.
    pub after: Activation,
    /// Where outputs go, if they are spread.
    pub spread: Option<Spread>,
}

/// Outputs that are spread over larger images: those of one place of the window of a transposed convolution
/// whose windows do not overlap.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The rows and columns of the window.
    pub times: [usize; 2],
    /// The place in it.
    pub place: [usize; 2],
}

/// Input floats that a chunk of rows has at most: they stay in the cache of the second level while all
/// weights go by.
const CHUNK: usize = 48 * 1024;

/// Weights of more floats than this come from further away, so chunks are larger.
const MANY_WEIGHTS: usize = 128 * 1024;

/// Outputs that tiles compute one after another.
#[derive(Clone, Copy, Debug)]
struct Strip {
    input: usize,
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

/// A panel of weights, and what its tiles share.
struct Work<'a> {
    panel: Panel,
    kernels: &'static Kernels,
    output: Shared<'a>,
    ahead: Ahead,
}

impl Convolution<'_> {
    /// Computes this thread's share.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        self.check(output)?;
        let filters = self.filters;
        let cut = self.cut();
        let strips = match cut {
            Cut::Flat { strips, .. } => strips,
            Cut::Rows => self.output.images * self.size()[0],
            Cut::Groups(rows) => self.output.images * self.size()[0].div_ceil(rows),
        };
        if strips == 0 {
            return Ok(());
        }
        let panels = filters.panel_count();
        // Threads share either the weights or the pixels.
        let by_panels = part.count > 1
            && (strips < part.count
                || panels >= 2 * part.count && filters.weights.len() > self.input.values.len());
        let (panels, strips) =
            if by_panels { (part.of(panels), 0..strips) } else { (0..panels, part.of(strips)) };
        let inputs = filters.words(filters.inputs);
        let per_strip = self.size()[1].max(1) * self.steps.strides.iter().product::<usize>() * inputs;
        let per_strip = match cut {
            Cut::Flat { pixels, strips } => pixels.div_ceil(strips) * inputs,
            Cut::Rows => per_strip,
            Cut::Groups(rows) => per_strip * rows,
        };
        let limit = if filters.weights.len() > MANY_WEIGHTS { 3 * CHUNK } else { CHUNK };
        let chunk = (limit / per_strip.max(1)).max(1);
        let mut start = strips.start;
        while start < strips.end {
            let end = (start + chunk).min(strips.end);
            for number in panels.clone() {
                let panel = filters.panel(number);
                let kernels = filters.kernels(Some(panel.blocks));
                let tiles = (end - start) * self.tiles_of_strip(cut, kernels);
                let ahead = self.filters.ahead(&panel, tiles);
                let work = Work { panel, kernels, output, ahead };
                for strip in start..end {
                    self.strip(cut, strip, &work);
                }
            }
            start = end;
        }
        Ok(())
    }

    /// Whether everything that tiles reach is in the buffers.
    fn check(&self, output: Shared<'_>) -> Result<(), Unfit> {
        let (filters, input, steps) = (self.filters, &self.input.planes, &self.steps);
        let lanes = match filters.reading {
            Reading::Blocks => filters.lanes(),
            Reading::Rows => filters.words(filters.inputs),
        };
        let input_blocks = match filters.reading {
            Reading::Blocks => filters.groups * filters.inputs.div_ceil(BLOCK),
            Reading::Rows => 1,
        };
        if input.lanes != lanes || input.blocks != input_blocks || self.input.values.len() < input.len() {
            return Err(Unfit("the input of a convolution"));
        }
        if filters.reading == Reading::Rows && steps.dilations[1] != 1 {
            return Err(Unfit("the dilation of a convolution"));
        }
        // Narrow outputs are written by tiles of pairs, and no pass goes over them.
        let has_lanes = |planes: &Planes| {
            planes.lanes == BLOCK
                || planes.lanes == WORDS
                    && filters.form.is_narrow()
                    && self.is_plain()
                    && self.spread.is_none()
        };
        if !has_lanes(&self.output)
            || self.output.blocks != filters.groups * filters.blocks()
            || self.output.images != input.images
            || output.len() < self.output.len()
        {
            return Err(Unfit("the output of a convolution"));
        }
        if let Some(residual) = &self.residual
            && (!has_lanes(&residual.planes)
                || residual.planes.blocks != self.output.blocks
                || !residual.planes.is_as_large_as(&self.output)
                || residual.values.len() < residual.planes.len())
        {
            return Err(Unfit("what a convolution adds"));
        }
        if let Some(Spread { times, place }) = self.spread {
            let fits = self.is_plain()
                && self.residual.is_none()
                && place[0] < times[0]
                && place[1] < times[1]
                && self.output.height.is_multiple_of(times[0])
                && self.output.width.is_multiple_of(times[1]);
            if !fits {
                return Err(Unfit("what a convolution spreads"));
            }
        }
        let border = input.border;
        let reaches =
            |axis: usize, places: usize, window: usize, before: usize, size: usize, after: usize| {
                steps.before[axis] <= before
                    && (places == 0
                        || (places - 1) * steps.strides[axis] + (window - 1) * steps.dilations[axis]
                            < steps.before[axis] + size + after)
            };
        let [height, width] = self.size();
        if reaches(0, height, filters.rows, border.top, input.height, border.bottom)
            && reaches(1, width, filters.columns, border.left, input.width, border.right)
        {
            Ok(())
        } else {
            Err(Unfit("the window of a convolution"))
        }
    }

    fn cut(&self) -> Cut {
        let filters = self.filters;
        let (input, output) = (&self.input.planes, &self.output);
        let widest = filters.kernels(None);
        let is_dense = filters.reading == Reading::Blocks && self.steps.strides == [1, 1];
        let residual = self.residual.is_none_or(|residual| residual.planes.is_flat());
        if self.spread.is_some() {
            return Cut::Rows;
        }
        if is_dense && filters.rows * filters.columns == 1 && input.is_flat() && output.is_flat() && residual
        {
            let pixels = output.images * output.height * output.width;
            return Cut::Flat { pixels, strips: pixels.div_ceil(widest.dense.len()) };
        }
        match widest.rows {
            Some((rows, width, _)) if is_dense && output.width == width && output.height >= rows => {
                Cut::Groups(rows)
            }
            _ => Cut::Rows,
        }
    }

    fn strip(&self, cut: Cut, number: usize, work: &Work<'_>) {
        let (input, steps) = (&self.input.planes, &self.steps);
        let at = |image: usize, y: usize| Strip {
            input: input.at(0, image, y * steps.strides[0], 0)
                - steps.before[0] * input.row()
                - steps.before[1] * input.lanes,
            output: self.start(image, y),
            residual: self.residual.map_or(0, |residual| residual.planes.at(0, image, y, 0)),
            pixels: self.size()[1],
        };
        match cut {
            Cut::Flat { pixels, strips } => {
                let (from, to) = (pixels * number / strips, pixels * (number + 1) / strips);
                let strip = Strip {
                    input: from * input.lanes,
                    output: from * self.output.lanes,
                    residual: from * self.residual_lanes(),
                    pixels: to - from,
                };
                self.row(strip, work);
            }
            Cut::Rows => {
                let [height, _] = self.size();
                self.row(at(number / height, number % height), work);
            }
            Cut::Groups(rows) => {
                let groups = self.output.height.div_ceil(rows);
                let (image, y) = (number / groups, number % groups * rows);
                match work.kernels.rows {
                    Some((_, _, kernel)) if y + rows <= self.output.height => {
                        let strip = at(image, y);
                        let tile = self.tile(strip, work);
                        // SAFETY: `check` has found that all sizes fit, and this thread alone has
                        // this panel of these rows.
                        unsafe { kernel(&tile) };
                        for row in 0..rows {
                            self.finish(at(image, y + row), work);
                        }
                    }
                    _ => {
                        for y in y..self.output.height.min(y + rows) {
                            self.row(at(image, y), work);
                        }
                    }
                }
            }
        }
    }

    fn tile(&self, strip: Strip, work: &Work<'_>) -> Tile {
        let (panel, output) = (&work.panel, work.output);
        let (filters, planes) = (self.filters, &self.input.planes);
        let (blocks, channels, columns) = match filters.reading {
            Reading::Blocks => (filters.inputs.div_ceil(BLOCK), filters.lanes(), filters.columns),
            Reading::Rows => (1, 0, 1),
        };
        let last_channels = match filters.reading {
            Reading::Blocks => filters.words(filters.inputs - (blocks - 1) * BLOCK),
            Reading::Rows => filters.words(filters.inputs) * filters.columns,
        };
        let block = panel.group * filters.blocks() + panel.block;
        // The kernels clip last. Another function, and what is added after it, come in a pass of their own.
        let is_plain = self.is_plain();
        let (low, high) = if is_plain { self.after.bounds() } else { self.activation.bounds() }
            .unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
        let residual = self.residual.filter(|_| is_plain);
        let (ahead, ahead_lines) = work.ahead.take();
        Tile {
            input: self.input.values[panel.group * blocks * planes.block() + strip.input..].as_ptr(),
            input_block: planes.block(),
            window_row: self.steps.dilations[0] * planes.row(),
            window_column: self.steps.dilations[1] * planes.lanes,
            step: self.steps.strides[1] * planes.lanes,
            input_row: self.steps.strides[0] * planes.row(),
            weights: filters.weights[panel.weights..].as_ptr(),
            blocks,
            channels,
            last_channels,
            rows: filters.rows,
            columns,
            bias: filters.bias[block * BLOCK..].as_ptr(),
            output: output.pointer(block * self.output.block() + strip.output),
            output_block: self.output.block(),
            output_row: self.output.row(),
            output_step: self.step(),
            output_is_narrow: self.output.lanes == WORDS,
            residual: residual.map_or(std::ptr::null(), |residual| {
                residual.values[block * residual.planes.block() + strip.residual..].as_ptr()
            }),
            residual_block: residual.map_or(0, |residual| residual.planes.block()),
            residual_row: residual.map_or(0, |residual| residual.planes.row()),
            residual_step: self.residual_lanes(),
            residual_is_narrow: self.residual_lanes() == WORDS,
            low,
            high,
            ahead: filters.weights.as_ptr().wrapping_add(ahead),
            ahead_lines,
        }
    }

    /// The rows and columns of outputs.
    fn size(&self) -> [usize; 2] {
        let [down, right] = self.spread.map_or([1, 1], |spread| spread.times);
        [self.output.height / down, self.output.width / right]
    }

    /// Where a row of outputs begins.
    fn start(&self, image: usize, y: usize) -> usize {
        match self.spread {
            None => self.output.at(0, image, y, 0),
            Some(Spread { times, place }) => self.output.at(0, image, y * times[0] + place[0], place[1]),
        }
    }

    /// Floats from one output to its right neighbour.
    fn step(&self) -> usize {
        self.spread.map_or(self.output.lanes, |spread| spread.times[1] * BLOCK)
    }

    /// Floats of a pixel of what is added.
    fn residual_lanes(&self) -> usize {
        self.residual.map_or(BLOCK, |residual| residual.planes.lanes)
    }

    /// Whether tiles do all of it: a sum, what is added, a clip.
    fn is_plain(&self) -> bool {
        self.activation == Activation::Identity && self.after.bounds().is_some()
    }

    /// The kernels for pixels in a row.
    fn list(&self, kernels: &Kernels) -> &'static [Kernel] {
        match (self.filters.reading, self.steps.strides[1]) {
            (Reading::Blocks, 1) => kernels.dense,
            (Reading::Blocks, 2) => kernels.halved,
            _ => kernels.any,
        }
    }

    /// About how many tiles a strip has.
    fn tiles_of_strip(&self, cut: Cut, kernels: &Kernels) -> usize {
        match cut {
            Cut::Flat { .. } | Cut::Groups(_) => 1,
            Cut::Rows => self.size()[1].div_ceil(self.list(kernels).len()),
        }
    }

    /// Computes the tiles of outputs in one row.
    fn row(&self, strip: Strip, work: &Work<'_>) {
        let list = self.list(work.kernels);
        let tiles = strip.pixels.div_ceil(list.len());
        let step = self.steps.strides[1] * self.input.planes.lanes;
        let mut done = 0;
        for number in 0..tiles {
            let pixels = (strip.pixels - done).div_ceil(tiles - number);
            let here = Strip {
                input: strip.input + done * step,
                output: strip.output + done * self.step(),
                residual: strip.residual + done * self.residual_lanes(),
                pixels,
            };
            if let Some(kernel) = list.get(pixels.wrapping_sub(1)) {
                let tile = self.tile(here, work);
                // SAFETY: `check` has found that all sizes fit, and this thread alone has this panel
                // of this row.
                unsafe { kernel(&tile) };
            }
            done += pixels;
        }
        self.finish(strip, work);
    }

    /// What tiles do not do themselves, while the outputs are still near.
    fn finish(&self, strip: Strip, work: &Work<'_>) {
        let (panel, output) = (&work.panel, work.output);
        if self.is_plain() {
            return;
        }
        let level = self.filters.level;
        for block in 0..panel.blocks {
            let block = panel.group * self.filters.blocks() + panel.block + block;
            let start = block * self.output.block() + strip.output;
            let values = output.pointer(start);
            if self.activation.bounds().is_none() {
                // SAFETY: `check` has found that the row is in the output; this thread alone has it.
                unsafe { apply(level, self.activation, values, strip.pixels * BLOCK) };
            }
            if let Some(residual) = self.residual {
                let from = block * residual.planes.block() + strip.residual;
                let added = &residual.values[from..][..strip.pixels * BLOCK];
                // SAFETY: the same.
                if let Some(row) = unsafe { output.part(start, strip.pixels * BLOCK) } {
                    for (value, added) in row.iter_mut().zip(added) {
                        *value += *added;
                    }
                }
            }
            if self.after != Activation::Identity {
                // SAFETY: the same.
                unsafe { apply(level, self.after, values, strip.pixels * BLOCK) };
            }
        }
    }
}
