//! The innermost loops of a convolution: a tile of output pixels by one or two blocks of output channels.
//!
//! The sums of a tile stay in registers while all inputs that it needs go by: for each input channel
//! under each place of the window, the weights of the blocks are loaded once, and each pixel's input is
//! multiplied with all of them. 14 pixels by 2 blocks take 28 of the 32 registers of AVX-512; 6 pixels by
//! one block, in two halves, 12 of the 16 of AVX2; in four quarters, 24 of the 32 of NEON.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

use super::{
    BLOCK, Level,
    bfloat::{PlainPairs, Singles, Words, is_available},
    isa::Isa,
};

/// A tile: where its numbers are, and the distances between them, all counted in floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) input: *const f32,
    /// From one block of input channels to the next.
    pub(super) input_block: usize,
    /// From one row of the window to the next.
    pub(super) window_row: usize,
    /// From one column of the window to the next.
    pub(super) window_column: usize,
    /// From the input of a pixel to that of its right neighbour, for kernels of any step.
    pub(super) step: usize,
    /// From the input of a row of pixels to that of the row below it, for tiles of several rows.
    pub(super) input_row: usize,
    /// `[input block][window row][window column][input channel][output channel of all blocks]`.
    pub(super) weights: *const f32,
    pub(super) blocks: usize,
    /// Words of input channels of all blocks but the last: a channel each, or two 16-bit floats.
    pub(super) channels: usize,
    /// Words of input channels of the last block.
    pub(super) last_channels: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bias: *const f32,
    pub(super) output: *mut f32,
    /// From one block of output channels to the next.
    pub(super) output_block: usize,
    pub(super) output_row: usize,
    /// From one pixel to the next.
    pub(super) output_step: usize,
    /// Whether outputs are 16-bit floats, which only kernels of these write.
    pub(super) output_is_narrow: bool,
    /// Numbers to add to the output, or null.
    pub(super) residual: *const f32,
    pub(super) residual_block: usize,
    pub(super) residual_row: usize,
    pub(super) residual_step: usize,
    pub(super) residual_is_narrow: bool,
    /// The bounds to which outputs are clipped.
    pub(super) low: f32,
    pub(super) high: f32,
    /// Weights of the tiles that come next: lines are asked for while this one is computed.
    pub(super) ahead: *const f32,
    /// How many lines, for each input block under each place of the window.
    pub(super) ahead_lines: usize,
}

/// Computes a tile.
pub(super) type Kernel = unsafe fn(&Tile);

/// The kernels of a level for a number of blocks of output channels.
#[derive(Debug)]
pub(super) struct Kernels {
    /// For 1, 2, … pixels in a row whose inputs are neighbours.
    pub(super) dense: &'static [Kernel],
    /// The same where every other input is taken.
    pub(super) halved: &'static [Kernel],
    /// The same for inputs at any distance.
    pub(super) any: &'static [Kernel],
    /// For several rows of neighbours: how many, their length, the kernel.
    pub(super) rows: Option<(usize, usize, Kernel)>,
}

/// `PIXELS` outputs in rows of `WIDTH`, whose inputs are `STEP` floats apart (0: what the tile says), by
/// `BLOCKS` blocks of channels.
///
/// # Safety
/// Everything that the tile's sizes reach from its pointers can be read, and its outputs can be written.
#[inline(always)]
unsafe fn compute<
    W: Words,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
>(
    words: W,
    tile: &Tile,
) {
    let isa = words.isa();
    let step = if STEP == 0 { tile.step } else { STEP };
    let mut ahead = tile.ahead;
    let mut sums = [[isa.splat(0.0); BLOCKS]; PIXELS];
    for block in 0..BLOCKS {
        // SAFETY: the bias has 16 floats for each block.
        let bias = unsafe { isa.load(tile.bias.add(block * BLOCK)) };
        for sums in &mut sums {
            sums[block] = bias;
        }
    }
    let mut weights = tile.weights;
    let mut inputs = tile.input;
    for number in 1..=tile.blocks {
        let channels = if number == tile.blocks { tile.last_channels } else { tile.channels };
        let mut row = inputs;
        for _ in 0..tile.rows {
            let mut column = row;
            for _ in 0..tile.columns {
                for _ in 0..tile.ahead_lines {
                    isa.prefetch(ahead);
                    ahead = ahead.wrapping_add(BLOCK);
                }
                for channel in 0..channels {
                    let mut loaded = [isa.splat(0.0); BLOCKS];
                    for (block, loaded) in loaded.iter_mut().enumerate() {
                        // SAFETY: the weights have 16 floats for each block, channel and place.
                        *loaded = unsafe { isa.load(weights.add(block * BLOCK)) };
                    }
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let place = pixel / WIDTH * tile.input_row + pixel % WIDTH * step + channel;
                        // SAFETY: the window of each pixel is within the input.
                        let value = isa.splat(unsafe { *column.add(place) });
                        for (sum, loaded) in sums.iter_mut().zip(loaded) {
                            *sum = words.multiply_add(loaded, value, *sum);
                        }
                    }
                    weights = weights.wrapping_add(BLOCKS * BLOCK);
                }
                column = column.wrapping_add(tile.window_column);
            }
            row = row.wrapping_add(tile.window_row);
        }
        inputs = inputs.wrapping_add(tile.input_block);
    }
    // SAFETY: the caller says that the outputs can be written, and that what is added can be read.
    unsafe { finish::<W, BLOCKS, PIXELS, WIDTH>(words, tile, sums) }
}

/// Does something for each pixel of a tile. Its number is a constant there: an array stays in registers only if all of
/// its places are constants, and the compiler leaves loops of many steps as they are.
macro_rules! for_each_pixel {
    ($pixels:ident, $pixel:ident, $body:block) => {
        for_each_pixel!($pixels, $pixel, $body: 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    ($pixels:ident, $pixel:ident, $body:block: $($number:literal)*) => {
        const { assert!($pixels <= 14) };
        $(
            if $number < $pixels {
                let $pixel: usize = $number;
                $body
            }
        )*
    };
}

/// Adds to sums what is to be added, clips them, and writes them.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn finish<W: Words, const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize>(
    words: W,
    tile: &Tile,
    sums: [[<W::Isa as Isa>::V; BLOCKS]; PIXELS],
) {
    for_each_pixel!(PIXELS, pixel, {
        let (row, column) = (pixel / WIDTH, pixel % WIDTH);
        let residual = row * tile.residual_row + column * tile.residual_step;
        let output = row * tile.output_row + column * tile.output_step;
        // SAFETY: the caller says so, and the pixel is one of the tile.
        unsafe { finish_pixel(words, tile, sums[pixel], residual, output) };
    });
}

/// The same for one pixel, whose numbers are there.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn finish_pixel<W: Words, const BLOCKS: usize>(
    words: W,
    tile: &Tile,
    sums: [<W::Isa as Isa>::V; BLOCKS],
    residual: usize,
    output: usize,
) {
    let isa = words.isa();
    for (block, mut sum) in sums.into_iter().enumerate() {
        if !tile.residual.is_null() {
            let place = residual + block * tile.residual_block;
            // SAFETY: the numbers that are added are as many as the outputs.
            let added = unsafe { words.load(tile.residual.add(place), tile.residual_is_narrow) };
            sum = isa.add(sum, added);
        }
        if tile.low > f32::NEG_INFINITY {
            sum = isa.at_least(sum, isa.splat(tile.low));
        }
        if tile.high < f32::INFINITY {
            sum = isa.at_most(sum, isa.splat(tile.high));
        }
        let place = output + block * tile.output_block;
        // SAFETY: the output has room for the tile.
        unsafe { words.store(sum, tile.output.add(place), tile.output_is_narrow) };
    }
}

/// Kernels of an entry for these numbers of pixels in one row.
macro_rules! row_kernels {
    ($entry:ident, $blocks:literal, $step:literal: $($pixels:literal)*) => {
        &[$( $entry::<$blocks, $pixels, $pixels, $step> as Kernel ),*]
    };
}

fn plain<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
    // SAFETY: kernels are called by `convolution` only, which has checked all sizes.
    unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(Singles(super::isa::plain::Plain), tile) }
}

static PLAIN: Kernels = Kernels {
    dense: row_kernels!(plain, 1, 16: 1 2 3 4),
    halved: row_kernels!(plain, 1, 32: 1 2 3 4),
    any: row_kernels!(plain, 1, 0: 1 2 3 4),
    rows: None,
};

fn plain_pairs<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
    // SAFETY: kernels are called by `convolution` only, which has checked all sizes.
    unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(PlainPairs, tile) }
}

static PLAIN_PAIRS: Kernels = Kernels {
    dense: row_kernels!(plain_pairs, 1, 8: 1 2),
    halved: row_kernels!(plain_pairs, 1, 16: 1 2),
    any: row_kernels!(plain_pairs, 1, 0: 1 2),
    rows: None,
};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{
        super::{
            amx::{Operands, Product, Sizes, Tiles},
            bfloat::Avx512Pairs,
            isa::{avx2::Avx2, avx512::Avx512},
        },
        BLOCK, Isa, Kernel, Kernels, Singles, Tile, Words, compute, finish,
    };

    #[target_feature(enable = "avx2,fma")]
    fn avx2<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
        // SAFETY: kernels are called by `convolution` only, which has checked all sizes, and which
        // chose this one because the processor has the instructions.
        unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(Singles(Avx2::assumed()), tile) }
    }

    pub(super) static AVX2: Kernels = Kernels {
        dense: row_kernels!(avx2, 1, 16: 1 2 3 4 5 6),
        halved: row_kernels!(avx2, 1, 32: 1 2 3 4 5 6),
        any: row_kernels!(avx2, 1, 0: 1 2 3 4 5 6),
        rows: None,
    };

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
    fn avx512<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
        // SAFETY: kernels are called by `convolution` only, which has checked all sizes, and which
        // chose this one because the processor has the instructions.
        unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(Singles(Avx512::assumed()), tile) }
    }

    pub(super) static AVX512_ONE: Kernels = Kernels {
        dense: row_kernels!(avx512, 1, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(avx512, 1, 32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(avx512, 1, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, avx512::<1, 14, 7, 16> as Kernel)),
    };

    pub(super) static AVX512_TWO: Kernels = Kernels {
        dense: row_kernels!(avx512, 2, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(avx512, 2, 32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(avx512, 2, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, avx512::<2, 14, 7, 16> as Kernel)),
    };

    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn pairs<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
        // SAFETY: as above.
        unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(Avx512Pairs::assumed(), tile) }
    }

    /// Neighbours in one row, by tile registers.
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    fn tiles<const BLOCKS: usize, const PIXELS: usize>(tile: &Tile) {
        /// Sums in memory.
        #[repr(align(64))]
        struct Sums<const BLOCKS: usize, const PIXELS: usize>([[[f32; BLOCK]; BLOCKS]; PIXELS]);
        let mut stored = Sums([[[0.0; BLOCK]; BLOCKS]; PIXELS]);
        let sizes = Sizes { rows: PIXELS, words: tile.channels, last_words: tile.last_channels };
        let bytes = size_of::<f32>();
        // SAFETY: as above; this kernel was chosen because the processor has AMX. It reads and writes what `compute` does.
        unsafe {
            let words = Avx512Pairs::assumed();
            let tiles = Tiles::configure(Product::Bfloats, sizes);
            for block in 0..BLOCKS {
                tiles.load(block, tile.bias.add(block * BLOCK).cast(), 0);
            }
            let mut weights = tile.weights;
            for number in 0..tile.blocks {
                let is_last = number + 1 == tile.blocks;
                let channels = if is_last { tile.last_channels } else { tile.channels };
                for place in 0..tile.rows * tile.columns {
                    let (row, column) = (place / tile.columns, place % tile.columns);
                    let left = tile.input.wrapping_add(
                        number * tile.input_block + row * tile.window_row + column * tile.window_column,
                    );
                    let (left_step, right_step) = (tile.step * bytes, BLOCKS * BLOCK * bytes);
                    let operands =
                        Operands { left: left.cast(), left_step, right: weights.cast(), right_step };
                    tiles.step(BLOCKS, operands, is_last);
                    weights = weights.wrapping_add(channels * BLOCKS * BLOCK);
                }
            }
            for block in 0..BLOCKS {
                let to = stored.0.as_mut_ptr().cast::<[f32; BLOCK]>().add(block);
                tiles.store(block, to.cast(), BLOCKS * BLOCK * bytes);
            }
            drop(tiles);
            let sums =
                stored.0.each_ref().map(|row| row.each_ref().map(|sum| words.isa().load(sum.as_ptr())));
            finish::<_, BLOCKS, PIXELS, PIXELS>(words, tile, sums);
        }
    }

    /// Kernels of tile registers for these numbers of pixels.
    macro_rules! tile_kernels {
        ($blocks:literal: $($pixels:literal)*) => {
            &[$( tiles::<$blocks, $pixels> as Kernel ),*]
        };
    }

    const ONE: &[Kernel] = tile_kernels!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    const TWO: &[Kernel] = tile_kernels!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    pub(super) static TILES_ONE: Kernels = Kernels { dense: ONE, halved: ONE, any: ONE, rows: None };
    pub(super) static TILES_TWO: Kernels = Kernels { dense: TWO, halved: TWO, any: TWO, rows: None };

    pub(super) static PAIRS_ONE: Kernels = Kernels {
        dense: row_kernels!(pairs, 1, 8: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(pairs, 1, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(pairs, 1, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, pairs::<1, 14, 7, 8> as Kernel)),
    };

    pub(super) static PAIRS_TWO: Kernels = Kernels {
        dense: row_kernels!(pairs, 2, 8: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(pairs, 2, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(pairs, 2, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, pairs::<2, 14, 7, 8> as Kernel)),
    };
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use super::{super::isa::neon::Neon, Kernel, Kernels, Singles, Tile, compute};

    fn neon<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
        // SAFETY: kernels are called by `convolution` only, which has checked all sizes.
        unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(Singles(Neon), tile) }
    }

    pub(super) static NEON: Kernels = Kernels {
        dense: row_kernels!(neon, 1, 16: 1 2 3 4 5 6),
        halved: row_kernels!(neon, 1, 32: 1 2 3 4 5 6),
        any: row_kernels!(neon, 1, 0: 1 2 3 4 5 6),
        rows: None,
    };
}

/// How many blocks of output channels the tiles of a level have.
pub(super) fn blocks_of(level: Level) -> usize {
    if level == Level::Avx512 && level.is_available() { 2 } else { 1 }
}

/// The kernels of a level: for two blocks of output channels, where it has such, or for one.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only AVX-512 has two blocks"))]
pub(super) fn kernels(level: Level, blocks: usize) -> &'static Kernels {
    match level {
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() && blocks == 2 => &x86::AVX512_TWO,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 if level.is_available() => &x86::AVX512_ONE,
        #[cfg(target_arch = "x86_64")]
        Level::Avx512 | Level::Avx2 if Level::Avx2.is_available() => &x86::AVX2,
        #[cfg(target_arch = "aarch64")]
        level if level >= Level::Neon => &arm::NEON,
        _ => &PLAIN,
    }
}

/// How many blocks of output channels the tiles of 16-bit floats have.
pub(super) fn blocks_of_pairs(level: Level) -> usize {
    if is_available(level) { 2 } else { 1 }
}

/// The kernels of 16-bit floats.
#[cfg_attr(not(target_arch = "x86_64"), expect(unused_variables, reason = "only AVX-512 has such kernels"))]
pub(super) fn kernels_of_pairs(level: Level, blocks: usize) -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) {
        return if blocks == 2 { &x86::PAIRS_TWO } else { &x86::PAIRS_ONE };
    }
    &PLAIN_PAIRS
}

/// The kernels of AMX, or those of pairs where the processor has no instructions for these.
pub(super) fn kernels_of_tiles(level: Level, blocks: usize) -> &'static Kernels {
    #[cfg(target_arch = "x86_64")]
    if is_available(level) && super::amx::multiplies_bfloats() {
        return if blocks == 2 { &x86::TILES_TWO } else { &x86::TILES_ONE };
    }
    kernels_of_pairs(level, blocks)
}
