//! Trees as version 5 of the domain lists them: branches and leaves apart.

use super::{
    forest::Forest,
    listing::feature,
    nodes::{Branch, Comparison, Next, Place, Weight},
    number::{Number, from_tensor},
};
use crate::{
    operators::{Attributes, Refusal},
    tensor::Elements,
};

/// Reads the trees of `TreeEnsemble`.
pub(super) fn read<T: Number>(attributes: &Attributes, targets: usize) -> Result<Forest<T>, Refusal> {
    let numbers = |name: &str| match attributes.tensor(name)? {
        Some(tensor) => from_tensor::<T>(name, tensor),
        None => Ok(Vec::new()),
    };
    let modes = match attributes.tensor("nodes_modes")?.map(|tensor| tensor.elements()) {
        Some(Elements::Uint8(modes)) => modes.to_vec(),
        _ => return Err(Refusal::new("the attribute nodes_modes is missing or is not uint8")),
    };
    let count = modes.len();
    let integers = |name: &str, count: usize| {
        let values = attributes.integers(name)?.unwrap_or_default();
        if values.len() == count {
            return Ok(values);
        }
        Err(Refusal::new(format!("{name} has {} values; {count} are expected", values.len())))
    };
    let features = integers("nodes_featureids", count)?;
    let (on_true, true_is_leaf) =
        (integers("nodes_truenodeids", count)?, integers("nodes_trueleafs", count)?);
    let (on_false, false_is_leaf) =
        (integers("nodes_falsenodeids", count)?, integers("nodes_falseleafs", count)?);
    let missing = attributes.integers("nodes_missing_value_tracks_true")?.unwrap_or_default();
    if !missing.is_empty() && missing.len() != count {
        return Err(Refusal::new(format!(
            "nodes_missing_value_tracks_true has {} values for {count} nodes",
            missing.len()
        )));
    }
    let thresholds = numbers("nodes_splits")?;
    if thresholds.len() != count {
        return Err(Refusal::new(format!("nodes_splits has {} values for {count} nodes", thresholds.len())));
    }
    let (comparisons, sets) = comparisons(&modes, &numbers("membership_values")?)?;
    let mut branches = Vec::with_capacity(count);
    for index in 0..count {
        branches.push(Branch {
            threshold: thresholds[index],
            feature: feature(features[index])?,
            on_true: next(on_true[index], true_is_leaf[index])?,
            on_false: next(on_false[index], false_is_leaf[index])?,
            comparison: comparisons[index],
            missing_is_true: missing.get(index) == Some(&1),
        });
    }
    let weights = numbers("leaf_weights")?;
    let leaf_targets = integers("leaf_targetids", weights.len())?;
    let leaves = weights
        .into_iter()
        .zip(leaf_targets)
        .map(|(value, target)| {
            let target = usize::try_from(*target)
                .map_err(|_| Refusal::new("a value of leaf_targetids is negative"))?;
            Ok(vec![Weight { target, value }])
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    let roots = attributes.integers("tree_roots")?.unwrap_or_default();
    let roots = roots.iter().map(|root| next(*root, 0)).collect::<Result<Vec<_>, _>>()?;
    Forest::new(branches, &leaves, roots, sets, targets)
}

fn next(index: i64, is_leaf: i64) -> Result<Next, Refusal> {
    let index = usize::try_from(index)
        .map_err(|_| Refusal::new(format!("a node names the node {index}, which can't be")))?;
    Next::new(if is_leaf == 0 { Place::Branch(index) } else { Place::Leaf(index) })
}

/// The comparison of each branch, and the sets of those that ask for membership. The
/// sets follow one another in the order of their branches, each ended by a NaN.
fn comparisons<T: Number>(modes: &[u8], members: &[T]) -> Result<(Vec<Comparison>, Vec<Vec<T>>), Refusal> {
    let mut given = members.split(|member| member.is_missing());
    let mut sets: Vec<Vec<T>> = Vec::new();
    let comparisons = modes
        .iter()
        .map(|mode| match mode {
            0 => Ok(Comparison::LessOrEqual),
            1 => Ok(Comparison::Less),
            2 => Ok(Comparison::GreaterOrEqual),
            3 => Ok(Comparison::Greater),
            4 => Ok(Comparison::Equal),
            5 => Ok(Comparison::NotEqual),
            6 => {
                let set = given.next().ok_or_else(|| Refusal::new("membership_values has too few sets"))?;
                let index = u32::try_from(sets.len()).map_err(|_| Refusal::new("there are too many sets"))?;
                sets.push(set.to_vec());
                Ok(Comparison::Member(index))
            }
            other => Err(Refusal::new(format!("a node has the mode {other}; 0 to 6 are expected"))),
        })
        .collect::<Result<Vec<_>, Refusal>>()?;
    Ok((comparisons, sets))
}
