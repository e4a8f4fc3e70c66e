//! The making of [`compiled`](super::compiled) trees from those of a model.
//!
//! Every comparison of an order becomes `x <= threshold`: `x < t` asks for the next smaller number, and `>=`
//! and `>` change the children's places.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use super::{
    nodes::{Branch, Comparison, Leaves, Next, Place},
    number::Number,
};
use adytum_kernels::trees::{
    masks::{LEAVES, Masks, Question},
    walk,
};

/// Features of a block of rows: more would not stay in the cache.
const COLUMNS: usize = 1024;

/// Trees that follow one another and have the same form. `first` is the first one's number in that form.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) form: Form,
    pub(super) trees: Range<usize>,
    pub(super) first: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Masks,
    Walks,
}

impl Run {
    /// The numbers of its trees in their form.
    pub(super) fn own(&self) -> Range<usize> {
        self.first..self.first + self.trees.len()
    }
}

/// A branch that asks `x <= threshold`.
struct Ordered<T> {
    threshold: T,
    on_true: Next,
    on_false: Next,
    missing_is_true: bool,
}

impl<T: Number> Ordered<T> {
    fn new(branch: &Branch<T>) -> Option<Self> {
        let Branch { threshold, on_true, on_false, missing_is_true, .. } = *branch;
        if threshold.is_missing() {
            return None;
        }
        let below = threshold.next_down();
        let as_it_is = |threshold| Self { threshold, on_true, on_false, missing_is_true };
        // A missing feature goes the same way as before.
        let turned = |threshold| Self {
            threshold,
            on_true: on_false,
            on_false: on_true,
            missing_is_true: !missing_is_true,
        };
        match branch.comparison {
            Comparison::LessOrEqual => Some(as_it_is(threshold)),
            Comparison::Greater => Some(turned(threshold)),
            // Nothing is below minus infinity.
            Comparison::Less if below < threshold => Some(as_it_is(below)),
            Comparison::GreaterOrEqual if below < threshold => Some(turned(below)),
            _ => None,
        }
    }
}

/// Trees that are being compiled.
pub(super) struct Draft<T> {
    pub(super) masks: Masks,
    pub(super) questions: Vec<(u32, Question)>,
    pub(super) mask_leaves: Vec<Vec<u32>>,
    pub(super) columns: Vec<u32>,
    column_of: HashMap<u32, u32>,
    pub(super) places: Vec<walk::Place<T>>,
    pub(super) starts: Vec<usize>,
    pub(super) runs: Vec<Run>,
}

impl<T: Number> Draft<T> {
    pub(super) fn new() -> Self {
        Self {
            masks: Masks::default(),
            questions: Vec::new(),
            mask_leaves: Vec::new(),
            columns: Vec::new(),
            column_of: HashMap::new(),
            places: Vec::new(),
            starts: Vec::new(),
            runs: Vec::new(),
        }
    }

    /// Adds a tree; `None` for one that has no such form.
    pub(super) fn add(
        &mut self,
        branches: &[Branch<T>],
        value: &impl Fn(usize) -> T,
        root: Next,
        seen: &mut [bool],
    ) -> Option<()> {
        let filler = walk::Place::Leaf { value: T::ZERO, number: 0 };
        let start = self.places.len();
        let places = &mut self.places;
        places.push(filler);
        let mut open = VecDeque::from([(start, root)]);
        while let Some((own, next)) = open.pop_front() {
            places[own] = match next.place() {
                Place::Leaf(leaf) => {
                    walk::Place::Leaf { value: value(leaf), number: u32::try_from(leaf).ok()? }
                }
                Place::Branch(index) => {
                    if std::mem::replace(&mut seen[index], true) {
                        return None;
                    }
                    let branch = Ordered::new(&branches[index])?;
                    let Ordered { threshold, on_true, on_false, missing_is_true } = branch;
                    let (feature, first) = (branches[index].feature, places.len());
                    places.extend([filler; 2]);
                    open.extend([(first, on_true), (first + 1, on_false)]);
                    walk::Place::Branch { threshold, feature, missing_is_true, first }
                }
            };
        }
        // As many leaves as half of the nodes, and one more.
        let leaves = (self.places.len() - start).div_ceil(2);
        let is_small = leaves <= LEAVES && self.columns.len() < COLUMNS && T::singles(&[]).is_some();
        let (form, first) = if is_small {
            let first = self.mask_leaves.len();
            let places = self.places.split_off(start);
            self.add_mask(&places, start)?;
            (Form::Masks, first)
        } else {
            self.starts.push(start);
            (Form::Walks, self.starts.len() - 1)
        };
        match self.runs.last_mut() {
            Some(run) if run.form == form => run.trees.end += 1,
            last => {
                let tree = last.map_or(0, |run| run.trees.end);
                self.runs.push(Run { form, trees: tree..tree + 1, first });
            }
        }
        Some(())
    }

    fn add_mask(&mut self, places: &[walk::Place<T>], start: usize) -> Option<()> {
        // Children are behind their parents.
        let mut counts = vec![1_usize; places.len()];
        for (own, place) in places.iter().enumerate().rev() {
            if let walk::Place::Branch { first, .. } = place {
                counts[own] = counts[first - start] + counts[first - start + 1];
            }
        }
        let mut before = vec![0_usize; places.len()];
        let (mut values, mut leaves) = (vec![0.0; counts[0]], vec![0; counts[0]]);
        let mut questions = Vec::new();
        for (own, place) in places.iter().enumerate() {
            match *place {
                walk::Place::Leaf { value, number } => {
                    values[before[own]] = value.to_single();
                    leaves[before[own]] = number;
                }
                walk::Place::Branch { threshold, feature, missing_is_true, first } => {
                    let struck = counts[first - start];
                    before[first - start] = before[own];
                    before[first - start + 1] = before[own] + struck;
                    let next = u32::try_from(self.columns.len()).ok()?;
                    let column = *self.column_of.entry(feature).or_insert(next);
                    if column == next {
                        self.columns.push(feature);
                    }
                    let keep = !(((1_u64 << struck) - 1) << before[own]);
                    let threshold = threshold.to_single();
                    questions.push(Question { threshold, column, missing_is_true, keep });
                }
            }
        }
        self.masks.push(&questions, &values).ok()?;
        let tree = u32::try_from(self.mask_leaves.len()).ok()?;
        self.questions.extend(questions.into_iter().map(|question| (tree, question)));
        self.mask_leaves.push(leaves);
        Some(())
    }
}

/// The target of each tree, if every leaf has one weight and those of a tree have one target.
pub(super) fn targets_of_trees<T: Number>(
    branches: &[Branch<T>],
    leaves: &Leaves<T>,
    roots: &[Next],
) -> Option<Vec<u32>> {
    let mut seen = vec![false; branches.len()];
    let mut targets = Vec::with_capacity(roots.len());
    for root in roots {
        let mut target = None;
        let mut open = vec![*root];
        while let Some(next) = open.pop() {
            match next.place() {
                Place::Leaf(leaf) => match leaves.of(leaf) {
                    [weight] if target.is_none_or(|target| target == weight.target) => {
                        target = Some(weight.target);
                    }
                    _ => return None,
                },
                Place::Branch(index) => {
                    // Paths that meet are not compiled at all.
                    if std::mem::replace(&mut seen[index], true) {
                        return None;
                    }
                    open.extend([branches[index].on_true, branches[index].on_false]);
                }
            }
        }
        targets.push(u32::try_from(target?).ok()?);
    }
    Some(targets)
}
