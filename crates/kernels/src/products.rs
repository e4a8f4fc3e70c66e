//! Products of rows of floats with a matrix that was packed at load: `y = f(x W + b) + r`.
//!
//! The matrix is in panels of as many columns as a tile has, step after step of its depth, so a tile reads
//! one stream of memory. Rows are copied in blocks of 16 steps, so a tile finds each of its numbers at
//! a fixed distance. The sum of an output is one chain, from the first step of the depth to the last, for any
//! number of rows and of threads: an answer does not depend on the rows that come with it.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

pub(crate) mod tile;

use std::{cell::RefCell, ops::Range};

use super::{
    BLOCK, Level, Part, Unfit,
    activation::{Activation, apply_rows},
    arena::{Arena, Room},
    bfloat::{self, Form, rows::ArrangePairs, word},
    buffer::{Buffer, Shared},
    filters::columns,
    isa::{Isa, Task, dispatch},
    weights::Numbers,
};
use tile::{Kernels, Tile};

/// Steps of the depth that are taken at once: a panel of them stays in the second cache, with the rows.
const DEPTH: usize = 768;

/// Rows that are taken at once, at most.
const ROWS: usize = 210;

/// Panels of a thread from which on threads share panels, not rows.
const PANELS: usize = 4;

/// Columns of the widest panel.
pub(crate) const WIDEST: usize = 2 * BLOCK;

/// Rows of the highest tile.
pub(crate) const HIGHEST: usize = 14;

thread_local! {
    /// Rows in the order of the tiles. Fresh memory for each product costs a hundredth of its time.
    static ARRANGED: RefCell<Buffer> = RefCell::default();
}

/// A matrix in the order in which tiles read it, and numbers that are added to each row of a product.
#[derive(Debug)]
pub struct Matrix {
    level: Level,
    form: Form,
    depth: usize,
    columns: usize,
    /// `[panel][step of the depth][column]`, or pairs of steps in the place of steps. The last panel may have fewer columns, in whole blocks.
    panels: Room,
    /// One for each column, zeros up to whole panels.
    bias: Buffer,
}

/// How the numbers of a matrix follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Those of a step of the depth are side by side: `[depth][columns]`.
    Rows,
    /// Those of a column are side by side: `[columns][depth]`.
    Columns,
}

impl Matrix {
    /// Packs `values`. Each column is multiplied by its number of `factors`, if there are such, and has its
    /// number of `bias`. `None` if the sizes do not fit, or if there is no memory.
    pub fn pack(
        (level, form): (Level, Form),
        values: Numbers<'_>,
        [depth, columns]: [usize; 2],
        order: Order,
        factors: Option<&[f32]>,
        bias: Option<&[f32]>,
        arena: &mut Arena,
    ) -> Option<Self> {
        let fits = depth.checked_mul(columns) == Some(values.len())
            && factors.is_none_or(|factors| factors.len() == columns)
            && bias.is_none_or(|bias| bias.len() == columns);
        if !fits || columns == 0 {
            return None;
        }
        let width = match form {
            Form::Single => tile::width(level),
            Form::Pair | Form::Tile => tile::width_of_pairs(level),
        };
        let padded = columns.div_ceil(BLOCK) * BLOCK;
        let steps = if form.is_narrow() { depth.div_ceil(2) } else { depth };
        let mut panels = arena.floats(padded.checked_mul(steps)?)?;
        // The second step of a pair. Beyond an odd depth there are zeros.
        let mut second = [0.0_f32; WIDEST];
        for first in (0..columns).step_by(width) {
            let own = width.min(padded - first);
            let used = width.min(columns - first);
            let panel = &mut panels[first * steps..][..own * steps];
            if used < own {
                panel.fill(0.0);
            }
            let scale = |row: &mut [f32]| {
                if let Some(factors) = factors {
                    row.iter_mut().zip(&factors[first..]).for_each(|(value, factor)| *value *= factor);
                }
            };
            if form == Form::Single {
                match order {
                    Order::Rows => {
                        for (step, row) in panel.chunks_exact_mut(own).enumerate() {
                            values.copy(step * columns + first, &mut row[..used]);
                        }
                    }
                    Order::Columns => dispatch(level, Turning { values, first, used, depth, own, panel }),
                }
                panel.chunks_exact_mut(own).for_each(scale);
                continue;
            }
            let copy = |step: usize, row: &mut [f32]| {
                match order {
                    Order::Rows => values.copy(step * columns + first, &mut row[..used]),
                    Order::Columns => {
                        for (place, value) in row[..used].iter_mut().enumerate() {
                            *value = values.at((first + place) * depth + step);
                        }
                    }
                }
                scale(row);
            };
            for (step, row) in panel.chunks_exact_mut(own).enumerate() {
                copy(2 * step, row);
                second.fill(0.0);
                if 2 * step + 1 < depth {
                    copy(2 * step + 1, &mut second[..own]);
                }
                for (low, high) in row.iter_mut().zip(second) {
                    *low = word(*low, high);
                }
            }
        }
        let mut all = Buffer::zeros(columns.div_ceil(WIDEST) * WIDEST);
        if let Some(bias) = bias {
            all[..columns].copy_from_slice(bias);
        }
        Some(Self { level, form, depth, columns, panels, bias: all })
    }

    /// How its numbers are kept.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Columns of a panel.
    fn width(&self) -> usize {
        match self.form {
            Form::Single => tile::width(self.level),
            Form::Pair | Form::Tile => tile::width_of_pairs(self.level),
        }
    }

    fn kernels(&self) -> &'static Kernels {
        match self.form {
            Form::Single => tile::kernels(self.level),
            Form::Pair => tile::kernels_of_pairs(self.level),
            Form::Tile => tile::kernels_of_tiles(self.level),
        }
    }

    /// Steps of a row: its numbers, or pairs of them.
    fn steps(&self) -> usize {
        match self.form {
            Form::Single => self.depth,
            Form::Pair | Form::Tile => self.depth.div_ceil(2),
        }
    }

    /// The numbers of a row that it takes.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// The numbers of a row that it gives.
    pub fn columns(&self) -> usize {
        self.columns
    }
}

/// Puts columns, each of whose numbers are side by side, into a panel.
struct Turning<'a> {
    values: Numbers<'a>,
    /// The first column, and how many there are.
    first: usize,
    used: usize,
    depth: usize,
    /// Columns of the panel.
    own: usize,
    panel: &'a mut [f32],
}

impl Task for Turning<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let Self { values, first, used, depth, own, panel } = self;
        // A square at a time, which stays in registers.
        for start in (0..depth).step_by(BLOCK) {
            let steps = BLOCK.min(depth - start);
            for lanes in (0..used).step_by(BLOCK) {
                let mut square = [[0.0_f32; BLOCK]; BLOCK];
                for (lane, row) in square.iter_mut().enumerate().take(used - lanes) {
                    values.copy((first + lanes + lane) * depth + start, &mut row[..steps]);
                }
                for (step, column) in columns(isa, &square).into_iter().enumerate().take(steps) {
                    let target = &mut panel[(start + step) * own + lanes..][..BLOCK];
                    // SAFETY: the slice has 16 floats.
                    unsafe { isa.store(column, target.as_mut_ptr()) };
                }
            }
        }
    }
}

/// A product that is about to run.
#[derive(Clone, Copy, Debug)]
pub struct Product<'a> {
    pub matrix: &'a Matrix,
    /// Rows of the matrix's depth, one after another.
    pub rows: &'a [f32],
    /// The function of the sums.
    pub activation: Activation,
    /// The summands of its results: as many numbers as there are outputs.
    pub residual: Option<&'a [f32]>,
}

impl Product<'_> {
    /// How many rows there are.
    fn count(&self) -> usize {
        self.rows.len().checked_div(self.matrix.depth).unwrap_or(0)
    }

    /// Computes this thread's share of `[rows][columns]`.
    ///
    /// # Errors
    /// Buffers that do not fit the sizes.
    pub fn run(&self, output: Shared<'_>, part: Part) -> Result<(), Unfit> {
        let (count, columns) = (self.count(), self.matrix.columns);
        let outputs = count.checked_mul(columns);
        let fits = self.matrix.depth > 0
            && self.rows.len() == count * self.matrix.depth
            && outputs == Some(output.len())
            && self.residual.is_none_or(|residual| residual.len() == output.len());
        if !fits {
            return Err(Unfit("a product of a matrix"));
        }
        let width = self.matrix.width();
        let panels = columns.div_ceil(width);
        let (rows, panels) = if panels >= PANELS * part.count || count < part.count * HIGHEST {
            (0..count, part.of(panels))
        } else {
            (part.of(count), 0..panels)
        };
        if rows.is_empty() || panels.is_empty() {
            return Ok(());
        }
        ARRANGED.with_borrow_mut(|arranged| {
            let blocks = rows.len().div_ceil(ROWS);
            for block in 0..blocks {
                let own = Part { index: block, count: blocks }.of(rows.len());
                self.block(rows.start + own.start..rows.start + own.end, panels.clone(), arranged, output);
            }
        });
        Ok(())
    }

    /// Some rows by some panels.
    fn block(&self, rows: Range<usize>, panels: Range<usize>, arranged: &mut Buffer, output: Shared<'_>) {
        let Matrix { form, columns, panels: packed, bias, .. } = self.matrix;
        let (form, columns) = (*form, *columns);
        let (kernels, width, depth) = (self.matrix.kernels(), self.matrix.width(), self.matrix.steps());
        let tiles = rows.len().div_ceil(kernels.rows());
        let tile_rows = |index: usize| Part { index, count: tiles }.of(rows.len());
        // One row of floats needs no order of its own.
        let is_arranged = rows.len() > 1 || form.is_narrow();
        let room = if is_arranged { rows.len() * DEPTH.min(depth).next_multiple_of(BLOCK) } else { 0 };
        if arranged.len() < room {
            *arranged = Buffer::zeros(room);
        }
        let mut edge = [0.0_f32; HIGHEST * WIDEST];
        for start in (0..depth).step_by(DEPTH) {
            let steps = DEPTH.min(depth - start);
            let blocks = steps.div_ceil(BLOCK);
            let (is_first, is_last) = (start == 0, start + steps == depth);
            if is_arranged {
                for index in 0..tiles {
                    let own = tile_rows(index);
                    let target = &mut arranged[own.start * blocks * BLOCK..own.end * blocks * BLOCK];
                    self.arrange(rows.start + own.start..rows.start + own.end, start..start + steps, target);
                }
            }
            for panel in panels.clone() {
                let first = panel * width;
                let used = width.min(columns - first);
                let own_width = used.next_multiple_of(BLOCK);
                let panel_start = first * depth + start * own_width;
                for index in 0..tiles {
                    let own = tile_rows(index);
                    let (left, left_block) = if is_arranged {
                        (arranged[own.start * blocks * BLOCK..].as_ptr(), own.len() * BLOCK)
                    } else {
                        (self.rows[rows.start * depth + start..].as_ptr(), BLOCK)
                    };
                    // While one panel is multiplied, the next one is fetched, a part by each tile.
                    let lines = (width / BLOCK * BLOCK).div_ceil(tiles);
                    let ahead = (first + width) * depth + start * width + index * lines * blocks * BLOCK;
                    let place = (rows.start + own.start) * columns + first;
                    let is_whole = used == own_width;
                    let (target, target_row) = if is_whole {
                        (output.pointer(place), columns)
                    } else {
                        (edge.as_mut_ptr(), own_width)
                    };
                    if !is_whole && !is_first {
                        for row in 0..own.len() {
                            // SAFETY: the output has `used` numbers there, which are this thread's.
                            let from = unsafe {
                                std::slice::from_raw_parts(output.pointer(place + row * columns), used)
                            };
                            edge[row * own_width..][..used].copy_from_slice(from);
                        }
                    }
                    let tile = Tile {
                        left,
                        left_block,
                        panel: packed[panel_start..].as_ptr(),
                        depth: steps,
                        ahead: packed.as_ptr().wrapping_add(ahead),
                        ahead_lines: if ahead < packed.len() { lines } else { 0 },
                        before: if is_first { bias[first..].as_ptr() } else { target },
                        before_step: [if is_first { 0 } else { target_row }, BLOCK],
                        output: target,
                        output_step: [target_row, BLOCK],
                    };
                    // SAFETY: the tile has `own.len()` rows and `own_width` columns. All that it reads is
                    // within the slices above, and it writes outputs of this thread or the edge.
                    unsafe { kernels.run(own.len(), own_width / BLOCK, &tile) };
                    if is_last {
                        self.finish(target, target_row, own.len(), place, (used, own_width));
                    }
                    if !is_whole {
                        for row in 0..own.len() {
                            // SAFETY: as above.
                            let to = unsafe {
                                std::slice::from_raw_parts_mut(output.pointer(place + row * columns), used)
                            };
                            to.copy_from_slice(&edge[row * own_width..][..used]);
                        }
                    }
                }
            }
        }
    }

    /// Puts these steps of some rows in the order of a tile.
    fn arrange(&self, own: Range<usize>, steps: Range<usize>, target: &mut [f32]) {
        let Matrix { level, form, depth, .. } = self.matrix;
        let (rows, step) = (own.len(), *depth);
        match form {
            Form::Single => {
                let from = self.rows[own.start * step + steps.start..].as_ptr();
                let steps = steps.len();
                dispatch(*level, Arrange { from, step, rows, steps, target, factor: 1.0 });
            }
            Form::Pair | Form::Tile => {
                let from = self.rows[own.start * step + 2 * steps.start..].as_ptr();
                let count = (2 * steps.end).min(step) - 2 * steps.start;
                bfloat::dispatch(*level, ArrangePairs { from, step, rows, count, target });
            }
        }
    }

    /// Applies the function and adds the residual, while the tile is in the nearest cache.
    fn finish(
        &self,
        target: *mut f32,
        target_row: usize,
        rows: usize,
        place: usize,
        (used, width): (usize, usize),
    ) {
        if self.activation != Activation::Identity {
            // SAFETY: the tile has `width` floats in each row, a multiple of 16.
            unsafe { apply_rows(self.matrix.level, self.activation, target, [rows, target_row], width) };
        }
        if let Some(residual) = self.residual {
            for row in 0..rows {
                // SAFETY: the tile has `used` floats in each row, and nobody else writes them.
                let values = unsafe { std::slice::from_raw_parts_mut(target.add(row * target_row), used) };
                let added = &residual[place + row * self.matrix.columns..][..used];
                values.iter_mut().zip(added).for_each(|(value, added)| *value += added);
            }
        }
    }
}

/// Puts rows in the order of a tile, `[block of 16 steps][row][16]`, and multiplies them.
pub(crate) struct Arrange<'a> {
    /// The first row. There are `rows`, each of `steps` floats, `step` apart.
    pub(crate) from: *const f32,
    pub(crate) step: usize,
    pub(crate) rows: usize,
    pub(crate) steps: usize,
    /// As many floats as `rows` times `steps`, rounded up to whole blocks.
    pub(crate) target: &'a mut [f32],
    pub(crate) factor: f32,
}

impl Task for Arrange<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        let factor = isa.splat(self.factor);
        let whole = self.steps / BLOCK;
        let mut places = self.target.chunks_exact_mut(self.rows * BLOCK);
        for (block, places) in places.by_ref().take(whole).enumerate() {
            for (row, place) in places.chunks_exact_mut(BLOCK).enumerate() {
                // SAFETY: each row has 16 floats for each whole block, and so has each place.
                unsafe {
                    let value = isa.load(self.from.add(row * self.step + block * BLOCK));
                    isa.store(isa.multiply(value, factor), place.as_mut_ptr());
                }
            }
        }
        let rest = self.steps % BLOCK;
        for (row, place) in places.next().into_iter().flat_map(|all| all.chunks_exact_mut(BLOCK)).enumerate()
        {
            // SAFETY: the row has `steps` floats.
            let values =
                unsafe { std::slice::from_raw_parts(self.from.add(row * self.step + whole * BLOCK), rest) };
            place.iter_mut().zip(values).for_each(|(place, value)| *place = value * self.factor);
        }
    }
}

#[cfg(test)]
mod tests;
