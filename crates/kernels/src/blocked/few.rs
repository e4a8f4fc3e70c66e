//! Up to three rows: each weight is taken where it is unpacked.

use std::ops::Range;

use super::{Matrix, unit_bytes, unpack::unit};
use crate::{
    BLOCK,
    buffer::Shared,
    isa::{Isa, Task},
};

/// Rows that are taken so, at most.
pub(super) const MOST: usize = 3;

/// The products of a few rows and some panels of 16 columns.
pub(super) struct Few<'a> {
    pub(super) matrix: &'a Matrix,
    /// All rows, and those of this thread.
    pub(super) rows: &'a [f32],
    pub(super) own: Range<usize>,
    pub(super) panels: Range<usize>,
    /// Whether there are 32 registers.
    pub(super) wide: bool,
    pub(super) output: Shared<'a>,
}

impl Few<'_> {
    /// `R` rows by `C` panels.
    #[inline(always)]
    fn tile<I: Isa, const BITS: usize, const R: usize, const C: usize>(&self, isa: I, panel: usize) {
        let matrix = self.matrix;
        let depth = matrix.depth;
        let mut rows = [std::ptr::null(); R];
        for (row, place) in rows.iter_mut().enumerate() {
            *place = self.rows[(self.own.start + row) * depth..][..depth].as_ptr();
        }
        let mut units = [std::ptr::null(); C];
        let mut sums = [[isa.splat(0.0); C]; R];
        for own in 0..C {
            units[own] = matrix.units::<BITS>(panel + own, 0).as_ptr();
            for sums in &mut sums {
                // SAFETY: the slice has 16 floats.
                sums[own] = unsafe { isa.load(matrix.bias[(panel + own) * BLOCK..][..BLOCK].as_ptr()) };
            }
        }
        let mut scales_and_zeros = [[isa.splat(0.0); 2]; C];
        for block in 0..matrix.blocks() {
            for (own, place) in scales_and_zeros.iter_mut().enumerate() {
                *place = matrix.scales_and_zeros(isa, panel + own, block);
            }
            let end = ((block + 1).saturating_mul(matrix.block)).min(depth);
            let pairs = end / 2 * 2;
            // SAFETY: each panel has a unit for two steps of the depth, and a row has all of these steps. A block begins at
            // an even one.
            unsafe {
                for step in (block * matrix.block..pairs).step_by(2) {
                    add::<I, BITS, R, C, 2>(isa, (&rows, &units, step), &scales_and_zeros, &mut sums);
                }
                if pairs < end {
                    add::<I, BITS, R, C, 1>(isa, (&rows, &units, pairs), &scales_and_zeros, &mut sums);
                }
            }
        }
        for (row, sums) in sums.into_iter().enumerate() {
            for (own, sum) in sums.into_iter().enumerate() {
                let column = (panel + own) * BLOCK;
                let used = BLOCK.min(matrix.columns - column);
                let mut lanes = [0.0_f32; BLOCK];
                // SAFETY: the array has 16 floats. The output has `used` numbers there, and they are this thread's.
                unsafe {
                    isa.store(sum, lanes.as_mut_ptr());
                    let target = self.output.pointer((self.own.start + row) * matrix.columns + column);
                    std::ptr::copy_nonoverlapping(lanes.as_ptr(), target, used);
                }
            }
        }
    }

    /// `R` rows by all panels, `C` at a time.
    #[inline(always)]
    fn rows<I: Isa, const BITS: usize, const R: usize, const C: usize>(&self, isa: I) {
        let mut panel = self.panels.start;
        while panel + C <= self.panels.end {
            self.tile::<I, BITS, R, C>(isa, panel);
            panel += C;
        }
        while panel < self.panels.end {
            self.tile::<I, BITS, R, 1>(isa, panel);
            panel += 1;
        }
    }

    #[inline(always)]
    fn all<I: Isa, const BITS: usize>(&self, isa: I) {
        match (self.own.len(), self.wide) {
            (1, true) => self.rows::<I, BITS, 1, 4>(isa),
            (2, true) => self.rows::<I, BITS, 2, 4>(isa),
            (3, true) => self.rows::<I, BITS, 3, 4>(isa),
            (1, false) => self.rows::<I, BITS, 1, 2>(isa),
            (2, false) => self.rows::<I, BITS, 2, 1>(isa),
            (3, false) => self.rows::<I, BITS, 3, 1>(isa),
            _ => {}
        }
    }
}

/// Adds the products of one or two steps.
///
/// # Safety
/// The rows have these steps, and each panel has a unit for them.
#[inline(always)]
unsafe fn add<I: Isa, const BITS: usize, const R: usize, const C: usize, const STEPS: usize>(
    isa: I,
    (rows, units, step): (&[*const f32; R], &[*const u8; C], usize),
    scales_and_zeros: &[[I::V; 2]; C],
    sums: &mut [[I::V; C]; R],
) {
    for own in 0..C {
        let [scales, zeros] = scales_and_zeros[own];
        // SAFETY: the caller says so.
        let numbers = unsafe { unit::<I, BITS>(isa, units[own].add(step / 2 * unit_bytes(BITS))) };
        for (second, number) in numbers.into_iter().enumerate().take(STEPS) {
            let weights = isa.multiply(isa.subtract(number, zeros), scales);
            for row in 0..R {
                // SAFETY: the caller says so.
                let value = isa.splat(unsafe { *rows[row].add(step + second) });
                sums[row][own] = isa.multiply_add(weights, value, sums[row][own]);
            }
        }
    }
}

impl Task for Few<'_> {
    type Output = ();

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) {
        if self.matrix.bits == 4 { self.all::<I, 4>(isa) } else { self.all::<I, 8>(isa) }
    }
}
