//! The innermost loops of a convolution of bytes: a tile of output pixels by one or two blocks of output
//! channels.
//!
//! As [`crate::tile`], but four input channels go by at once: their bytes are the same for all 16 output
//! channels of a block, which have four weights each.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

use std::mem::MaybeUninit;

use super::{
    GROUP, Instructions,
    finish::{Addition, RealPointers, add, round},
    instructions::Integers,
};
use crate::{BLOCK, isa::Isa};

/// Bytes of the weights of four input channels and a block of output channels.
pub(super) const WEIGHTS: usize = GROUP * BLOCK;

/// Bytes of a sum, or of a float.
pub(super) const WORD: usize = size_of::<f32>();

/// The form in which a sum is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Form {
    /// A byte.
    Bytes,
    /// The sum itself, of 32 bits.
    Sums,
    /// A float.
    Floats,
}

/// A tile: where its numbers are, and the distances between them, all counted in bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    pub(super) input: *const u8,
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
    /// `[pass][input block][window row][window column][group][block][output channel][4]`: a group is four input
    /// channels of bytes, or two of 16 bits.
    pub(super) weights: *const u8,
    /// How often the input goes by: more than once where weights are sums of several numbers of int8.
    pub(super) passes: usize,
    pub(super) blocks: usize,
    /// Groups of input channels of all blocks but the last.
    pub(super) groups: usize,
    /// Groups of input channels of the last block.
    pub(super) last_groups: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) bias: *const i32,
    pub(super) scales: *const f32,
    pub(super) form: Form,
    /// How floats are made.
    pub(super) reals: RealPointers,
    pub(super) zero_point: u8,
    pub(super) output: *mut u8,
    /// From one block of output channels to the next.
    pub(super) output_block: usize,
    pub(super) output_row: usize,
    /// From one pixel to the next, of sums and floats. Those of bytes are next to each other.
    pub(super) output_step: usize,
    /// Numbers to add to the output, of its form; or null.
    pub(super) residual: *const u8,
    pub(super) residual_block: usize,
    pub(super) residual_row: usize,
    /// Bytes of a number of the output.
    pub(super) word: usize,
    pub(super) addition: Addition,
}

/// Computes a tile.
pub(super) type Kernel = unsafe fn(&Tile);

/// The kernels of a set of instructions for a number of blocks of output channels.
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

/// `PIXELS` outputs in rows of `WIDTH`, whose inputs are `STEP` bytes apart (0: what the tile says), by
/// `BLOCKS` blocks of channels.
///
/// # Safety
/// Everything that the tile's sizes reach from its pointers can be read, and its outputs can be written.
#[inline(always)]
unsafe fn compute<
    I: Integers,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
>(
    isa: I,
    tile: &Tile,
) {
    let step = if STEP == 0 { tile.step } else { STEP };
    let mut sums = [[isa.splat(0); BLOCKS]; PIXELS];
    for block in 0..BLOCKS {
        // SAFETY: the bias has 16 integers for each block.
        let bias = unsafe { isa.load(tile.bias.add(block * BLOCK)) };
        for sums in &mut sums {
            sums[block] = bias;
        }
    }
    let mut weights = tile.weights;
    for number in 0..tile.passes * tile.blocks {
        let number = number % tile.blocks + 1;
        let inputs = tile.input.wrapping_add((number - 1) * tile.input_block);
        let groups = if number == tile.blocks { tile.last_groups } else { tile.groups };
        let mut row = inputs;
        for _ in 0..tile.rows {
            let mut column = row;
            for _ in 0..tile.columns {
                let mut bytes = column;
                for _ in 0..groups {
                    // SAFETY: there are 64 bytes of weights for each block, group and place.
                    let loaded: [I::Factors; BLOCKS] =
                        std::array::from_fn(|block| unsafe { isa.factors(weights.add(block * WEIGHTS)) });
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let place = pixel / WIDTH * tile.input_row + pixel % WIDTH * step;
                        // SAFETY: the window of each pixel is within the input.
                        let value = unsafe { isa.group(bytes.add(place)) };
                        for (sum, loaded) in sums.iter_mut().zip(loaded) {
                            *sum = isa.accumulate(*sum, value, loaded);
                        }
                    }
                    weights = weights.wrapping_add(BLOCKS * WEIGHTS);
                    bytes = bytes.wrapping_add(GROUP);
                }
                column = column.wrapping_add(tile.window_column);
            }
            row = row.wrapping_add(tile.window_row);
        }
    }
    // The sums go to memory once, so that they stay in registers above, whatever is done with them below.
    let mut stored = [[const { MaybeUninit::<Stored>::uninit() }; BLOCKS]; PIXELS];
    for (stored, sums) in stored.iter_mut().zip(sums) {
        for (stored, sum) in stored.iter_mut().zip(sums) {
            // SAFETY: there is room for 16 integers.
            unsafe { isa.store(sum, stored.as_mut_ptr().cast()) };
        }
    }
    // SAFETY: all sums are in memory now, and the caller says that there is room for what they become.
    unsafe {
        match tile.form {
            Form::Bytes => write_bytes::<I, BLOCKS, PIXELS, WIDTH>(isa, tile, &stored),
            Form::Sums | Form::Floats => write_words::<I, BLOCKS, PIXELS, WIDTH>(isa, tile, &stored),
        }
    }
}

/// Writes what sums become as bytes, four pixels at once where there are as many.
///
/// # Safety
/// The sums are there; as of [`compute`].
#[inline(always)]
unsafe fn write_bytes<I: Integers, const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize>(
    isa: I,
    tile: &Tile,
    stored: &[[MaybeUninit<Stored>; BLOCKS]; PIXELS],
) {
    let floats = isa.isa();
    for block in 0..BLOCKS {
        // SAFETY: there are 16 scales for each block.
        let scales = unsafe { floats.load(tile.scales.add(block * BLOCK)) };
        for (row, stored) in stored.chunks_exact(WIDTH).enumerate() {
            let output = tile.output.wrapping_add(row * tile.output_row + block * tile.output_block);
            let residual = tile.residual.wrapping_add(row * tile.residual_row + block * tile.residual_block);
            for (number, stored) in stored.chunks(4).enumerate() {
                let column = 4 * number;
                let start = residual.wrapping_add(column * BLOCK);
                if let [a, b, c, d] = stored {
                    // SAFETY: the sums are there, and the bytes that are added are as many as the outputs.
                    let values = unsafe {
                        [
                            value::<I, BLOCKS>(isa, tile, (a, block), scales, start),
                            value::<I, BLOCKS>(isa, tile, (b, block), scales, start.wrapping_add(BLOCK)),
                            value::<I, BLOCKS>(isa, tile, (c, block), scales, start.wrapping_add(2 * BLOCK)),
                            value::<I, BLOCKS>(isa, tile, (d, block), scales, start.wrapping_add(3 * BLOCK)),
                        ]
                    };
                    // SAFETY: the output has room for the tile; pixels are next to each other.
                    unsafe { isa.narrow_four(values, output.add(column * BLOCK)) };
                } else {
                    for (pixel, stored) in stored.iter().enumerate() {
                        let start = start.wrapping_add(pixel * BLOCK);
                        // SAFETY: the same.
                        unsafe {
                            let value = value::<I, BLOCKS>(isa, tile, (stored, block), scales, start);
                            isa.narrow(value, output.add((column + pixel) * BLOCK));
                        }
                    }
                }
            }
        }
    }
}

/// What the sums of a pixel and a block become, with what is added to them.
///
/// # Safety
/// The sums are there, and 16 bytes to add if the tile adds some.
#[inline(always)]
unsafe fn value<I: Integers, const BLOCKS: usize>(
    isa: I,
    tile: &Tile,
    (stored, block): (&[MaybeUninit<Stored>; BLOCKS], usize),
    scales: <I::Isa as Isa>::V,
    residual: *const u8,
) -> I::Sums {
    // SAFETY: the caller says that all 16 integers are there.
    let sum = unsafe { isa.load(stored[block].as_ptr().cast()) };
    let value = round(isa, sum, scales, tile.zero_point);
    if tile.residual.is_null() {
        return value;
    }
    // SAFETY: the caller says that the bytes are there.
    let other = unsafe { isa.widen(residual) };
    let own = isa.at_least_zero(value);
    let (first, second) = if tile.addition.is_first { (own, other) } else { (other, own) };
    add(isa, first, second, &tile.addition)
}

/// Writes sums, or what they become as floats.
///
/// # Safety
/// The sums are there; as of [`compute`].
#[inline(always)]
unsafe fn write_words<I: Integers, const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize>(
    isa: I,
    tile: &Tile,
    stored: &[[MaybeUninit<Stored>; BLOCKS]; PIXELS],
) {
    let floats = isa.isa();
    for block in 0..BLOCKS {
        // SAFETY: there are 16 numbers of each kind for each block.
        let line = unsafe { tile.reals.line(floats, block) };
        for (pixel, stored) in stored.iter().enumerate() {
            let (row, column) = (pixel / WIDTH, pixel % WIDTH);
            // SAFETY: the caller says that all 16 integers are there.
            let sum = unsafe { isa.load(stored[block].as_ptr().cast()) };
            let place = |row_bytes: usize, step: usize, block_bytes: usize| {
                row * row_bytes + column * step + block * block_bytes
            };
            let output =
                tile.output.wrapping_add(place(tile.output_row, tile.output_step, tile.output_block));
            // SAFETY: the output has room for the tile, and what is added to it is as large.
            match tile.form {
                Form::Floats => unsafe {
                    let start = place(tile.residual_row, WORD * BLOCK, tile.residual_block);
                    let added = (!tile.residual.is_null())
                        .then(|| floats.load(tile.residual.wrapping_add(start).cast()));
                    floats.store(line.of(floats, isa.to_floats(sum), added), output.cast());
                },
                Form::Sums | Form::Bytes => unsafe { isa.store(sum, output.cast()) },
            }
        }
    }
}

/// Sums in memory.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Stored {
    _sums: [i32; BLOCK],
}

/// Kernels of an entry for these numbers of pixels in one row.
macro_rules! row_kernels {
    ($entry:ident, $blocks:literal, $step:literal: $($pixels:literal)*) => {
        &[$( $entry::<$blocks, $pixels, $pixels, $step> as Kernel ),*]
    };
}

fn plain<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(tile: &Tile) {
    // SAFETY: kernels are called where all sizes have been checked.
    unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>(super::instructions::plain::Plain, tile) }
}

static PLAIN: Kernels = Kernels {
    dense: row_kernels!(plain, 1, 0: 1 2),
    halved: row_kernels!(plain, 1, 0: 1 2),
    any: row_kernels!(plain, 1, 0: 1 2),
    rows: None,
};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{
        super::instructions::{
            avx2::{Avx2, AvxVnni},
            avx512::{Avx512, Avx512Vnni},
        },
        Form, Kernel, Kernels, Stored, Tile, WEIGHTS, compute, write_bytes, write_words,
    };
    use crate::{BLOCK, amx};
    use std::mem::MaybeUninit;

    /// An entry that is compiled for a set of instructions.
    macro_rules! entry {
        ($name:ident, $proof:ident, $features:literal) => {
            #[target_feature(enable = $features)]
            fn $name<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(
                tile: &Tile,
            ) {
                // SAFETY: kernels are called where all sizes have been checked, and where this one was
                // chosen because the processor has the instructions.
                unsafe { compute::<_, BLOCKS, PIXELS, WIDTH, STEP>($proof::assumed(), tile) }
            }
        };
    }
    entry!(avx2, Avx2, "avx2,fma");
    entry!(avx_vnni, AvxVnni, "avx2,fma,avxvnni");
    entry!(avx512, Avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl");
    entry!(vnni, Avx512Vnni, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");

    /// Neighbours in one row, by tile registers. Sums of bytes are exact, so their order does not matter.
    #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")]
    fn amx<const BLOCKS: usize, const PIXELS: usize>(tile: &Tile) {
        // SAFETY: kernels are called where all sizes have been checked, and where this one was chosen because the
        // processor has the instructions.
        unsafe {
            let isa = Avx512Vnni::assumed();
            // More channels next to each other than a tile has words.
            if tile.groups.max(tile.last_groups) > amx::ROWS {
                return compute::<_, BLOCKS, PIXELS, PIXELS, 0>(isa, tile);
            }
            let stored = sums_by_tiles::<BLOCKS, PIXELS>(tile);
            match tile.form {
                Form::Bytes => write_bytes::<_, BLOCKS, PIXELS, PIXELS>(isa, tile, &stored),
                Form::Sums | Form::Floats => write_words::<_, BLOCKS, PIXELS, PIXELS>(isa, tile, &stored),
            }
        }
    }

    /// The sums of a tile of neighbours.
    ///
    /// # Safety
    /// As of [`compute`], on a processor with AMX. A block has 16 groups of four channels at most.
    unsafe fn sums_by_tiles<const BLOCKS: usize, const PIXELS: usize>(
        tile: &Tile,
    ) -> [[MaybeUninit<Stored>; BLOCKS]; PIXELS] {
        let mut stored = [[const { MaybeUninit::<Stored>::uninit() }; BLOCKS]; PIXELS];
        let sizes = amx::Sizes { rows: PIXELS, words: tile.groups, last_words: tile.last_groups };
        // SAFETY: the caller says that the processor has AMX. It reads and writes what `compute` reads and
        // writes: for each pixel the bytes of a block under each place of the window, and the weights of these.
        unsafe {
            let tiles = amx::Tiles::configure(amx::Product::Bytes, sizes);
            for block in 0..BLOCKS {
                tiles.load(block, tile.bias.add(block * BLOCK).cast(), 0);
            }
            let mut weights = tile.weights;
            for number in 0..tile.passes * tile.blocks {
                let number = number % tile.blocks;
                let is_last = number + 1 == tile.blocks;
                let groups = if is_last { tile.last_groups } else { tile.groups };
                for place in 0..tile.rows * tile.columns {
                    let (row, column) = (place / tile.columns, place % tile.columns);
                    let left = tile.input.wrapping_add(
                        number * tile.input_block + row * tile.window_row + column * tile.window_column,
                    );
                    let (left_step, right_step) = (tile.step, BLOCKS * WEIGHTS);
                    let operands = amx::Operands { left, left_step, right: weights, right_step };
                    tiles.step(BLOCKS, operands, is_last);
                    weights = weights.wrapping_add(groups * BLOCKS * WEIGHTS);
                }
            }
            for block in 0..BLOCKS {
                let to = stored.as_mut_ptr().cast::<Stored>().add(block);
                tiles.store(block, to.cast(), BLOCKS * size_of::<Stored>());
            }
        }
        stored
    }

    /// Kernels of tile registers for these numbers of pixels.
    macro_rules! amx_kernels {
        ($blocks:literal: $($pixels:literal)*) => {
            &[$( amx::<$blocks, $pixels> as Kernel ),*]
        };
    }

    const ONE: &[Kernel] = amx_kernels!(1: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    const TWO: &[Kernel] = amx_kernels!(2: 1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    /// Pixels of a tile whose inputs are at any distance, as in the other lists: rows of products have room for as many.
    const ANY: usize = 8;
    pub(super) static AMX_ONE: Kernels =
        Kernels { dense: ONE, halved: ONE, any: ONE.split_at(ANY).0, rows: None };
    pub(super) static AMX_TWO: Kernels =
        Kernels { dense: TWO, halved: TWO, any: TWO.split_at(ANY).0, rows: None };

    pub(super) static AVX2: Kernels = Kernels {
        dense: row_kernels!(avx2, 1, 32: 1 2 3 4 5 6),
        halved: row_kernels!(avx2, 1, 64: 1 2 3 4 5 6),
        any: row_kernels!(avx2, 1, 0: 1 2 3 4 5 6),
        rows: None,
    };

    pub(super) static AVX_VNNI: Kernels = Kernels {
        dense: row_kernels!(avx_vnni, 1, 16: 1 2 3 4 5 6),
        halved: row_kernels!(avx_vnni, 1, 32: 1 2 3 4 5 6),
        any: row_kernels!(avx_vnni, 1, 0: 1 2 3 4 5 6),
        rows: None,
    };

    pub(super) static AVX512_ONE: Kernels = Kernels {
        dense: row_kernels!(avx512, 1, 32: 1 2 3 4 5 6 7 8 9 10 11 12),
        halved: row_kernels!(avx512, 1, 64: 1 2 3 4 5 6 7 8 9 10 11 12),
        any: row_kernels!(avx512, 1, 0: 1 2 3 4 5 6 7 8),
        rows: None,
    };

    pub(super) static AVX512_TWO: Kernels = Kernels {
        dense: row_kernels!(avx512, 2, 32: 1 2 3 4 5 6 7 8 9 10 11 12),
        halved: row_kernels!(avx512, 2, 64: 1 2 3 4 5 6 7 8 9 10 11 12),
        any: row_kernels!(avx512, 2, 0: 1 2 3 4 5 6 7 8),
        rows: None,
    };

    pub(super) static VNNI_ONE: Kernels = Kernels {
        dense: row_kernels!(vnni, 1, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(vnni, 1, 32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(vnni, 1, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, vnni::<1, 14, 7, 16> as Kernel)),
    };

    pub(super) static VNNI_TWO: Kernels = Kernels {
        dense: row_kernels!(vnni, 2, 16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        halved: row_kernels!(vnni, 2, 32: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        any: row_kernels!(vnni, 2, 0: 1 2 3 4 5 6 7 8),
        rows: Some((2, 7, vnni::<2, 14, 7, 16> as Kernel)),
    };
}

/// How many blocks of output channels the tiles of a set of instructions have.
pub(super) fn blocks_of(instructions: Instructions) -> usize {
    match instructions {
        Instructions::Avx512 | Instructions::Avx512Vnni | Instructions::Amx
            if instructions.is_available() =>
        {
            2
        }
        _ => 1,
    }
}

/// The kernels of a set of instructions: for two blocks of output channels, where it has such, or for one.
pub(super) fn kernels(instructions: Instructions, blocks: usize) -> &'static Kernels {
    match (instructions, blocks) {
        #[cfg(target_arch = "x86_64")]
        (Instructions::Amx, 2) if instructions.is_available() => &x86::AMX_TWO,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Amx, _) if instructions.is_available() => &x86::AMX_ONE,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx512Vnni, 2) if instructions.is_available() => &x86::VNNI_TWO,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx512Vnni, _) if instructions.is_available() => &x86::VNNI_ONE,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx512, 2) if instructions.is_available() => &x86::AVX512_TWO,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx512, _) if instructions.is_available() => &x86::AVX512_ONE,
        #[cfg(target_arch = "x86_64")]
        (Instructions::AvxVnni, _) if instructions.is_available() => &x86::AVX_VNNI,
        #[cfg(target_arch = "x86_64")]
        (Instructions::Avx2, _) if instructions.is_available() => &x86::AVX2,
        _ => &PLAIN,
    }
}
