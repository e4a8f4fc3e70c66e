//! Numbers of 4 or 8 bits become weights.

use super::{Kept, Matrix, unit_bytes};
use crate::{
    BLOCK,
    isa::{Isa, Task},
};

/// The two numbers of each column of a unit.
///
/// # Safety
/// The unit can be read.
#[inline(always)]
pub(super) unsafe fn unit<I: Isa, const BITS: usize>(isa: I, from: *const u8) -> [I::V; 2] {
    // SAFETY: the caller says so: a unit is 16 bytes for 4 bits, and 32 for 8.
    unsafe {
        if BITS == 4 { isa.nibbles(from) } else { [isa.bytes(from), isa.bytes(from.wrapping_add(BLOCK))] }
    }
}

impl Matrix {
    /// The units of a panel of 16 columns, from this step on, which is even.
    #[inline(always)]
    pub(super) fn units<const BITS: usize>(&self, panel: usize, step: usize) -> &[u8] {
        let unit = unit_bytes(BITS);
        let units = self.depth.div_ceil(2);
        &self.numbers.bytes()[(panel * units + step / 2) * unit..(panel + 1) * units * unit]
    }

    /// The scales and the zeros of a block of 16 columns.
    #[inline(always)]
    pub(super) fn scales_and_zeros<I: Isa>(&self, isa: I, panel: usize, block: usize) -> [I::V; 2] {
        let place = (panel * self.blocks() + block) * BLOCK;
        // SAFETY: the slices have 16 numbers.
        unsafe {
            let scales = isa.load(self.scales[place..][..BLOCK].as_ptr());
            let zeros = match &self.zeros {
                Kept::One(zero) => isa.splat(*zero),
                Kept::Bytes(zeros) => isa.bytes(zeros[place..][..BLOCK].as_ptr()),
                Kept::Floats(zeros) => isa.load(zeros[place..][..BLOCK].as_ptr()),
            };
            [scales, zeros]
        }
    }
}

/// Unpacks steps of one or two panels of 16 columns, in the order of the tiles: `[step][column]`.
pub(super) struct Unpack<'a> {
    pub(super) matrix: &'a Matrix,
    /// The place of the first panel in the matrix.
    pub(super) panel: usize,
    /// The first step, which is even.
    pub(super) start: usize,
    pub(super) steps: usize,
    /// As many floats as steps by columns.
    pub(super) target: &'a mut [f32],
}

impl Unpack<'_> {
    #[inline(always)]
    fn all<I: Isa, const BITS: usize>(&mut self, isa: I) {
        let Self { matrix, panel, start, steps, ref mut target } = *self;
        let (width, end) = (target.len() / steps, start + steps);
        for own in 0..width / BLOCK {
            let mut step = start;
            while step < end {
                let stop = (step / matrix.block + 1).saturating_mul(matrix.block).min(end);
                let [scales, zeros] = matrix.scales_and_zeros(isa, panel + own, step / matrix.block);
                let units = matrix.units::<BITS>(panel + own, step);
                let rows = target[(step - start) * width..(stop - start) * width].chunks_mut(2 * width);
                for (unit_of, rows) in units.chunks_exact(unit_bytes(BITS)).zip(rows) {
                    // SAFETY: it is a unit.
                    let numbers = unsafe { unit::<I, BITS>(isa, unit_of.as_ptr()) };
                    for (number, row) in numbers.into_iter().zip(rows.chunks_exact_mut(width)) {
                        let weights = isa.multiply(isa.subtract(number, zeros), scales);
                        // SAFETY: the slice has 16 floats.
                        unsafe { isa.store(weights, row[own * BLOCK..][..BLOCK].as_mut_ptr()) };
                    }
                }
                step = stop;
            }
        }
    }
}

impl Task for Unpack<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(mut self, isa: I) {
        if self.matrix.bits == 4 { self.all::<I, 4>(isa) } else { self.all::<I, 8>(isa) }
    }
}
