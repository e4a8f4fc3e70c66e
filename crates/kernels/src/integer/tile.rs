//! The innermost loops of a convolution of bytes: a tile of output pixels by one or two blocks of output
//! channels.
//!
//! As [`crate::tile`], but four input channels go by at once: their bytes are the same for all 16 output
//! channels of a block, which have four weights each.

#![expect(unsafe_code, reason = "the innermost loops read and write through pointers")]

use std::mem::MaybeUninit;

use super::{
    GROUP,
    finish::{Addition, RealPointers, add, round},
    instructions::{Integers, Pairs},
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
    /// From the input of a pixel to that of its right neighbour, for kernels of any step.
    pub(super) step: usize,
    /// From the input of a row of pixels to that of the row below it, for tiles of several rows.
    pub(super) input_row: usize,
    /// `[pass][input block][window row][window column][group][block][output channel][4]`: a group is four input
    /// channels.
    pub(super) weights: *const u8,
    /// How often the input goes by: more than once where weights are sums of several numbers of int8.
    pub(super) passes: usize,
    /// Groups of input channels of all blocks but the last.
    pub(super) groups: usize,
    /// Groups of input channels of the last block.
    pub(super) last_groups: usize,
    /// How far each place of the window is from the first one, in each block of input channels.
    pub(super) places: *const usize,
    /// How many there are in all blocks.
    pub(super) place_count: usize,
    /// How many are in the last block.
    pub(super) last_places: usize,
    /// The patches, which are added apart, for sets of instructions whose products are [`Pairs`].
    pub(super) patches: Patches,
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

/// Bytes of the input whose products with some weights are added apart.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patch {
    /// Where they are, from the first place of the window on, in bytes.
    pub(super) offset: usize,
    /// Whether the sums of 16 bits are added to the others now.
    pub(super) is_last: bool,
}

/// Registers of sums of a pixel, at most.
pub(super) const UNITS: usize = 2;

/// The patches of a panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patches {
    /// Those of the first register of sums come first.
    pub(super) list: *const Patch,
    /// Where those of each register end.
    pub(super) ends: [usize; UNITS],
    /// Whether they have 16 bytes, not four.
    pub(super) has_sixteen: bool,
    /// Of each patch the places of four bytes for each sum, then their weights.
    pub(super) numbers: *const u8,
}

impl Patches {
    pub(super) const NONE: Self =
        Self { list: std::ptr::null(), ends: [0; UNITS], has_sixteen: true, numbers: std::ptr::null() };
}

/// Computes a tile.
pub(super) type Kernel = unsafe fn(&Tile);

/// `PIXELS` outputs in rows of `WIDTH`, whose inputs are `STEP` bytes apart (0: what the tile says), by
/// `BLOCKS` blocks of channels.
///
/// # Safety
/// Everything that the tile's sizes reach from its pointers can be read, and its outputs can be written.
#[inline(always)]
pub(super) unsafe fn compute<
    I: Integers,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
>(
    isa: I,
    tile: &Tile,
) {
    // SAFETY: the caller says so.
    unsafe {
        let sums = begin::<I, BLOCKS, PIXELS>(isa, tile);
        let sums = multiply::<I, BLOCKS, PIXELS, WIDTH, STEP>(isa, tile, sums);
        end::<I, BLOCKS, PIXELS, WIDTH>(isa, tile, sums);
    }
}

/// As [`compute`], for products whose sums have 16 bits.
///
/// # Safety
/// The same.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "other processors have no such products"))]
#[inline(always)]
pub(super) unsafe fn compute_pairs<
    I: Pairs,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
>(
    isa: I,
    tile: &Tile,
) {
    // SAFETY: the caller says so.
    unsafe {
        // Where the distance of pixels is known, they are in blocks.
        let sums = if STEP != 0 || tile.patches.has_sixteen {
            begin_with_patches::<I, BLOCKS, PIXELS, WIDTH, STEP, true>(isa, tile)
        } else {
            begin_with_patches::<I, BLOCKS, PIXELS, WIDTH, STEP, false>(isa, tile)
        };
        let sums = multiply::<I, BLOCKS, PIXELS, WIDTH, STEP>(isa, tile, sums);
        end::<I, BLOCKS, PIXELS, WIDTH>(isa, tile, sums);
    }
}

/// The sums of a tile.
type TileSums<I, const BLOCKS: usize, const PIXELS: usize> = [[<I as Integers>::Sums; BLOCKS]; PIXELS];

/// The summands of the output channels.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn begin<I: Integers, const BLOCKS: usize, const PIXELS: usize>(
    isa: I,
    tile: &Tile,
) -> TileSums<I, BLOCKS, PIXELS> {
    let mut sums = [[isa.splat(0); BLOCKS]; PIXELS];
    for block in 0..BLOCKS {
        // SAFETY: the bias has 16 integers for each block.
        let bias = unsafe { isa.load(tile.bias.add(block * BLOCK)) };
        for sums in &mut sums {
            sums[block] = bias;
        }
    }
    sums
}

/// The summands of the output channels, and to each the products of its patches.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn begin_with_patches<
    I: Pairs,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
    const SIXTEEN: bool,
>(
    isa: I,
    tile: &Tile,
) -> TileSums<I, BLOCKS, PIXELS> {
    let step = if STEP == 0 { tile.step } else { STEP };
    // SAFETY: as the caller says.
    let mut sums = unsafe { begin::<I, BLOCKS, PIXELS>(isa, tile) };
    if tile.patches.ends[UNITS - 1] == 0 {
        return sums;
    }
    let mut stored = [[const { MaybeUninit::<Stored>::uninit() }; BLOCKS]; PIXELS];
    for (stored, sums) in stored.iter_mut().zip(sums) {
        for (stored, sum) in stored.iter_mut().zip(sums) {
            // SAFETY: there is room for 16 integers.
            unsafe { isa.store(sum, stored.as_mut_ptr().cast()) };
        }
    }
    let Patches { list, ends, mut numbers, .. } = tile.patches;
    let first = stored.as_mut_ptr().cast::<i32>();
    let (mut register, mut number) = (0, 0);
    // One register of sums after the other, so that those of all pixels stay in registers of the processor. The sums
    // stay in memory, as the compiler does not know which of them come next.
    while number < ends[UNITS - 1] {
        while ends[register] <= number {
            register += 1;
        }
        let mut products = [isa.no_products(); PIXELS];
        let mut is_last = false;
        while !is_last {
            // SAFETY: there are as many patches, and one is the last of each run.
            let patch = unsafe { *list.add(number) };
            let bytes = tile.input.wrapping_add(patch.offset);
            // SAFETY: a patch has four places and four weights for each sum.
            let taken = unsafe { isa.taken(numbers) };
            for (pixel, products) in products.iter_mut().enumerate() {
                let place = pixel / WIDTH * tile.input_row + pixel % WIDTH * step;
                let bytes = bytes.wrapping_add(place);
                // SAFETY: the patch is within a pixel of the input.
                let source = unsafe { if SIXTEEN { isa.sixteen(bytes) } else { isa.four(bytes) } };
                *products = isa.add_products(*products, source, taken);
            }
            numbers = numbers.wrapping_add(2 * GROUP * I::LANES);
            number += 1;
            is_last = patch.is_last;
        }
        for (pixel, products) in products.into_iter().enumerate() {
            // SAFETY: each pixel has 16 sums for each block, and patches are of registers that there are.
            unsafe { isa.add_pairs(products, first.add(pixel * BLOCKS * BLOCK + register * I::LANES)) };
        }
    }
    for (stored, sums) in stored.iter().zip(&mut sums) {
        for (stored, sum) in stored.iter().zip(sums) {
            // SAFETY: there are 16 integers.
            *sum = unsafe { isa.load(stored.as_ptr().cast()) };
        }
    }
    sums
}

/// The sums, and to each the products of its weights.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn multiply<
    I: Integers,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
    const STEP: usize,
>(
    isa: I,
    tile: &Tile,
    mut sums: TileSums<I, BLOCKS, PIXELS>,
) -> TileSums<I, BLOCKS, PIXELS> {
    let step = if STEP == 0 { tile.step } else { STEP };
    let mut weights = tile.weights;
    // The places of the last block may have fewer groups.
    let full = tile.place_count - tile.last_places;
    for _ in 0..tile.passes {
        for number in 0..tile.place_count {
            // SAFETY: there are as many places.
            let mut bytes = tile.input.wrapping_add(unsafe { *tile.places.add(number) });
            let groups = if number < full { tile.groups } else { tile.last_groups };
            for _ in 0..groups {
                // SAFETY: there are 64 bytes of weights for each block, group and place.
                let mut loaded = [unsafe { isa.factors(weights) }; BLOCKS];
                for (block, loaded) in loaded.iter_mut().enumerate().skip(1) {
                    // SAFETY: the same.
                    *loaded = unsafe { isa.factors(weights.add(block * WEIGHTS)) };
                }
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
        }
    }
    sums
}

/// Writes what the sums become.
///
/// # Safety
/// As of [`compute`].
#[inline(always)]
unsafe fn end<I: Integers, const BLOCKS: usize, const PIXELS: usize, const WIDTH: usize>(
    isa: I,
    tile: &Tile,
    sums: TileSums<I, BLOCKS, PIXELS>,
) {
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
pub(super) unsafe fn write_bytes<
    I: Integers,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
>(
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
pub(super) unsafe fn write_words<
    I: Integers,
    const BLOCKS: usize,
    const PIXELS: usize,
    const WIDTH: usize,
>(
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
pub(super) struct Stored {
    _sums: [i32; BLOCK],
}
