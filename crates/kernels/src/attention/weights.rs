//! The softmax of a row of scores, a block of keys at a time.

use super::{
    super::{
        BLOCK,
        isa::{Isa, Task},
    },
    mask::Line,
};

/// Below this the exponential function is taken for zero.
const LOWEST: f32 = -87.0;

/// Makes weights of a row of scores: their exponentials, by the largest score so far.
pub(super) struct Weigh<'a> {
    pub(super) scores: *mut f32,
    /// From a block of 16 scores to the next.
    pub(super) step: usize,
    /// How many scores there are. There is room for whole blocks of 16.
    pub(super) count: usize,
    pub(super) line: Line<'a>,
    /// The largest score before these.
    pub(super) largest: f32,
}

/// The result so far.
pub(super) struct Weighed {
    /// The largest score, these included.
    pub(super) largest: f32,
    /// By what earlier weights are to be multiplied.
    pub(super) factor: f32,
    /// The sum of the weights.
    pub(super) total: f32,
}

impl Task for Weigh<'_> {
    type Output = Weighed;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Weighed {
        let blocks = self.count.div_ceil(BLOCK);
        let mut behind = [0.0; BLOCK];
        behind
            .iter_mut()
            .skip(self.count - (blocks - 1) * BLOCK)
            .for_each(|value| *value = f32::NEG_INFINITY);
        let mut highest = isa.splat(self.largest);
        for block in 0..blocks {
            let place = self.scores.wrapping_add(block * self.step);
            // SAFETY: the maker of the task says that there are 16 scores in each block, and as many numbers
            // of the mask.
            unsafe {
                let mut score = isa.load(place);
                if let Some(gone) = self.line.gone {
                    let gone = isa.load(gone.as_ptr().add(block * BLOCK));
                    score = isa.where_negative(gone, isa.splat(self.line.other), score);
                }
                if let Some(added) = self.line.added {
                    score = isa.add(score, isa.load(added.as_ptr().add(block * BLOCK)));
                } else if block + 1 == blocks {
                    score = isa.add(score, isa.load(behind.as_ptr()));
                }
                isa.store(score, place);
                // A score that is not a number does not count here; it makes the total one that is not.
                highest = isa.at_least(highest, score);
            }
        }
        let mut lanes = [0.0; BLOCK];
        // SAFETY: the array has 16 floats.
        unsafe { isa.store(highest, lanes.as_mut_ptr()) };
        let largest = lanes.into_iter().fold(f32::NEG_INFINITY, f32::max);
        // Where nothing was seen yet, the exponentials are those of negative infinities.
        let base = if largest == f32::NEG_INFINITY { 0.0 } else { largest };
        let (middle, lowest, zero) = (isa.splat(base), isa.splat(-LOWEST), isa.splat(0.0));
        let mut total = zero;
        for block in 0..blocks {
            let place = self.scores.wrapping_add(block * self.step);
            // SAFETY: as above.
            unsafe {
                let score = isa.subtract(isa.load(place), middle);
                let weight = isa.where_negative(isa.add(score, lowest), zero, isa.exponential(score));
                isa.store(weight, place);
                total = isa.add(total, weight);
            }
        }
        // SAFETY: the array has 16 floats.
        unsafe { isa.store(total, lanes.as_mut_ptr()) };
        for half in [8, 4, 2, 1] {
            for lane in 0..half {
                lanes[lane] += lanes[lane + half];
            }
        }
        let factor = if self.largest == largest { 1.0 } else { (self.largest - base).exp() };
        Weighed { largest, factor, total: lanes[0] }
    }
}
