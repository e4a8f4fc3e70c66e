//! Factors that go into the weights of what comes next.
//!
//! A clip from 0 to a bound is a clip to 1 for rten, and a product with the bound
//! (`rules::elementwise`). Where convolutions alone take the product, it is left out and their
//! weights are multiplied once, at load: memory is passed over once less.

use std::collections::{HashMap, HashSet};

use super::{IslandNode, Operand, Target, plot::Member};
use crate::onnx::model::ValueId;

/// The bound of a member that is a clip from 0, and its output.
fn clip(member: &Member) -> Option<(f32, ValueId)> {
    let [clip, product] = member.translation.nodes.as_slice() else { return None };
    let (Some(Some(Operand::Inner(given))), Some(Some(Operand::Constant(bound)))) =
        (product.inputs.first(), product.inputs.get(1))
    else {
        return None;
    };
    let is_clip = clip.operator == "HardSigmoid" && clip.outputs == [Target::Inner(*given)];
    let is_product = product.operator == "Mul" && product.outputs == [Target::Output(0)];
    let [bound] = bound.values::<f32>()? else { return None };
    let output = member.outputs.first().copied().flatten()?;
    (is_clip && is_product && member.outputs.len() == 1).then_some((*bound, output))
}

/// The weights of a convolution that takes a value in no other way.
fn weights_for(node: &IslandNode, value: ValueId) -> Option<ValueId> {
    let is = |input: &Option<Operand>| matches!(input, Some(Operand::Value(found)) if *found == value);
    let (first, rest) = node.inputs.split_first()?;
    match rest.first() {
        Some(Some(Operand::Value(weights)))
            if node.operator == "Conv" && is(first) && !rest.iter().any(is) =>
        {
            Some(*weights)
        }
        _ => None,
    }
}

/// Leaves products out whose values only convolutions in the island take, and gives the
/// weights to multiply. `may_scale` says whether a value is weights that nobody else has.
pub(crate) fn absorb(
    members: &mut [Member],
    leaving: &HashSet<ValueId>,
    may_scale: impl Fn(ValueId) -> bool,
) -> Vec<(ValueId, f32)> {
    let mut takers: HashMap<ValueId, Vec<Option<ValueId>>> = HashMap::new();
    for node in members.iter().flat_map(|member| &member.translation.nodes) {
        for input in node.inputs.iter().flatten() {
            if let Operand::Value(value) = input {
                takers.entry(*value).or_default().push(weights_for(node, *value));
            }
        }
    }
    let mut scaled = Vec::new();
    for member in members {
        let Some((bound, output)) = clip(member) else { continue };
        let weights: Option<Vec<ValueId>> =
            takers.get(&output).and_then(|takers| takers.iter().copied().collect());
        let Some(weights) = weights.filter(|_| !leaving.contains(&output)) else { continue };
        if weights.is_empty() || !weights.iter().all(|weights| may_scale(*weights)) {
            continue;
        }
        member.translation.nodes.truncate(1);
        if let Some(clip) = member.translation.nodes.first_mut() {
            clip.outputs = vec![Target::Output(0)];
        }
        scaled.extend(weights.into_iter().map(|weights| (weights, bound)));
    }
    scaled
}
