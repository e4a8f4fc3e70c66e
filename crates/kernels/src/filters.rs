//! The weights of a convolution in the order in which tiles take them.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use std::cell::Cell;

use super::{
    BLOCK, Level,
    arena::{Arena, Room},
    bfloat::{Form, WORDS, word},
    buffer::Buffer,
    isa::{Isa, Task, dispatch},
    tile::{Kernels, blocks_of, blocks_of_pairs, kernels, kernels_of_pairs, kernels_of_tiles},
    weights::Weights,
};

/// How the channels of a pixel are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// In blocks of 16.
    Blocks,
    /// All at once: images of few channels, which are next to each other for a whole row. A row of the
    /// window is then one run of words.
    Rows,
}

/// The weights of a convolution in the order in which tiles take them, and its bias.
#[derive(Debug)]
pub struct Filters {
    pub(super) level: Level,
    /// Input channels of each group.
    pub inputs: usize,
    /// Output channels of each group.
    pub outputs: usize,
    pub groups: usize,
    /// The sizes of the window.
    pub rows: usize,
    pub columns: usize,
    pub reading: Reading,
    pub form: Form,
    /// `[group][panel][input block][row][column][channel][output channel of the panel]`, or
    /// pairs of channels in the place of channels.
    pub(super) weights: Room,
    /// The bias of every output channel of every group, each group in whole blocks.
    pub(super) bias: Buffer,
}

/// Blocks of output channels that tiles compute together.
#[derive(Clone, Copy, Debug)]
pub(super) struct Panel {
    pub(super) group: usize,
    /// The first block, among those of the group.
    pub(super) block: usize,
    pub(super) blocks: usize,
    /// Where its weights begin.
    pub(super) weights: usize,
}

impl Filters {
    /// Of weights `[output][input of the group][row][column]` and a bias. Groups of several channels must be whole
    /// blocks, and blocks of pairs have an even number of channels. Tile registers read blocks only. `None` if the
    /// sizes do not fit, or if there is no memory.
    pub fn new(
        (level, form): (Level, Form),
        weights: Weights<'_>,
        shape: [usize; 4],
        groups: usize,
        bias: Option<&[f32]>,
        reading: Reading,
        arena: &mut Arena,
    ) -> Option<Self> {
        let [all, inputs, rows, columns] = shape;
        let outputs = all.checked_div(groups)?;
        let blocked = groups == 1 || inputs.is_multiple_of(BLOCK) && outputs.is_multiple_of(BLOCK);
        let fits = outputs * groups == all
            && all > 0
            && inputs > 0
            && rows * columns > 0
            && blocked
            && (groups == 1 || reading == Reading::Blocks)
            && match (form, reading) {
                (Form::Single, _) | (Form::Pair, Reading::Rows) => true,
                (Form::Tile, Reading::Rows) => false,
                (Form::Pair | Form::Tile, Reading::Blocks) => inputs.is_multiple_of(2),
            }
            && weights.fit(all, inputs * rows * columns)
            && bias.is_none_or(|bias| bias.len() == all);
        if !fits {
            return None;
        }
        let per_output = inputs * rows * columns;
        let blocks = outputs.div_ceil(BLOCK);
        let words = match form {
            Form::Single => per_output,
            Form::Pair | Form::Tile => inputs.div_ceil(2) * rows * columns,
        };
        let mut filters = Self {
            level,
            inputs,
            outputs,
            groups,
            rows,
            columns,
            reading,
            form,
            weights: arena.zeros(groups * blocks * BLOCK * words)?,
            bias: Buffer::zeros(groups * blocks * BLOCK),
        };
        if let Some(bias) = bias {
            for (group, bias) in bias.chunks_exact(outputs).enumerate() {
                filters.bias[group * blocks * BLOCK..][..outputs].copy_from_slice(bias);
            }
        }
        if form.is_narrow() {
            filters.pack_pairs(weights);
            return Some(filters);
        }
        // Where the weight of each input channel and place of the window goes.
        let taps = rows * columns;
        let places: Vec<usize> = (0..per_output)
            .map(|number| {
                let (input, tap) = (number / taps, number % taps);
                match reading {
                    Reading::Rows => tap * inputs + input,
                    Reading::Blocks => {
                        let block = input / BLOCK * BLOCK;
                        block * taps + tap * (inputs - block).min(BLOCK) + input % BLOCK
                    }
                }
            })
            .collect();
        dispatch(level, Packing { filters: &mut filters, weights, places: &places });
        Some(filters)
    }

    /// Puts weights into panels, in pairs of input channels. A channel without another one has a zero.
    fn pack_pairs(&mut self, weights: Weights<'_>) {
        let taps = self.rows * self.columns;
        let per_output = self.inputs * taps;
        let words = self.words(self.inputs) * taps;
        // The weights of a block of output channels, which stay in the cache of the second level.
        let mut rows = vec![0.0_f32; BLOCK * per_output];
        for panel in self.panels() {
            let width = panel.blocks * BLOCK;
            let target = &mut self.weights[panel.weights..][..width * words];
            for block in 0..panel.blocks {
                let first = (panel.block + block) * BLOCK;
                let count = BLOCK.min(self.outputs - first);
                rows.fill(0.0);
                for (lane, row) in rows.chunks_exact_mut(per_output).take(count).enumerate() {
                    let output = panel.group * self.outputs + first + lane;
                    weights.copy(output, output * per_output, row);
                }
                let mut places = target.chunks_exact_mut(width);
                for input in (0..self.inputs).step_by(BLOCK) {
                    for tap in 0..taps {
                        for pair in (input..self.inputs.min(input + BLOCK)).step_by(2) {
                            let Some(place) = places.next() else { return };
                            let (low, high) = (pair * taps + tap, (pair + 1) * taps + tap);
                            let is_alone = pair + 1 == self.inputs;
                            let lanes = place[block * BLOCK..].iter_mut().zip(rows.chunks_exact(per_output));
                            for (value, row) in lanes {
                                *value = word(row[low], if is_alone { 0.0 } else { row[high] });
                            }
                        }
                    }
                }
            }
        }
    }

    /// Blocks of output channels that its tiles compute together.
    fn wide(&self) -> usize {
        match self.form {
            Form::Single => blocks_of(self.level),
            Form::Pair | Form::Tile => blocks_of_pairs(self.level),
        }
    }

    /// Its kernels for a number of blocks of output channels; for as many as they can, without one.
    pub(super) fn kernels(&self, blocks: Option<usize>) -> &'static Kernels {
        let blocks = blocks.unwrap_or_else(|| self.wide());
        match self.form {
            Form::Single => kernels(self.level, blocks),
            Form::Pair => kernels_of_pairs(self.level, blocks),
            Form::Tile => kernels_of_tiles(self.level, blocks),
        }
    }

    /// Words of channels: as many as there are, or half of them, rounded up.
    pub(super) fn words(&self, channels: usize) -> usize {
        match self.form {
            Form::Single => channels,
            Form::Pair | Form::Tile => channels.div_ceil(2),
        }
    }

    /// Words of a pixel of a block of inputs.
    pub(super) fn lanes(&self) -> usize {
        match self.form {
            Form::Single => BLOCK,
            Form::Pair | Form::Tile => WORDS,
        }
    }

    /// Blocks of output channels of a group.
    pub(super) fn blocks(&self) -> usize {
        self.outputs.div_ceil(BLOCK)
    }

    /// How many panels there are.
    pub(super) fn panel_count(&self) -> usize {
        self.groups * self.blocks().div_ceil(self.wide())
    }

    /// The panel of this number.
    pub(super) fn panel(&self, number: usize) -> Panel {
        let wide = self.wide();
        let per_group = self.blocks().div_ceil(wide);
        let (group, number) = (number / per_group, number % per_group);
        let block = number * wide;
        let blocks = wide.min(self.blocks() - block);
        let per_block = BLOCK * self.words(self.inputs) * self.rows * self.columns;
        Panel { group, block, blocks, weights: (group * self.blocks() + block) * per_block }
    }

    /// The weights behind a panel that this number of tiles takes.
    pub(super) fn ahead(&self, panel: &Panel, tiles: usize) -> Ahead {
        let times = match self.reading {
            Reading::Blocks => self.inputs.div_ceil(BLOCK) * self.rows * self.columns,
            Reading::Rows => self.rows,
        };
        let size = panel.blocks * BLOCK * self.words(self.inputs) * self.rows * self.columns;
        Ahead::new(panel.weights + size, size, times, tiles)
    }

    fn panels(&self) -> Vec<Panel> {
        (0..self.panel_count()).map(|number| self.panel(number)).collect()
    }
}

/// Puts weights into panels.
struct Packing<'a> {
    filters: &'a mut Filters,
    weights: Weights<'a>,
    /// Where the weight of each input channel and place of the window goes.
    places: &'a [usize],
}

impl Task for Packing<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { filters, weights, places } = self;
        let per_output = places.len();
        for panel in filters.panels() {
            let width = panel.blocks * BLOCK;
            let first = panel.group * filters.outputs + panel.block * BLOCK;
            let count = width.min(filters.outputs - panel.block * BLOCK);
            let target = &mut filters.weights[panel.weights..][..width * per_output];
            // A square of weights at a time, which stays in the nearest cache.
            for (number, places) in places.chunks(BLOCK).enumerate() {
                for lanes in (0..count).step_by(BLOCK) {
                    let mut square = [[0.0_f32; BLOCK]; BLOCK];
                    for (lane, row) in square.iter_mut().enumerate().take(count - lanes) {
                        let output = first + lanes + lane;
                        let from = output * per_output + number * BLOCK;
                        weights.copy(output, from, &mut row[..places.len()]);
                    }
                    for (column, place) in columns(isa, &square).into_iter().zip(places) {
                        let target = &mut target[place * width + lanes..][..BLOCK];
                        // SAFETY: the slice has 16 floats.
                        unsafe { isa.store(column, target.as_mut_ptr()) };
                    }
                }
            }
        }
    }
}

/// The columns of a square of weights.
#[inline(always)]
pub(super) fn columns<I: Isa>(isa: I, square: &[[f32; BLOCK]; BLOCK]) -> [I::V; BLOCK] {
    let mut rows = [isa.splat(0.0); BLOCK];
    for (row, values) in rows.iter_mut().zip(square) {
        // SAFETY: the array has 16 floats.
        *row = unsafe { isa.load(values.as_ptr()) };
    }
    isa.turned(rows)
}

/// The weights that come next: the tiles of a panel ask for those of the panel behind it, a few lines each,
/// so they are in the cache of the second level when they are needed.
#[derive(Debug)]
pub(super) struct Ahead {
    next: Cell<usize>,
    end: usize,
    /// Floats that a tile asks for.
    per_tile: usize,
    /// Lines that a tile asks for at a time: for each input block under each place of the window.
    lines: usize,
}

impl Ahead {
    /// For a panel of `size` floats that ends at `start`, that this number of tiles takes, each in `times` steps.
    pub(super) fn new(start: usize, size: usize, times: usize, tiles: usize) -> Self {
        let lines = (size / BLOCK).div_ceil((times * tiles).max(1));
        Self { next: Cell::new(start), end: start + size, per_tile: lines * times * BLOCK, lines }
    }

    /// Where the next tile begins to ask, and for how many lines at a time.
    pub(super) fn take(&self) -> (usize, usize) {
        let next = self.next.get();
        self.next.set(next + self.per_tile);
        (next, if next < self.end { self.lines } else { 0 })
    }
}
