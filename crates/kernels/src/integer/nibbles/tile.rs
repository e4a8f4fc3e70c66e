//! The innermost loop of a product with numbers of 4 bits: a tile of some rows by one or two blocks of 16 columns.

#![expect(unsafe_code, reason = "the innermost loop reads and writes through pointers")]

use super::{
    operations::{Nibbles, UNIT, WIDENED},
    rows::Layout,
};
use crate::{
    BLOCK,
    integer::instructions::{Instructions, plain::Plain},
    isa::Isa,
};

/// Bytes of the scales of a block of 16 columns.
pub(super) const SCALES: usize = 4 * BLOCK;

/// A tile: where its numbers are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tile {
    /// The first row, and its layout. Other rows follow.
    pub(super) rows: *const u8,
    pub(super) layout: Layout,
    /// `[block]` of scales and units, for 16 columns.
    pub(super) panel: *const u8,
    /// From a panel to the next.
    pub(super) panel_step: usize,
    /// `[block][column]`: the zeros, or null where all are 8.
    pub(super) zeros: *const u8,
    /// From the zeros of a panel to those of the next.
    pub(super) zeros_step: usize,
    /// The summand of each column.
    pub(super) bias: *const f32,
    pub(super) output: *mut f32,
    /// From a row of the output to the next, in floats.
    pub(super) output_step: usize,
}

/// Computes a tile.
pub(super) type Kernel = unsafe fn(&Tile);

/// The sum of a block is exact. The sums of the blocks, each by both scales, are added in their order, every one
/// with one rounding; the bias comes last.
///
/// # Safety
/// All that the layout and the sizes reach can be read, and the outputs can be written.
#[inline(always)]
unsafe fn compute<I: Nibbles, const BLOCKS: usize, const ROWS: usize>(isa: I, tile: &Tile) {
    let floats = isa.isa();
    let layout = tile.layout;
    let (step, units) = (layout.step(), layout.block / 8);
    let mut totals = [[floats.splat(0.0); BLOCKS]; ROWS];
    let (mut panel, mut left) = (tile.panel, tile.rows);
    for block in 0..layout.blocks() {
        let mut scales = [0.0_f32; ROWS];
        let mut sums = [[isa.splat(0); BLOCKS]; ROWS];
        let mut less = [0_i32; ROWS];
        for row in 0..ROWS {
            // SAFETY: each row has a note of each block.
            (scales[row], less[row]) = unsafe { layout.note(tile.rows.add(row * step), block) };
        }
        if tile.zeros.is_null() {
            for (sums, less) in sums.iter_mut().zip(less) {
                *sums = [isa.splat(8 * less); BLOCKS];
            }
        } else {
            for column in 0..BLOCKS {
                // SAFETY: there are zeros for each block of each panel.
                let zeros = unsafe { isa.widen(tile.zeros.add(column * tile.zeros_step + block * BLOCK)) };
                for (sums, less) in sums.iter_mut().zip(less) {
                    sums[column] = isa.times(zeros, less as i16);
                }
            }
        }
        let mut numbers = panel.wrapping_add(SCALES);
        let mut rest = units;
        while rest > 0 {
            let now = rest.min(WIDENED);
            // Plain loops: a function of the library is a call here, with all sums in memory.
            let mut partial = [[isa.begin(isa.splat(0)); BLOCKS]; ROWS];
            for (partial, sums) in partial.iter_mut().zip(&sums) {
                for (partial, sum) in partial.iter_mut().zip(sums) {
                    *partial = isa.begin(*sum);
                }
            }
            for _ in 0..now {
                // SAFETY: each block has as many units.
                let mut fours = [unsafe { isa.fours(numbers) }; BLOCKS];
                for (column, fours) in fours.iter_mut().enumerate().skip(1) {
                    // SAFETY: the same.
                    *fours = unsafe { isa.fours(numbers.wrapping_add(column * tile.panel_step)) };
                }
                for (row, partial) in partial.iter_mut().enumerate() {
                    // SAFETY: a row has eight numbers for each unit.
                    let (first, second) = unsafe {
                        let left = left.wrapping_add(row * step);
                        (isa.left(left), isa.left(left.add(4)))
                    };
                    for (partial, fours) in partial.iter_mut().zip(fours) {
                        *partial = isa.multiply(*partial, fours[0], first);
                        *partial = isa.multiply(*partial, fours[1], second);
                    }
                }
                numbers = numbers.wrapping_add(UNIT);
                left = left.wrapping_add(8);
            }
            for (sums, partial) in sums.iter_mut().zip(partial) {
                for (sum, partial) in sums.iter_mut().zip(partial) {
                    *sum = isa.end(*sum, partial);
                }
            }
            rest -= now;
        }
        for column in 0..BLOCKS {
            // SAFETY: each block of each panel begins with 16 scales.
            let own = unsafe { floats.load(panel.wrapping_add(column * tile.panel_step).cast()) };
            for row in 0..ROWS {
                let scale = floats.multiply(own, floats.splat(scales[row]));
                totals[row][column] = isa.fused(isa.to_floats(sums[row][column]), scale, totals[row][column]);
            }
        }
        panel = numbers;
    }
    for (row, totals) in totals.into_iter().enumerate() {
        for (column, total) in totals.into_iter().enumerate() {
            // SAFETY: the bias has 16 floats for each block of columns, and the output has room for the tile.
            unsafe {
                let bias = floats.load(tile.bias.add(column * BLOCK));
                let output = tile.output.add(row * tile.output_step + column * BLOCK);
                floats.store(floats.add(total, bias), output);
            }
        }
    }
}

/// The kernels of a set of instructions.
#[derive(Debug)]
pub(super) struct Kernels {
    /// For 1, 2, … rows by [`Kernels::blocks`] blocks of columns.
    pub(super) rows: &'static [Kernel],
    /// The same by one block, where `rows` takes two.
    pub(super) narrow: &'static [Kernel],
    pub(super) blocks: usize,
}

/// Kernels of an entry for these numbers of rows.
macro_rules! row_kernels {
    ($entry:ident, $blocks:literal: $($rows:literal)*) => {
        &[$( $entry::<$blocks, $rows> as Kernel ),*]
    };
}

fn plain<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
    // SAFETY: kernels are called where all sizes have been checked.
    unsafe { compute::<_, BLOCKS, ROWS>(Plain, tile) }
}

static PLAIN: Kernels =
    Kernels { rows: row_kernels!(plain, 1: 1 2), narrow: row_kernels!(plain, 1: 1 2), blocks: 1 };

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::{Kernel, Kernels, Tile, compute};
    use crate::integer::instructions::{
        avx2::{Avx2, AvxVnni},
        avx512::{Avx512, Avx512Vnni},
    };

    /// An entry that is compiled for a set of instructions.
    macro_rules! entry {
        ($name:ident, $proof:ident, $features:literal) => {
            #[target_feature(enable = $features)]
            fn $name<const BLOCKS: usize, const ROWS: usize>(tile: &Tile) {
                // SAFETY: kernels are called where all sizes have been checked, and where this one was
                // chosen because the processor has the instructions.
                unsafe { compute::<_, BLOCKS, ROWS>($proof::assumed(), tile) }
            }
        };
    }

    entry!(avx2, Avx2, "avx2,fma");
    entry!(avx_vnni, AvxVnni, "avx2,fma,avxvnni");
    entry!(avx512, Avx512, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl");
    entry!(vnni, Avx512Vnni, "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512vnni");

    pub(super) static AVX2: Kernels =
        Kernels { rows: row_kernels!(avx2, 1: 1 2 3 4), narrow: row_kernels!(avx2, 1: 1 2 3 4), blocks: 1 };
    pub(super) static AVX_VNNI: Kernels = Kernels {
        rows: row_kernels!(avx_vnni, 1: 1 2 3 4),
        narrow: row_kernels!(avx_vnni, 1: 1 2 3 4),
        blocks: 1,
    };
    pub(super) static AVX512: Kernels = Kernels {
        rows: row_kernels!(avx512, 2: 1 2 3 4),
        narrow: row_kernels!(avx512, 1: 1 2 3 4),
        blocks: 2,
    };
    pub(super) static VNNI: Kernels = Kernels {
        rows: row_kernels!(vnni, 2: 1 2 3 4 5 6),
        narrow: row_kernels!(vnni, 1: 1 2 3 4 5 6),
        blocks: 2,
    };
}

/// The kernels of a set of instructions.
pub(super) fn kernels(instructions: Instructions) -> &'static Kernels {
    match instructions {
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512Vnni if instructions.is_available() => &x86::VNNI,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 if instructions.is_available() => &x86::AVX512,
        #[cfg(target_arch = "x86_64")]
        Instructions::AvxVnni if instructions.is_available() => &x86::AVX_VNNI,
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 if instructions.is_available() => &x86::AVX2,
        _ => &PLAIN,
    }
}
