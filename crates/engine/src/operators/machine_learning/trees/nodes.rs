//! The parts of trees: branches, leaves, and the scores that they add to.

use super::number::Number;
use crate::operators::Refusal;

/// How a branch compares a feature with its threshold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    /// `x <= threshold`
    LessOrEqual,
    /// `x < threshold`
    Less,
    /// `x >= threshold`
    GreaterOrEqual,
    /// `x > threshold`
    Greater,
    /// `x == threshold`
    Equal,
    /// `x != threshold`
    NotEqual,
    /// `x` is in the set of this index.
    Member(u32),
}

/// Where a row goes next: a branch or a leaf, by index. The highest bit marks leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Next(u32);

const LEAF: u32 = 1 << 31;

/// [`Next`], read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A branch.
    Branch(usize),
    /// A leaf.
    Leaf(usize),
}

impl Next {
    /// A place; an error where there are more nodes than 31 bits can number.
    pub(super) fn new(place: Place) -> Result<Self, Refusal> {
        let (index, mark) = match place {
            Place::Branch(index) => (index, 0),
            Place::Leaf(index) => (index, LEAF),
        };
        match u32::try_from(index) {
            Ok(index) if index < LEAF => Ok(Self(index | mark)),
            _ => Err(Refusal::new("the trees have more than 2147483647 nodes")),
        }
    }

    /// The place.
    pub(super) fn place(self) -> Place {
        let index = (self.0 & !LEAF) as usize;
        if self.0 & LEAF == 0 { Place::Branch(index) } else { Place::Leaf(index) }
    }
}

/// A node with two ways on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Branch<T> {
    /// What the feature is compared with.
    pub(super) threshold: T,
    /// Which feature of a row is compared.
    pub(super) feature: u32,
    /// Where a row goes when the comparison holds.
    pub(super) on_true: Next,
    /// Where it goes otherwise.
    pub(super) on_false: Next,
    pub(super) comparison: Comparison,
    /// Whether a missing feature (NaN) counts as true.
    pub(super) missing_is_true: bool,
}

/// What a leaf adds to one target.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weight<T> {
    /// The index of the target or class.
    pub(super) target: usize,
    /// The amount to add to the target's score.
    pub(super) value: T,
}

/// How the trees' weights become one score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aggregate {
    /// Their mean over all trees.
    Average,
    /// Their sum.
    Sum,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
}

/// A score under construction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score<T> {
    /// Its value so far.
    pub(super) value: T,
    /// Whether any leaf had a weight for it.
    pub(super) present: bool,
}

/// The weights of leaves.
#[derive(Debug)]
pub(super) struct Leaves<T> {
    /// The weights of a leaf lie between its start and the next leaf's.
    starts: Vec<usize>,
    weights: Vec<Weight<T>>,
}

impl<T: Number> Leaves<T> {
    /// From the weights of each leaf.
    pub(super) fn new(leaves: &[Vec<Weight<T>>]) -> Self {
        let mut starts = vec![0];
        let mut weights = Vec::new();
        for leaf in leaves {
            weights.extend_from_slice(leaf);
            starts.push(weights.len());
        }
        Self { starts, weights }
    }

    /// How many leaves there are.
    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    /// The weights of all leaves.
    pub(super) fn weights(&self) -> &[Weight<T>] {
        &self.weights
    }

    /// The weights of a leaf.
    pub(super) fn of(&self, leaf: usize) -> &[Weight<T>] {
        &self.weights[self.starts[leaf]..self.starts[leaf + 1]]
    }

    /// Adds a leaf's weights to the scores of a row.
    pub(super) fn add(&self, leaf: usize, aggregate: Aggregate, scores: &mut [Score<T>]) {
        for weight in self.of(leaf) {
            let score = &mut scores[weight.target];
            match aggregate {
                Aggregate::Sum | Aggregate::Average => score.value += weight.value,
                Aggregate::Minimum if score.present && score.value <= weight.value => {}
                Aggregate::Maximum if score.present && score.value >= weight.value => {}
                Aggregate::Minimum | Aggregate::Maximum => score.value = weight.value,
            }
            score.present = true;
        }
    }
}
