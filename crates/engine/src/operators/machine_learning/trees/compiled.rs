//! Trees in the forms of the kernels.
//!
//! Sums are made in the order of the trees, so the answers are those
//! of [`Forest`](super::forest::Forest) bit for bit. The rest is left to that form: comparisons for equality or
//! membership, paths that meet, and thresholds that no number can be compared with.

use super::{
    draft::{Draft, Form, Run, targets_of_trees},
    nodes::{Aggregate, Branch, Leaves, Next, Score},
    number::Number,
};
use crate::{
    operators::{Context, OperatorError},
    tensor::ElementType,
};
use adytum_kernels::{
    Level, Unfit,
    trees::{
        masks::{Masks, ROWS},
        order::Order,
        walk,
    },
};

/// From this many rows on, rows are asked together.
const SEVERAL: usize = 4;

/// Walks that take turns.
const TOGETHER: usize = 8;

/// A leaf that a row reached.
#[derive(Clone, Copy, Debug)]
enum Reached {
    /// Of these masks, from left to right.
    Mask(usize, u32),
    /// A node of the walks.
    Walk(u32),
}

/// Trees in the forms of the kernels.
#[derive(Debug)]
pub(super) struct Compiled<T> {
    /// Small trees: for many rows, and for a few.
    masks: Masks,
    order: Order,
    /// By tree of `masks`: the leaves from left to right.
    mask_leaves: Vec<Vec<u32>>,
    /// The feature of each column of masks.
    columns: Vec<u32>,
    /// Trees of more leaves than a mask has.
    walks: walk::Forest<T>,
    runs: Vec<Run>,
    /// The target of each tree, if each leaf has one weight and those of a tree have one target.
    targets: Option<Vec<u32>>,
    /// The targets that have trees, if `targets` is there.
    present: Vec<u32>,
    level: Level,
}

/// The memory of a run.
#[derive(Debug)]
pub(super) struct Scratch<T> {
    block: Vec<f32>,
    sums: Vec<T>,
    /// By mask: the leaves that are left.
    left: Vec<u64>,
}

impl<T: Number> Compiled<T> {
    /// The trees of a forest that was checked; `None` for one that is left as it is.
    pub(super) fn new(branches: &[Branch<T>], leaves: &Leaves<T>, roots: &[Next]) -> Option<Self> {
        let targets = targets_of_trees(branches, leaves, roots);
        let value = |leaf: usize| match (&targets, leaves.of(leaf)) {
            (Some(_), [weight]) => weight.value,
            _ => T::ZERO,
        };
        let mut draft = Draft::new();
        let mut seen = vec![false; branches.len()];
        for root in roots {
            draft.add(branches, &value, *root, &mut seen)?;
        }
        let mut present = targets.clone().unwrap_or_default();
        present.sort_unstable();
        present.dedup();
        Some(Self {
            masks: draft.masks,
            order: Order::new(draft.questions).ok()?,
            mask_leaves: draft.mask_leaves,
            columns: draft.columns,
            walks: walk::Forest::new(&draft.places, &draft.starts).ok()?,
            runs: draft.runs,
            targets,
            present,
            level: Level::best(),
        })
    }

    #[cfg(test)]
    pub(super) fn set_level(&mut self, level: Level) {
        self.level = level;
    }

    /// The memory that a run needs.
    pub(super) fn scratch(&self, targets: usize, context: &Context<'_>) -> Result<Scratch<T>, OperatorError> {
        let block = context.reserve(ElementType::Float, &[self.masks.block_len()])?;
        let sums = context.reserve(T::TYPE, &[targets, ROWS])?;
        let left = context.reserve(ElementType::Uint64, &[self.mask_leaves.len()])?;
        Ok(Scratch { block: vec![0.0; block], sums: vec![T::ZERO; sums], left: vec![u64::MAX; left] })
    }

    /// Scores rows, as [`Forest::score`](super::forest::Forest::score) does, without the last division of a mean.
    pub(super) fn score(
        &self,
        leaves: &Leaves<T>,
        (rows, columns): (&[T], usize),
        aggregate: Aggregate,
        (scores, targets): (&mut [Score<T>], usize),
        scratch: &mut Scratch<T>,
    ) -> Result<(), Unfit> {
        let chunks = rows.chunks(columns * ROWS).zip(scores.chunks_mut(targets * ROWS));
        for (rows, scores) in chunks {
            let count = rows.len() / columns;
            let by_row = count < SEVERAL;
            if !by_row {
                self.fill(rows, columns, &mut scratch.block);
            }
            let block = (scratch.block.as_slice(), count);
            match (&self.targets, aggregate) {
                (Some(own), Aggregate::Sum | Aggregate::Average) => {
                    let sums = &mut scratch.sums;
                    sums.fill(T::ZERO);
                    if by_row {
                        for (number, row) in rows.chunks_exact(columns).enumerate() {
                            // The sum of a target stays in a register until another one's turn comes.
                            let (mut target, mut sum) = (own[0], T::ZERO);
                            self.each_leaf_of_row(row, &mut scratch.left, |tree, leaf| {
                                if own[tree] != target {
                                    sums[target as usize * ROWS + number] = sum;
                                    target = own[tree];
                                    sum = sums[target as usize * ROWS + number];
                                }
                                sum += self.value(leaf);
                            })?;
                            sums[target as usize * ROWS + number] = sum;
                        }
                    } else {
                        self.sum_by_tree(own, block, (rows, columns), sums)?;
                    }
                    for target in self.present.iter().map(|target| *target as usize) {
                        let sums = &sums[target * ROWS..];
                        for (scores, sum) in scores.chunks_exact_mut(targets).zip(sums) {
                            scores[target] = Score { value: *sum, present: true };
                        }
                    }
                }
                _ if by_row => {
                    for (row, scores) in rows.chunks_exact(columns).zip(scores.chunks_exact_mut(targets)) {
                        self.each_leaf_of_row(row, &mut scratch.left, |_, leaf| {
                            leaves.add(self.number(leaf), aggregate, scores);
                        })?;
                    }
                }
                _ => self.add_by_tree(block, (rows, columns), |leaf, row| {
                    leaves.add(leaf, aggregate, &mut scores[row * targets..(row + 1) * targets]);
                })?,
            }
        }
        Ok(())
    }

    /// Lays out the features that masks ask for by column.
    fn fill(&self, rows: &[T], columns: usize, block: &mut [f32]) {
        let Some(rows) = T::singles(rows) else { return };
        for (target, feature) in block.chunks_exact_mut(ROWS).zip(&self.columns) {
            let values = rows.iter().skip(*feature as usize).step_by(columns);
            target.iter_mut().zip(values).for_each(|(target, value)| *target = *value);
        }
    }

    /// Sums for each row of a block, tree after tree.
    fn sum_by_tree(
        &self,
        targets: &[u32],
        block: (&[f32], usize),
        (rows, columns): (&[T], usize),
        sums: &mut [T],
    ) -> Result<(), Unfit> {
        for run in &self.runs {
            let targets = &targets[run.trees.clone()];
            match run.form {
                Form::Masks => {
                    let sums = T::singles_mut(sums).ok_or(Unfit("sums of masks"))?;
                    self.masks.add(self.level, run.own(), targets, block, sums)?;
                }
                Form::Walks => {
                    for (tree, target) in run.own().zip(targets) {
                        let sums = &mut sums[*target as usize * ROWS..][..block.1];
                        self.each_leaf_of_tree(tree, (rows, columns), |row, leaf| {
                            sums[row] += self.walks.value(leaf);
                        })?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `add` with the leaf of each row of a block, tree after tree.
    fn add_by_tree(
        &self,
        block: (&[f32], usize),
        (rows, columns): (&[T], usize),
        mut add: impl FnMut(usize, usize),
    ) -> Result<(), Unfit> {
        let mut found = [0; ROWS];
        for run in &self.runs {
            for own in run.own() {
                match run.form {
                    Form::Masks => {
                        self.masks.leaves(self.level, own, block, &mut found)?;
                        for (row, leaf) in found.iter().take(block.1).enumerate() {
                            add(self.number(Reached::Mask(own, *leaf)), row);
                        }
                    }
                    Form::Walks => self.each_leaf_of_tree(own, (rows, columns), |row, leaf| {
                        add(self.number(Reached::Walk(leaf)), row);
                    })?,
                }
            }
        }
        Ok(())
    }

    /// The value of a leaf.
    fn value(&self, leaf: Reached) -> T {
        match leaf {
            Reached::Mask(mask, leaf) => T::from_single(self.masks.value(mask, leaf)),
            Reached::Walk(leaf) => self.walks.value(leaf),
        }
    }

    /// The number of a leaf among those of the model.
    fn number(&self, leaf: Reached) -> usize {
        (match leaf {
            Reached::Mask(mask, leaf) => self.mask_leaves[mask][leaf as usize],
            Reached::Walk(leaf) => self.walks.number(leaf),
        }) as usize
    }

    /// Calls `with` with each tree and the leaf that a row reaches in it.
    fn each_leaf_of_row(
        &self,
        row: &[T],
        left: &mut [u64],
        mut with: impl FnMut(usize, Reached),
    ) -> Result<(), Unfit> {
        if let Some(row) = T::singles(row) {
            left.fill(u64::MAX);
            self.order.strike(row, &self.columns, left);
        }
        for run in &self.runs {
            match run.form {
                Form::Masks => {
                    for (tree, own) in run.trees.clone().zip(run.own()) {
                        // One leaf at least is left.
                        with(tree, Reached::Mask(own, left[own].trailing_zeros()));
                    }
                }
                Form::Walks => {
                    let mut done = 0;
                    while done < run.trees.len() {
                        let (tree, own) = (run.trees.start + done, run.first + done);
                        if done + TOGETHER <= run.trees.len() {
                            let found = self.walks.leaves_of_trees::<TOGETHER>(own, row)?;
                            for (place, leaf) in found.into_iter().enumerate() {
                                with(tree + place, Reached::Walk(leaf));
                            }
                            done += TOGETHER;
                        } else {
                            let [leaf] = self.walks.leaves_of_trees::<1>(own, row)?;
                            with(tree, Reached::Walk(leaf));
                            done += 1;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Calls `with` with each row and the leaf that it reaches in a tree.
    fn each_leaf_of_tree(
        &self,
        tree: usize,
        (rows, columns): (&[T], usize),
        mut with: impl FnMut(usize, u32),
    ) -> Result<(), Unfit> {
        let count = rows.len() / columns;
        let mut row = 0;
        while row + TOGETHER <= count {
            for leaf in self.walks.leaves_of_rows::<TOGETHER>(tree, rows, row * columns, columns)? {
                with(row, leaf);
                row += 1;
            }
        }
        while row < count {
            let [leaf] = self.walks.leaves_of_rows::<1>(tree, rows, row * columns, columns)?;
            with(row, leaf);
            row += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::operators::{
        Cancellation, Memory,
        machine_learning::trees::{
            forest::Forest,
            nodes::{Comparison, Place, Weight},
        },
    };
    use adytum_kernels::Level;

    /// A generator of numbers: the same ones for the same seed.
    struct Numbers(u64);

    impl Numbers {
        fn below(&mut self, limit: usize) -> usize {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            ((self.0 >> 20) % limit as u64) as usize
        }

        /// Few different ones, so that features meet thresholds, and those that are special.
        fn value(&mut self) -> f32 {
            match self.below(40) {
                0 => f32::INFINITY,
                1 => f32::NEG_INFINITY,
                2 => -0.0,
                3 => f32::MIN_POSITIVE / 2.0,
                other => (other as f32 - 20.0) / 4.0,
            }
        }
    }

    struct Shape {
        trees: usize,
        leaves: usize,
        features: usize,
        targets: usize,
        /// Every tree has one target, and every leaf one weight.
        simple: bool,
        missing: bool,
    }

    /// A forest of random trees with at most as many leaves each as the shape says.
    fn forest<T: Number>(numbers: &mut Numbers, shape: &Shape) -> Forest<T> {
        const COMPARISONS: [Comparison; 4] =
            [Comparison::LessOrEqual, Comparison::Less, Comparison::GreaterOrEqual, Comparison::Greater];
        let (mut branches, mut leaves, mut roots) = (Vec::new(), Vec::new(), Vec::new());
        let one_comparison = numbers.below(2) == 0;
        for _ in 0..shape.trees {
            let target = numbers.below(shape.targets);
            let leaf = |numbers: &mut Numbers, leaves: &mut Vec<Vec<Weight<T>>>| {
                let count = if shape.simple { 1 } else { numbers.below(3) };
                let weights = (0..count).map(|_| Weight {
                    target: if shape.simple { target } else { numbers.below(shape.targets) },
                    value: T::from_single(numbers.below(2001) as f32 / 997.0 - 1.0),
                });
                leaves.push(weights.collect());
                Next::new(Place::Leaf(leaves.len() - 1)).unwrap()
            };
            let mut root = leaf(numbers, &mut leaves);
            let own = branches.len();
            for number in 0..numbers.below(shape.leaves) {
                // A new branch takes the place of a child of one of this tree's, or of its root.
                let (on_true, on_false) = (leaf(numbers, &mut leaves), leaf(numbers, &mut leaves));
                let next = Next::new(Place::Branch(branches.len())).unwrap();
                if number == 0 {
                    root = next;
                } else {
                    loop {
                        let parent: &mut Branch<T> = &mut branches[own + numbers.below(number)];
                        let child =
                            if numbers.below(2) == 0 { &mut parent.on_true } else { &mut parent.on_false };
                        if matches!(child.place(), Place::Leaf(_)) {
                            *child = next;
                            break;
                        }
                    }
                }
                // Minus infinity with `<` is left to the other form: rarely, so that trees are compiled.
                let threshold = numbers.value().max(-1e30);
                branches.push(Branch {
                    threshold: T::from_single(threshold),
                    feature: numbers.below(shape.features) as u32,
                    on_true,
                    on_false,
                    comparison: COMPARISONS[if one_comparison { 0 } else { numbers.below(4) }],
                    missing_is_true: shape.missing && numbers.below(2) == 0,
                });
            }
            roots.push(root);
        }
        Forest::new(branches, &leaves, roots, vec![], shape.targets).unwrap()
    }

    fn bits<T: Number>(scores: &[Score<T>]) -> Vec<(String, bool)> {
        scores.iter().map(|score| (format!("{:?}", score.value), score.present)).collect()
    }

    fn check<T: Number>(seed: u64, shape: &Shape, rows: usize, aggregate: Aggregate) {
        let mut numbers = Numbers(seed | 1);
        let listed = forest::<T>(&mut Numbers(seed | 1), shape);
        let columns = shape.features + numbers.below(3);
        let values: Vec<T> = (0..rows * columns)
            .map(|_| match numbers.below(8) {
                0 => T::from_single(f32::NAN),
                _ => T::from_single(numbers.value()),
            })
            .collect();
        let start = vec![Score { value: T::ZERO, present: false }; rows * shape.targets];
        let mut expected = start.clone();
        listed.score(&values, columns, aggregate, &mut expected, None).unwrap();

        let (memory, cancellation) = (Memory::new(1 << 26), Cancellation::default());
        let context = Context::new(&memory, &cancellation);
        for level in Level::ALL.into_iter().filter(|level| level.is_available()) {
            let mut compiled = forest::<T>(&mut Numbers(seed | 1), shape).compiled();
            compiled.set_level(level);
            let mut scratch = compiled.scratch(&context).unwrap();
            let mut found = start.clone();
            compiled.score(&values, columns, aggregate, &mut found, scratch.as_mut()).unwrap();
            assert_eq!(bits(&found), bits(&expected), "{level:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]

        #[test]
        fn compiled_trees_give_the_same_bits_as_listed_ones(
            seed in any::<u64>(),
            trees in 1..40_usize,
            leaves in prop_oneof![1..10_usize, Just(33), Just(65), Just(66), Just(300)],
            (features, targets) in (1..12_usize, 1..4_usize),
            rows in prop_oneof![1..8_usize, Just(16), Just(17), Just(63), Just(64), Just(65), 90..200_usize],
            (simple, missing, double) in any::<(bool, bool, bool)>(),
            aggregate in prop::sample::select(
                vec![Aggregate::Sum, Aggregate::Average, Aggregate::Minimum, Aggregate::Maximum],
            ),
        ) {
            let shape = Shape { trees, leaves, features, targets, simple, missing };
            if double {
                check::<f64>(seed, &shape, rows, aggregate);
            } else {
                check::<f32>(seed, &shape, rows, aggregate);
            }
        }
    }

    #[test]
    fn every_shape_of_small_trees_is_compiled() {
        let mut numbers = Numbers(77);
        let shape = Shape { trees: 300, leaves: 64, features: 9, targets: 1, simple: true, missing: true };
        let compiled = forest::<f32>(&mut numbers, &shape).compiled();
        assert!(compiled.is_compiled(), "orders are compiled whatever the comparison");
        check::<f32>(77, &shape, 130, Aggregate::Sum);
    }

    fn one_branch(comparison: Comparison, threshold: f32) -> Forest<f32> {
        let next = |place| Next::new(place).unwrap();
        let branch = Branch {
            threshold,
            feature: 0,
            on_true: next(Place::Leaf(0)),
            on_false: next(Place::Leaf(1)),
            comparison,
            missing_is_true: false,
        };
        let leaf = |value| vec![Weight { target: 0, value }];
        let roots = vec![next(Place::Branch(0))];
        Forest::new(vec![branch], &[leaf(1.0), leaf(2.0)], roots, vec![vec![1.0]], 1).unwrap().compiled()
    }

    #[test]
    fn trees_of_one_leaf_need_no_feature() {
        for rows in [1, 17, 64, 70] {
            let shape = Shape { trees: 3, leaves: 1, features: 1, targets: 1, simple: true, missing: false };
            check::<f32>(5, &shape, rows, Aggregate::Sum);
            check::<f32>(5, &shape, rows, Aggregate::Maximum);
        }
    }

    #[test]
    fn what_is_no_order_is_left_as_listed() {
        for comparison in [Comparison::Equal, Comparison::NotEqual, Comparison::Member(0)] {
            assert!(!one_branch(comparison, 1.0).is_compiled(), "{comparison:?}");
        }
        assert!(!one_branch(Comparison::LessOrEqual, f32::NAN).is_compiled());
        assert!(!one_branch(Comparison::Less, f32::NEG_INFINITY).is_compiled());
        assert!(one_branch(Comparison::Less, f32::INFINITY).is_compiled());
    }

    #[test]
    fn rows_may_have_more_features_than_trees_ask_for() {
        let forest = one_branch(Comparison::LessOrEqual, 1.0);
        let (memory, cancellation) = (Memory::new(1 << 20), Cancellation::default());
        let mut scratch = forest.scratch(&Context::new(&memory, &cancellation)).unwrap();
        let mut scores = [Score { value: 0.0, present: false }; 70];
        for columns in [1, 3] {
            let rows = vec![0.5; 70 * columns];
            forest.score(&rows, columns, Aggregate::Sum, &mut scores, scratch.as_mut()).unwrap();
            assert!(scores.iter().all(|score| score.value == 1.0));
        }
    }
}
