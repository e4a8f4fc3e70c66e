//! A tile of a product: some rows by one or two blocks of 16 columns, whose sums stay in registers.

use crate::{
    BLOCK, Level,
    bfloat::{PlainPairs, Singles, Words, is_available},
    isa::Isa,
};

/// A tile: where its numbers are, and the distances between them in floats. A step of the depth is a float of a row, or
/// a pair of 16-bit floats in its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tile {
    /// `[block of 16 steps][row][16]`.
    pub(crate) left: *const f32,
    /// From a block of steps to the next.
    pub(crate) left_block: usize,
    /// `[step][column]`.
    pub(crate) panel: *const f32,
    /// How many steps there are.
    pub(crate) depth: usize,
    /// Memory that is needed soon. Any address.
    pub(crate) ahead: *const f32,
    /// How many lines of that are fetched for each block of 16 steps.
    pub(crate) ahead_lines: usize,
    /// What the sums begin with.
    pub(crate) before: *const f32,
    /// From a row of that to the next, and from a block of columns to the next.
    pub(crate) before_step: [usize; 2],
    pub(crate) output: *mut f32,
    pub(crate) output_step: [usize; 2],
}

type Kernel = unsafe fn(&Tile);

/// The kernels of a level: for 1, 2, … rows by one block of columns, and by two where it has these.
#[derive(Debug)]
pub(crate) struct Kernels {
    one: &'static [Kernel],
    two: &'static [Kernel],
}

impl Kernels {
    /// The rows of its highest tile.
    pub(crate) fn rows(&self) -> usize {
        self.one.len()
    }

    /// Computes a tile.
    ///
    /// # Safety
    /// The tile has the rows and blocks that the level allows at most. Everything that its sizes
    /// reach from its pointers, `ahead` excepted, can be read, and its outputs can be written.
    pub(crate) unsafe fn run(&self, rows: usize, blocks: usize, tile: &Tile) {
        let list = if blocks == 2 { self.two } else { self.one };
        if let Some(kernel) = rows.checked_sub(1).and_then(|index| list.get(index)) {
            // SAFETY: the caller says so.
            unsafe { kernel(tile) };
        }
    }
}

/// # Safety
/// As [`Kernels::run`].
#[inline(always)]
unsafe fn compute<W: Words, const BLOCKS: usize, const ROWS: usize>(words: W, tile: &Tile) {
    let isa = words.isa();
    let mut sums = [[isa.splat(0.0); BLOCKS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        for (block, sum) in sums.iter_mut().enumerate() {
            // SAFETY: the first numbers of the sums are there.
            *sum =
                unsafe { isa.load(tile.before.add(row * tile.before_step[0] + block * tile.before_step[1])) };
        }
    }
    let (mut left, mut panel, mut ahead) = (tile.left, tile.panel, tile.ahead);
    let mut rest = tile.depth;
    while rest > 0 {
        let steps = rest.min(BLOCK);
        for _ in 0..tile.ahead_lines {
            isa.prefetch(ahead);
            ahead = ahead.wrapping_add(BLOCK);
        }
        for step in 0..steps {
            let mut loaded = [isa.splat(0.0); BLOCKS];
            for (block, loaded) in loaded.iter_mut().enumerate() {
                // SAFETY: the panel has 16 floats for each block and step.
                *loaded = unsafe { isa.load(panel.add(block * BLOCK)) };
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: the block of steps has 16 floats for each row.
                let value = isa.splat(unsafe { *left.add(row * BLOCK + step) });
                for (sum, loaded) in sums.iter_mut().zip(loaded) {
                    *sum = words.multiply_add(loaded, value, *sum);
                }
            }
            panel = panel.wrapping_add(BLOCKS * BLOCK);
        }
        left = left.wrapping_add(tile.left_block);
        rest -= steps;
    }
    for (row, sums) in sums.into_iter().enumerate() {
        for (block, sum) in sums.into_iter().enumerate() {
            // SAFETY: the output has room for the tile.
            unsafe {
                isa.store(sum, tile.output.add(row * tile.output_step[0] + block * tile.output_step[1]))
            };
        }
    }
}

/// Kernels of an entry for these numbers of rows.
macro_rules! row_kernels {
    ($entry:ident, $blocks:literal: $($rows:literal)*) => {
        &[$( $entry::<$blocks, $rows> as Kernel ),*]
    };
}

fn plain<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
    // SAFETY: kernels are called by `Kernels::run` only, whose caller says that the sizes fit.
    unsafe { compute::<_, BLOCKS, ROWS>(Singles(crate::isa::plain::Plain), tile) }
}

static PLAIN: Kernels = Kernels { one: row_kernels!(plain, 1: 1 2 3 4), two: &[] };

fn plain_pairs<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
    // SAFETY: as above.
    unsafe { compute::<_, BLOCKS, ROWS>(PlainPairs, tile) }
}

static PLAIN_PAIRS: Kernels = Kernels { one: row_kernels!(plain_pairs, 1: 1 2), two: &[] };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Kernels, Singles, Tile, compute};
    use crate::{
        BLOCK,
        amx::{Operands, Product, Sizes, Tiles},
        bfloat::Avx512Pairs,
        isa::{avx2::Avx2, avx512::Avx512},
    };

    #[target_feature(enable = "avx2,fma")]
    fn avx2<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
        // SAFETY: kernels are called by `Kernels::run` only, whose caller says that the sizes fit. This
        // one was chosen because the processor has the instructions.
        unsafe { compute::<_, BLOCKS, ROWS>(Singles(Avx2::assumed()), tile) }
    }

    pub(super) static AVX2: Kernels = Kernels { one: row_kernels!(avx2, 1: 1 2 3 4 5 6), two: &[] };

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn avx512<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
        // SAFETY: as above.
        unsafe { compute::<_, BLOCKS, ROWS>(Singles(Avx512::assumed()), tile) }
    }

    pub(super) static AVX512: Kernels = Kernels {
        one: row_kernels!(avx512, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        two: row_kernels!(avx512, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    };

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn pairs<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
        // SAFETY: as above.
        unsafe { compute::<_, BLOCKS, ROWS>(Avx512Pairs::assumed(), tile) }
    }

    fn tiles<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
        let sizes = Sizes { rows: ROWS, words: BLOCK.min(tile.depth), last_words: tile.depth % BLOCK };
        // SAFETY: as above; this kernel was chosen because the processor has AMX. It reads and writes what `compute`
        // does.
        unsafe {
            let tiles = Tiles::configure(Product::Bfloats, sizes);
            for block in 0..BLOCKS {
                let from = tile.before.add(block * tile.before_step[1]);
                tiles.load(block, from.cast(), tile.before_step[0] * size_of::<f32>());
            }
            let (mut left, mut right) = (tile.left, tile.panel);
            let (left_step, right_step) = (BLOCK * size_of::<f32>(), BLOCKS * BLOCK * size_of::<f32>());
            for done in (0..tile.depth).step_by(BLOCK) {
                let is_last = tile.depth - done < BLOCK;
                let operands = Operands { left: left.cast(), left_step, right: right.cast(), right_step };
                tiles.step(BLOCKS, operands, is_last);
                left = left.wrapping_add(tile.left_block);
                right = right.wrapping_add(BLOCK * BLOCKS * BLOCK);
            }
            for block in 0..BLOCKS {
                let to = tile.output.add(block * tile.output_step[1]);
                tiles.store(block, to.cast(), tile.output_step[0] * size_of::<f32>());
            }
        }
    }

    pub(super) static TILES: Kernels = Kernels {
        one: row_kernels!(tiles, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        two: row_kernels!(tiles, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    };

    pub(super) static PAIRS: Kernels = Kernels {
        one: row_kernels!(pairs, 1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        two: row_kernels!(pairs, 2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
    };
}

/// The kernels of AMX, or those of pairs where the processor has no instructions for these.
pub(crate) fn kernels_of_tiles(level: Level) -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) && crate::amx::multiplies_bfloats() {
        return &x86::TILES;
    }
    kernels_of_pairs(level)
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{Kernel, Kernels, Singles, Tile, compute};
    use crate::isa::neon::Neon;

    fn neon<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
        // SAFETY: kernels are called by `Kernels::run` only, whose caller says that the sizes fit.
        unsafe { compute::<_, BLOCKS, ROWS>(Singles(Neon), tile) }
    }

    pub(super) static NEON: Kernels = Kernels { one: row_kernels!(neon, 1: 1 2 3 4 5 6), two: &[] };
}

/// How many columns a panel of a level has.
pub(crate) fn width(level: Level) -> usize {
    if level == Level::Avx512 && level.is_available() { 2 * BLOCK } else { BLOCK }
}

/// The kernels of a level.
pub(crate) fn kernels(level: Level) -> &'static Kernels {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() => &x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 if Level::Avx2.is_available() => &x86::AVX2,
        #[cfg(target_arch = "aarch64")]
        level if level >= Level::Neon => &arm::NEON,
        _ => &PLAIN,
    }
}

/// How many columns a panel of pairs of 16-bit floats has.
pub(crate) fn width_of_pairs(level: Level) -> usize {
    if is_available(level) { 2 * BLOCK } else { BLOCK }
}

/// The kernels of pairs of 16-bit floats.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only AVX-512 has such kernels"))]
pub(crate) fn kernels_of_pairs(level: Level) -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) {
        return &x86::PAIRS;
    }
    &PLAIN_PAIRS
}
