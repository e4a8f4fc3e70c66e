//! Trees as versions 1 and 3 of the domain list them: one attribute a property of nodes.

use std::collections::{HashMap, HashSet};

use super::{
    forest::Forest,
    nodes::{Branch, Comparison, Next, Place, Weight},
    number::{Number, from_tensor},
};
use crate::operators::{Attributes, Refusal};

/// The attributes that name the weights of leaves: those of classifiers begin with
/// `class_`, those of regressors with `target_`.
pub(super) struct Listing<'a> {
    attributes: &'a Attributes,
    prefix: &'static str,
}

/// What the weights of a model are like.
pub(super) struct WeightFacts {
    /// The targets or classes that have weights.
    pub(super) targets: HashSet<i64>,
    /// No weight is below zero.
    pub(super) all_positive: bool,
}

/// A node in the model's order.
#[derive(Clone, Copy)]
enum Mode {
    Branch(Comparison),
    Leaf,
}

impl Mode {
    fn read(name: &[u8]) -> Result<Self, Refusal> {
        Ok(match name {
            b"LEAF" => Self::Leaf,
            b"BRANCH_LEQ" => Self::Branch(Comparison::LessOrEqual),
            b"BRANCH_LT" => Self::Branch(Comparison::Less),
            b"BRANCH_GTE" => Self::Branch(Comparison::GreaterOrEqual),
            b"BRANCH_GT" => Self::Branch(Comparison::Greater),
            b"BRANCH_EQ" => Self::Branch(Comparison::Equal),
            b"BRANCH_NEQ" => Self::Branch(Comparison::NotEqual),
            other => {
                let other = String::from_utf8_lossy(other);
                return Err(Refusal::new(format!("a node has the mode {other:?}, which ONNX does not know")));
            }
        })
    }
}

impl<'a> Listing<'a> {
    /// A classifier's.
    pub(super) fn of_classifier(attributes: &'a Attributes) -> Self {
        Self { attributes, prefix: "class" }
    }

    /// A regressor's.
    pub(super) fn of_regressor(attributes: &'a Attributes) -> Self {
        Self { attributes, prefix: "target" }
    }

    /// Numbers that are either a list or, since version 3, a tensor.
    pub(super) fn numbers<T: Number>(&self, name: &str) -> Result<Vec<T>, Refusal> {
        let list = self.attributes.floats(name)?.unwrap_or_default();
        let tensor_name = format!("{name}_as_tensor");
        let tensor = match self.attributes.tensor(&tensor_name)? {
            Some(tensor) => from_tensor(&tensor_name, tensor)?,
            None => Vec::new(),
        };
        match (list.is_empty(), tensor.is_empty()) {
            (false, false) => Err(Refusal::new(format!("{name} and {tensor_name} can't both be given"))),
            (true, _) => Ok(tensor),
            (false, true) => Ok(list.iter().map(|value| T::from_single(*value)).collect()),
        }
    }

    fn integers(&self, name: &str, count: usize) -> Result<&'a [i64], Refusal> {
        let values = self.attributes.integers(name)?.unwrap_or_default();
        if values.len() == count {
            return Ok(values);
        }
        Err(Refusal::new(format!("{name} has {} values; {count} are expected", values.len())))
    }

    fn weight_integers(&self, name: &str, count: usize) -> Result<&'a [i64], Refusal> {
        self.integers(&format!("{}_{name}", self.prefix), count)
    }

    fn weights<T: Number>(&self) -> Result<Vec<T>, Refusal> {
        self.numbers(&format!("{}_weights", self.prefix))
    }

    /// What the weights are like.
    pub(super) fn weight_facts<T: Number>(&self) -> Result<WeightFacts, Refusal> {
        let weights = self.weights::<T>()?;
        let targets = self.weight_integers("ids", weights.len())?.iter().copied().collect();
        Ok(WeightFacts { targets, all_positive: weights.iter().all(|weight| *weight >= T::ZERO) })
    }

    /// The trees.
    pub(super) fn forest<T: Number>(&self, targets: usize) -> Result<Forest<T>, Refusal> {
        let modes = self.attributes.texts("nodes_modes")?.unwrap_or_default();
        let modes = modes.iter().map(|mode| Mode::read(mode)).collect::<Result<Vec<_>, _>>()?;
        let count = modes.len();
        let trees = self.integers("nodes_treeids", count)?;
        let nodes = self.integers("nodes_nodeids", count)?;
        let mut indices = HashMap::with_capacity(count);
        let mut places = Vec::with_capacity(count);
        let (mut branch_count, mut leaf_count) = (0, 0);
        for index in 0..count {
            if indices.insert((trees[index], nodes[index]), index).is_some() {
                return Err(Refusal::new(format!(
                    "node {} of tree {} is there twice",
                    nodes[index], trees[index]
                )));
            }
            let number = if matches!(modes[index], Mode::Leaf) { &mut leaf_count } else { &mut branch_count };
            let place = if matches!(modes[index], Mode::Leaf) {
                Place::Leaf(*number)
            } else {
                Place::Branch(*number)
            };
            *number += 1;
            places.push(place);
        }
        let branches = self.branches(&modes, trees, &indices, &places)?;
        let leaves = self.leaves(&indices, &places, leaf_count, targets)?;
        let forest = Forest::new(branches, &leaves, roots(trees, &places)?, Vec::new(), targets)?;
        if forest.reachable() != (branch_count, leaf_count) {
            return Err(Refusal::new(
                "the first node of a tree is not its root: it does not lead to all others",
            ));
        }
        Ok(forest)
    }

    fn branches<T: Number>(
        &self,
        modes: &[Mode],
        trees: &[i64],
        indices: &HashMap<(i64, i64), usize>,
        places: &[Place],
    ) -> Result<Vec<Branch<T>>, Refusal> {
        let count = modes.len();
        let features = self.integers("nodes_featureids", count)?;
        let on_true = self.integers("nodes_truenodeids", count)?;
        let on_false = self.integers("nodes_falsenodeids", count)?;
        let thresholds = self.numbers::<T>("nodes_values")?;
        if thresholds.len() != count {
            return Err(Refusal::new(format!(
                "nodes_values has {} values for {count} nodes",
                thresholds.len()
            )));
        }
        let missing = self.attributes.integers("nodes_missing_value_tracks_true")?.unwrap_or_default();
        if !missing.is_empty() && missing.len() != count {
            return Err(Refusal::new(format!(
                "nodes_missing_value_tracks_true has {} values for {count} nodes",
                missing.len()
            )));
        }
        let next = |tree: i64, node: i64| match indices.get(&(tree, node)) {
            Some(index) => Next::new(places[*index]),
            None => Err(Refusal::new(format!("tree {tree} has no node {node}"))),
        };
        let mut branches = Vec::new();
        for (index, mode) in modes.iter().enumerate() {
            let Mode::Branch(comparison) = *mode else { continue };
            branches.push(Branch {
                threshold: thresholds[index],
                feature: feature(features[index])?,
                on_true: next(trees[index], on_true[index])?,
                on_false: next(trees[index], on_false[index])?,
                comparison,
                missing_is_true: missing.get(index) == Some(&1),
            });
        }
        Ok(branches)
    }

    fn leaves<T: Number>(
        &self,
        indices: &HashMap<(i64, i64), usize>,
        places: &[Place],
        leaf_count: usize,
        targets: usize,
    ) -> Result<Vec<Vec<Weight<T>>>, Refusal> {
        let weights = self.weights::<T>()?;
        let ids = self.weight_integers("ids", weights.len())?;
        let nodes = self.weight_integers("nodeids", weights.len())?;
        let trees = self.weight_integers("treeids", weights.len())?;
        let mut leaves = vec![Vec::new(); leaf_count];
        for (index, value) in weights.into_iter().enumerate() {
            let (tree, node) = (trees[index], nodes[index]);
            let place = indices.get(&(tree, node)).map(|index| places[*index]).ok_or_else(|| {
                Refusal::new(format!("a weight is for node {node} of tree {tree}, which is not there"))
            })?;
            // Old exporters gave weights to branches as well; they do not count.
            let Place::Leaf(leaf) = place else { continue };
            let target = usize::try_from(ids[index])
                .map_err(|_| Refusal::new(format!("a weight is for the target {}", ids[index])))?;
            leaves[leaf].push(Weight { target, value });
            if targets == 1 && leaves[leaf].len() > 1 {
                return Err(Refusal::new(format!(
                    "leaf {node} of tree {tree} has two weights for its only target"
                )));
            }
        }
        Ok(leaves)
    }
}

/// The index of a feature.
pub(super) fn feature(id: i64) -> Result<u32, Refusal> {
    u32::try_from(id).map_err(|_| Refusal::new(format!("a node compares the feature {id}, which can't be")))
}

/// The first node of each tree. A tree's nodes lie together.
fn roots(trees: &[i64], places: &[Place]) -> Result<Vec<Next>, Refusal> {
    let mut seen = HashSet::new();
    let mut roots = Vec::new();
    let mut previous = None;
    for (tree, place) in trees.iter().zip(places) {
        if previous != Some(tree) {
            if !seen.insert(tree) {
                return Err(Refusal::new(format!("the nodes of tree {tree} do not lie together")));
            }
            roots.push(Next::new(*place)?);
            previous = Some(tree);
        }
    }
    Ok(roots)
}
