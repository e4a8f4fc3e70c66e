//! The compiled tiles of each set of instructions.

#![expect(unsafe_code, reason = "tiles are functions that may be called on some processors only")]

use super::{
    Instructions,
    tile::{Kernel, Tile, compute},
};

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
        super::tile::{Form, Stored, WEIGHTS, compute_pairs, write_bytes, write_words},
        Kernel, Kernels, Tile, compute,
    };
    use crate::{BLOCK, amx};
    use std::mem::MaybeUninit;

    /// An entry that is compiled for a set of instructions.
    macro_rules! entry {
        ($name:ident, $compute:ident, $proof:ident, $features:literal) => {
            #[target_feature(enable = $features)]
            fn $name<const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize, const STEP: usize>(
                tile: &Tile,
            ) {
                // SAFETY: kernels are called where all sizes have been checked, and where this one was
                // chosen because the processor has the instructions.
                unsafe { $compute::<_, BLOCKS, PIXELS, WIDTH, STEP>($proof::assumed(), tile) }
            }
        };
    }
    entry!(avx2, compute_pairs, Avx2, "avx2,fma");
    entry!(avx_vnni, compute, AvxVnni, "avx2,fma,avxvnni");
    entry!(avx512, compute_pairs, Avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl");
    entry!(vnni, compute, Avx512Vnni, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");

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

    /// Five pixels are 10 sums. With a sixth, the compiler has no register left and keeps a sum in memory.
    pub(super) static AVX2: Kernels = Kernels {
        dense: row_kernels!(avx2, 1, 16: 1 2 3 4 5),
        halved: row_kernels!(avx2, 1, 32: 1 2 3 4 5),
        any: row_kernels!(avx2, 1, 0: 1 2 3 4 5),
        rows: None,
    };

    pub(super) static AVX_VNNI: Kernels = Kernels {
        dense: row_kernels!(avx_vnni, 1, 16: 1 2 3 4 5 6),
        halved: row_kernels!(avx_vnni, 1, 32: 1 2 3 4 5 6),
        any: row_kernels!(avx_vnni, 1, 0: 1 2 3 4 5 6),
        rows: None,
    };

    pub(super) static AVX512_ONE: Kernels = Kernels {
        dense: row_kernels!(avx512, 1, 16: 1 2 3 4 5 6 7 8 9 10 11 12),
        halved: row_kernels!(avx512, 1, 32: 1 2 3 4 5 6 7 8 9 10 11 12),
        any: row_kernels!(avx512, 1, 0: 1 2 3 4 5 6 7 8),
        rows: None,
    };

    pub(super) static AVX512_TWO: Kernels = Kernels {
        dense: row_kernels!(avx512, 2, 16: 1 2 3 4 5 6 7 8 9 10 11 12),
        halved: row_kernels!(avx512, 2, 32: 1 2 3 4 5 6 7 8 9 10 11 12),
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
