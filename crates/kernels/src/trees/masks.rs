//! Trees of at most 64 leaves as masks of leaves.
//!
//! The leaves of a tree are numbered from left to right, where left is the way of a true answer. A false
//! answer strikes out the leaves on the left of its branch. The first leaf that is left at the end is the
//! one that a walk would reach: each leaf before it was struck out by the branch at which their paths part
//! (C. Lucchese et al., "QuickScorer", SIGIR 2015). All questions are asked, so nothing depends on the
//! order of the answers, and 16 rows are asked at once.

#![expect(unsafe_code, reason = "loads and stores through pointers")]

use std::ops::Range;

use super::lanes::{Lanes, Task, dispatch};
use crate::{Level, Unfit};

/// Rows of a block: the features of a block are in the order feature, row.
pub const ROWS: usize = 64;

/// Rows that a vector has.
const LANES: usize = 16;

/// The most leaves of a tree.
pub const LEAVES: usize = 64;

/// A question, and the leaves that a false answer leaves.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    pub threshold: f32,
    /// The feature's place in a block.
    pub column: u32,
    pub missing_is_true: bool,
    /// A bit for each leaf.
    pub keep: u64,
}

/// [`Question`], as the kernel reads it.
#[derive(Clone, Copy, Debug)]
struct Split {
    threshold: f32,
    column: u32,
    keep: [u32; 2],
}

#[derive(Clone, Debug)]
struct Tree {
    /// Those by which a missing feature counts as false, then the others.
    splits: Range<usize>,
    missing_from: usize,
    /// Whether it has more than 32 leaves.
    large: bool,
    /// Where its values begin, 32 or 64 of them.
    values: usize,
}

/// Trees of at most [`LEAVES`] leaves.
#[derive(Debug, Default)]
pub struct Masks {
    splits: Vec<Split>,
    trees: Vec<Tree>,
    values: Vec<f32>,
    columns: usize,
}

impl Masks {
    /// Adds a tree of at most [`LEAVES`] leaves, with the value of each.
    ///
    /// # Errors
    /// More leaves.
    pub fn push(&mut self, questions: &[Question], values: &[f32]) -> Result<(), Unfit> {
        if values.is_empty() || values.len() > LEAVES {
            return Err(Unfit("a tree of masks"));
        }
        let start = self.splits.len();
        for missing_is_true in [false, true] {
            let own = questions.iter().filter(|question| question.missing_is_true == missing_is_true);
            for Question { threshold, column, keep, .. } in own.copied() {
                self.columns = self.columns.max(column as usize + 1);
                self.splits.push(Split { threshold, column, keep: [keep as u32, (keep >> 32) as u32] });
            }
        }
        let large = values.len() > 32;
        let before = questions.iter().filter(|question| !question.missing_is_true).count();
        let place = self.values.len();
        self.values.extend_from_slice(values);
        self.values.resize(place + if large { 64 } else { 32 }, 0.0);
        let splits = start..self.splits.len();
        self.trees.push(Tree { splits, missing_from: start + before, large, values: place });
        Ok(())
    }

    /// How many floats a block has: 64 for each column, and for one at least.
    pub fn block_len(&self) -> usize {
        self.columns.max(1) * ROWS
    }

    /// Adds to each row's sum the value of its leaf, tree after tree. `targets` names the sums that each
    /// tree adds to; `sums` is in the order target, row of the block. The first `rows` rows are computed.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn add(
        &self,
        level: Level,
        trees: Range<usize>,
        targets: &[u32],
        (block, rows): (&[f32], usize),
        sums: &mut [f32],
    ) -> Result<(), Unfit> {
        let count = trees.len();
        let trees = self.trees.get(trees).ok_or(Unfit("trees of masks"))?;
        let fits = targets.len() == count
            && targets.iter().all(|target| (*target as usize + 1) * ROWS <= sums.len())
            && rows <= ROWS
            && block.len() >= self.block_len();
        if !fits {
            return Err(Unfit("sums of trees"));
        }
        dispatch(level, Sums { masks: self, trees, targets, block, rows, sums });
        Ok(())
    }

    /// The value of a leaf of a tree.
    pub fn value(&self, tree: usize, leaf: u32) -> f32 {
        self.values[self.trees[tree].values + leaf as usize]
    }

    /// The leaf of a tree that each of the first `rows` rows of a block reaches, from left to right.
    ///
    /// # Errors
    /// Buffers that do not fit.
    pub fn leaves(
        &self,
        level: Level,
        tree: usize,
        (block, rows): (&[f32], usize),
        leaves: &mut [u32; ROWS],
    ) -> Result<(), Unfit> {
        let tree = self.trees.get(tree).ok_or(Unfit("trees of masks"))?;
        if rows > ROWS || block.len() < self.block_len() {
            return Err(Unfit("leaves of trees"));
        }
        dispatch(level, Leaves { masks: self, tree, block, rows, leaves });
        Ok(())
    }

    /// Gives `sink` the leaves of 16 rows at a time, and the first of these rows.
    #[inline(always)]
    fn each<L: Lanes, S: Sink>(&self, lanes: L, tree: &Tree, block: &[f32], rows: usize, sink: &mut S) {
        if tree.large {
            self.each_of_words::<L, S, 2>(lanes, tree, block, rows, sink);
        } else {
            self.each_of_words::<L, S, 1>(lanes, tree, block, rows, sink);
        }
    }

    #[inline(always)]
    fn each_of_words<L: Lanes, S: Sink, const W: usize>(
        &self,
        lanes: L,
        tree: &Tree,
        block: &[f32],
        rows: usize,
        sink: &mut S,
    ) {
        let groups = rows.div_ceil(LANES);
        let mut group = 0;
        while group < groups {
            let from = &block[group * LANES..];
            macro_rules! together {
                ($count:literal) => {
                    for words in self.ask::<L, W, $count>(lanes, tree, from) {
                        sink.take::<L, W>(lanes, words, group * LANES);
                        group += 1;
                    }
                };
            }
            match groups - group {
                4.. if L::GROUPS >= 4 => together!(4),
                2.. if L::GROUPS >= 2 => together!(2),
                _ => together!(1),
            }
        }
    }

    /// The leaves of `G` times 16 rows, in a tree of at most 32 times `W` leaves.
    #[inline(always)]
    fn ask<L: Lanes, const W: usize, const G: usize>(
        &self,
        lanes: L,
        tree: &Tree,
        block: &[f32],
    ) -> [L::Words; G] {
        let mut left = [[lanes.ones(); W]; G];
        let (first, second) = (
            &self.splits[tree.splits.start..tree.missing_from],
            &self.splits[tree.missing_from..tree.splits.end],
        );
        macro_rules! strike {
            ($splits:expr, $missing:literal) => {
                for split in $splits {
                    // Its 16 G rows from here on: `add` and `leaves` checked all columns of the block.
                    let from = block.as_ptr().wrapping_add(split.column as usize * ROWS);
                    for (group, left) in left.iter_mut().enumerate() {
                        // SAFETY: the group is within the 64 rows of the column.
                        let is_false = unsafe {
                            lanes.exceeding::<$missing>(from.wrapping_add(group * LANES), split.threshold)
                        };
                        for (words, keep) in left.iter_mut().zip(split.keep) {
                            *words = lanes.keep(*words, is_false, keep);
                        }
                    }
                }
            };
        }
        strike!(first, false);
        strike!(second, true);
        let mut leaves = [lanes.ones(); G];
        for (leaf, left) in leaves.iter_mut().zip(left) {
            *leaf = lanes.first::<W>(left);
        }
        leaves
    }
}

/// The use of leaves. `take` must be inlined to be compiled for the instructions.
trait Sink {
    fn take<L: Lanes, const W: usize>(&mut self, lanes: L, leaves: L::Words, row: usize);
}

struct Sums<'a> {
    masks: &'a Masks,
    trees: &'a [Tree],
    targets: &'a [u32],
    block: &'a [f32],
    rows: usize,
    sums: &'a mut [f32],
}

/// The values of a tree's leaves, 32 or 64 of them, and a target's sums.
struct Values<'a> {
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl Sink for Values<'_> {
    #[inline(always)]
    fn take<L: Lanes, const W: usize>(&mut self, lanes: L, leaves: L::Words, row: usize) {
        // SAFETY: a tree of `W` words has 32 `W` values, as `push` sees to; `row` and the 15 rows after it are
        // within the 64 sums.
        unsafe { lanes.add_values::<W>(leaves, self.values.as_ptr(), self.sums.as_mut_ptr().add(row)) };
    }
}

impl Task for Sums<'_> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        for (tree, target) in self.trees.iter().zip(self.targets) {
            let values = &self.masks.values[tree.values..];
            let sums = &mut self.sums[*target as usize * ROWS..][..ROWS];
            self.masks.each(lanes, tree, self.block, self.rows, &mut Values { values, sums });
        }
    }
}

struct Leaves<'a> {
    masks: &'a Masks,
    tree: &'a Tree,
    block: &'a [f32],
    rows: usize,
    leaves: &'a mut [u32; ROWS],
}

impl Sink for &mut [u32; ROWS] {
    #[inline(always)]
    fn take<L: Lanes, const W: usize>(&mut self, lanes: L, leaves: L::Words, row: usize) {
        if let Some(target) = self.get_mut(row..row + LANES) {
            // SAFETY: the slice has 16 words.
            unsafe { lanes.store(leaves, target.as_mut_ptr()) };
        }
    }
}

impl Task for Leaves<'_> {
    #[inline(always)]
    fn run<L: Lanes>(mut self, lanes: L) {
        self.masks.each(lanes, self.tree, self.block, self.rows, &mut self.leaves);
    }
}
