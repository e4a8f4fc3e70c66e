//! Questions in the order of features and thresholds: for one row, or a few.
//!
//! A row with the feature `x` gets a false answer to the questions of that feature with a smaller
//! threshold. These come first, so a walk along them strikes out leaves of many trees without asking.

use super::masks::Question;
use crate::Unfit;

/// The questions of one feature and one way with a missing feature.
#[derive(Clone, Copy, Debug, Default)]
struct List {
    start: usize,
    end: usize,
}

/// All questions of some trees.
#[derive(Debug, Default)]
pub struct Order {
    thresholds: Vec<f32>,
    /// The tree of each question.
    trees: Vec<u32>,
    keeps: Vec<u64>,
    /// By column: questions that count a missing feature as false, and as true.
    lists: Vec<[List; 2]>,
}

impl Order {
    /// Of questions and their trees.
    ///
    /// # Errors
    /// A threshold that is not a number.
    pub fn new(mut questions: Vec<(u32, Question)>) -> Result<Self, Unfit> {
        if questions.iter().any(|(_, question)| question.threshold.is_nan()) {
            return Err(Unfit("thresholds of trees"));
        }
        let key = |question: &Question| (question.column, question.missing_is_true);
        questions.sort_by(|(_, left), (_, right)| {
            key(left).cmp(&key(right)).then(left.threshold.total_cmp(&right.threshold))
        });
        let mut order = Self::default();
        for (tree, question) in questions {
            let column = question.column as usize;
            let own = order.thresholds.len();
            if order.lists.len() <= column {
                order.lists.resize(column + 1, [List { start: own, end: own }; 2]);
            }
            let list = &mut order.lists[column][usize::from(question.missing_is_true)];
            if list.start == list.end {
                list.start = own;
            }
            list.end = own + 1;
            order.thresholds.push(question.threshold);
            order.trees.push(tree);
            order.keeps.push(question.keep);
        }
        Ok(order)
    }

    /// Strikes out the leaves of each tree that a row can't reach: the first bit that is left is its leaf.
    /// `features` says which feature of the row each column is; one that is not there counts as missing.
    // A function of its own, as its loop needs all registers.
    #[inline(never)]
    pub fn strike(&self, row: &[f32], features: &[u32], left: &mut [u64]) {
        for (lists, feature) in self.lists.iter().zip(features) {
            let value = row.get(*feature as usize).copied().unwrap_or(f32::NAN);
            let [counts_as_false, counts_as_true] = lists.map(|List { start, end }| start..end);
            let below = |threshold: &f32| *threshold < value;
            let struck = [
                match value.is_nan() {
                    true => counts_as_false.len(),
                    false => self.thresholds[counts_as_false.clone()].partition_point(below),
                },
                self.thresholds[counts_as_true.clone()].partition_point(below),
            ];
            for (list, count) in [counts_as_false, counts_as_true].into_iter().zip(struck) {
                let (trees, keeps) = (&self.trees[list.clone()][..count], &self.keeps[list][..count]);
                for (tree, keep) in trees.iter().zip(keeps) {
                    if let Some(left) = left.get_mut(*tree as usize) {
                        *left &= keep;
                    }
                }
            }
        }
    }
}
