//! Trees as flat arrays of branches and leaves, or in the form of the kernels.

use super::{
    compiled::{Compiled, Scratch},
    nodes::{Aggregate, Branch, Comparison, Leaves, Next, Place, Score, Weight},
    number::Number,
};
use crate::operators::{Context, OperatorError, Refusal, operands::broken};

/// Trees that were checked: every index is in range and no path returns to itself.
#[derive(Debug)]
pub(super) struct Forest<T> {
    /// None where there is the other form.
    branches: Vec<Branch<T>>,
    compiled: Option<Compiled<T>>,
    leaves: Leaves<T>,
    roots: Vec<Next>,
    sets: Vec<Vec<T>>,
    /// All branches ask `x <= threshold`, and none takes NaN as true: the usual case.
    plain: bool,
    features: usize,
    targets: usize,
}

impl<T: Number> Forest<T> {
    /// Checks trees. `leaves` are the weights of each leaf.
    pub(super) fn new(
        branches: Vec<Branch<T>>,
        leaves: &[Vec<Weight<T>>],
        roots: Vec<Next>,
        sets: Vec<Vec<T>>,
        targets: usize,
    ) -> Result<Self, Refusal> {
        if roots.is_empty() {
            return Err(Refusal::new("the ensemble has no trees"));
        }
        let leaves = Leaves::new(leaves);
        if let Some(weight) = leaves.weights().iter().find(|weight| weight.target >= targets) {
            return Err(Refusal::new(format!(
                "a leaf has a weight for target {}; there are {targets}",
                weight.target
            )));
        }
        let features = branches.iter().map(|branch| branch.feature as usize + 1).max().unwrap_or(0);
        let plain = branches
            .iter()
            .all(|branch| branch.comparison == Comparison::LessOrEqual && !branch.missing_is_true);
        let forest = Self { branches, compiled: None, leaves, roots, sets, plain, features, targets };
        forest.check_places()?;
        forest.check_cycles()?;
        Ok(forest)
    }

    /// Every place and set must be there.
    fn check_places(&self) -> Result<(), Refusal> {
        let leaves = self.leaves.count();
        let is_there = |next: Next| match next.place() {
            Place::Branch(index) => index < self.branches.len(),
            Place::Leaf(index) => index < leaves,
        };
        let sets_are_there = |branch: &Branch<T>| match branch.comparison {
            Comparison::Member(set) => (set as usize) < self.sets.len(),
            _ => true,
        };
        let branches = self.branches.iter();
        if self.roots.iter().all(|root| is_there(*root))
            && branches.clone().all(|branch| is_there(branch.on_true) && is_there(branch.on_false))
            && branches.clone().all(sets_are_there)
        {
            return Ok(());
        }
        Err(Refusal::new("a node names another that is not there"))
    }

    /// No path may come back to a branch that it has passed. Two paths may meet:
    /// LightGBM's categories are exported so.
    fn check_cycles(&self) -> Result<(), Refusal> {
        #[derive(Clone, Copy, PartialEq)]
        enum State {
            New,
            Open,
            Done,
        }
        let mut states = vec![State::New; self.branches.len()];
        let mut path = Vec::new();
        for root in &self.roots {
            path.push(*root);
            while let Some(next) = path.last() {
                let Place::Branch(index) = next.place() else {
                    path.pop();
                    continue;
                };
                if states[index] != State::New {
                    states[index] = State::Done;
                    path.pop();
                    continue;
                }
                states[index] = State::Open;
                for child in [self.branches[index].on_false, self.branches[index].on_true] {
                    if let Place::Branch(child_index) = child.place() {
                        match states[child_index] {
                            State::New => path.push(child),
                            State::Open => {
                                return Err(Refusal::new(
                                    "a tree's path comes back to a node that it has passed",
                                ));
                            }
                            State::Done => {}
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// How many features a row must have at least.
    pub(super) fn features(&self) -> usize {
        self.features
    }

    /// How many targets or classes there are.
    pub(super) fn targets(&self) -> usize {
        self.targets
    }

    /// How many branches can be reached from the roots, and how many leaves.
    pub(super) fn reachable(&self) -> (usize, usize) {
        let mut branches = vec![false; self.branches.len()];
        let mut leaves = vec![false; self.leaves.count()];
        let mut open = self.roots.clone();
        while let Some(next) = open.pop() {
            match next.place() {
                Place::Branch(index) if !branches[index] => {
                    branches[index] = true;
                    open.extend([self.branches[index].on_true, self.branches[index].on_false]);
                }
                Place::Branch(_) => {}
                Place::Leaf(index) => leaves[index] = true,
            }
        }
        let count = |reached: &[bool]| reached.iter().filter(|reached| **reached).count();
        (count(&branches), count(&leaves))
    }

    /// The same trees in the form of the kernels, where they have one.
    pub(super) fn compiled(mut self) -> Self {
        self.compiled = Compiled::new(&self.branches, &self.leaves, &self.roots);
        if self.compiled.is_some() {
            self.branches = Vec::new();
            self.roots.shrink_to_fit();
        }
        self
    }

    #[cfg(test)]
    pub(super) fn is_compiled(&self) -> bool {
        self.compiled.is_some()
    }

    #[cfg(test)]
    pub(super) fn set_level(&mut self, level: adytum_kernels::Level) {
        if let Some(compiled) = &mut self.compiled {
            compiled.set_level(level);
        }
    }

    /// The memory that a run needs.
    pub(super) fn scratch(&self, context: &Context<'_>) -> Result<Option<Scratch<T>>, OperatorError> {
        self.compiled.as_ref().map(|compiled| compiled.scratch(self.targets, context)).transpose()
    }

    /// Scores rows. `scores` has a place for each row's targets and starts at zero.
    pub(super) fn score(
        &self,
        rows: &[T],
        columns: usize,
        aggregate: Aggregate,
        scores: &mut [Score<T>],
        scratch: Option<&mut Scratch<T>>,
    ) -> Result<(), OperatorError> {
        match (&self.compiled, scratch) {
            (Some(compiled), Some(scratch)) => compiled
                .score(&self.leaves, (rows, columns.max(1)), aggregate, (scores, self.targets), scratch)
                .map_err(|unfit| broken(format!("{} do not fit", unfit.0)))?,
            (None, None) => self.score_as_listed(rows, columns, aggregate, scores),
            _ => return Err(broken("trees were compiled for a run without memory")),
        }
        if aggregate == Aggregate::Average {
            let trees = T::from_count(self.roots.len());
            scores.iter_mut().for_each(|score| score.value = score.value / trees);
        }
        Ok(())
    }

    /// Row by row, as the model lists the trees.
    fn score_as_listed(&self, rows: &[T], columns: usize, aggregate: Aggregate, scores: &mut [Score<T>]) {
        for root in &self.roots {
            for (row, scores) in rows.chunks_exact(columns.max(1)).zip(scores.chunks_exact_mut(self.targets))
            {
                let leaf = if self.plain {
                    self.walk(*root, row, |branch, value| value <= branch.threshold)
                } else {
                    self.walk(*root, row, |branch, value| self.holds(branch, value))
                };
                self.leaves.add(leaf, aggregate, scores);
            }
        }
    }

    fn walk(&self, root: Next, row: &[T], holds: impl Fn(&Branch<T>, T) -> bool) -> usize {
        let mut next = root;
        loop {
            match next.place() {
                Place::Leaf(index) => return index,
                Place::Branch(index) => {
                    let branch = &self.branches[index];
                    let value = row[branch.feature as usize];
                    next = if holds(branch, value) { branch.on_true } else { branch.on_false };
                }
            }
        }
    }

    fn holds(&self, branch: &Branch<T>, value: T) -> bool {
        let compared = match branch.comparison {
            Comparison::LessOrEqual => value <= branch.threshold,
            Comparison::Less => value < branch.threshold,
            Comparison::GreaterOrEqual => value >= branch.threshold,
            Comparison::Greater => value > branch.threshold,
            Comparison::Equal => value == branch.threshold,
            Comparison::NotEqual => value != branch.threshold,
            Comparison::Member(set) => self.sets[set as usize].contains(&value),
        };
        compared || (branch.missing_is_true && value.is_missing())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn branch(on_true: Place, on_false: Place) -> Branch<f32> {
        Branch {
            threshold: 0.5,
            feature: 0,
            on_true: Next::new(on_true).unwrap(),
            on_false: Next::new(on_false).unwrap(),
            comparison: Comparison::LessOrEqual,
            missing_is_true: false,
        }
    }

    fn forest(branches: Vec<Branch<f32>>) -> Result<Forest<f32>, Refusal> {
        let leaf = |value| vec![Weight { target: 0, value }];
        Forest::new(branches, &[leaf(1.0), leaf(2.0)], vec![Next::new(Place::Branch(0)).unwrap()], vec![], 1)
    }

    #[test]
    fn hostile_trees_are_refused() {
        let (leaf, other) = (Place::Leaf(0), Place::Leaf(1));
        assert!(forest(vec![branch(Place::Branch(0), leaf)]).is_err(), "a cycle of one");
        let long = vec![
            branch(leaf, Place::Branch(1)),
            branch(leaf, Place::Branch(2)),
            branch(leaf, Place::Branch(0)),
        ];
        assert!(forest(long).is_err(), "a cycle of three");
        assert!(forest(vec![branch(Place::Leaf(2), leaf)]).is_err(), "a leaf that is not there");
        assert!(forest(vec![branch(Place::Branch(9), leaf)]).is_err(), "a branch that is not there");
        assert!(forest(vec![]).is_err(), "a root that is not there");
        let meeting = vec![
            branch(Place::Branch(2), Place::Branch(1)),
            branch(Place::Branch(2), leaf),
            branch(leaf, other),
        ];
        assert_eq!(forest(meeting).unwrap().reachable(), (3, 2));
    }

    #[test]
    fn a_path_of_a_million_branches_needs_no_stack() {
        let count = 1_000_000;
        let branches = (0..count).map(|index| {
            branch(Place::Leaf(0), if index + 1 == count { Place::Leaf(1) } else { Place::Branch(index + 1) })
        });
        let forest = forest(branches.collect()).unwrap();
        let mut scores = [Score { value: 0.0, present: false }; 2];
        forest.score(&[0.0, 1.0], 1, Aggregate::Sum, &mut scores, None).unwrap();
        assert_eq!([scores[0].value, scores[1].value], [1.0, 2.0]);
    }
}
