//! Attention: two products with a softmax between them.

use std::collections::HashSet;

use adytum_kernels::Level;

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    Fusion, constant_and_other,
    heads::Order,
    links::{Links, fused_product, plain, turned},
    windows::Windows,
};
use crate::{
    fused::attention::{FusedAttention, Masking, Target},
    onnx::model::{Node, ValueId},
    tensor::{ElementType, Tensor},
};

/// The first half of an attention: scaled products of queries and keys.
struct Scores {
    query: ValueId,
    key: ValueId,
    /// The dimensions of the keys.
    order: Order,
    scale: f32,
    members: Vec<usize>,
}

/// The mask that changes the scores.
enum Mask {
    Value(ValueId),
    /// A constant that the model does not have.
    Made(Tensor),
}

impl Planner<'_> {
    pub(super) fn fuse_attention(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        wanted: &HashSet<ValueId>,
    ) -> Result<Vec<Placed>, PlanError> {
        let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
        let links = Links::new(&placed, wanted);
        for index in 0..placed.len() {
            let is_softmax = plain(&placed, index).is_some_and(|node| node.operator == "Softmax");
            if is_softmax
                && let Some((root, members, fusion)) = self.attention(&placed, &links, facts, index)?
            {
                self.replace(&mut placed, root, &members, fusion);
            }
        }
        Ok(self.sweep(placed, wanted))
    }

    fn is_of_four(&self, facts: &Facts, value: ValueId) -> bool {
        self.fact(facts, value)
            .is_some_and(|fact| fact.rank() == Some(4) && fact.element_type() == Some(ElementType::Float))
    }

    /// The attention of a softmax: its last node, the nodes that it computes, and the operator.
    fn attention(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        index: usize,
    ) -> Result<Option<(usize, Vec<usize>, Fusion)>, PlanError> {
        let Some(softmax) = plain(placed, index) else { return Ok(None) };
        let [Some(masked)] = softmax.inputs.as_slice() else { return Ok(None) };
        let [Some(weights)] = softmax.outputs.as_slice() else { return Ok(None) };
        let axis = softmax.attributes.integer("axis").ok().flatten();
        let is_last = match axis {
            None => softmax.opset >= 13,
            Some(axis) => axis == -1 || axis == 3,
        };
        if !is_last || !self.is_of_four(facts, *weights) || links.only_user(*masked) != Some(index) {
            return Ok(None);
        }
        let Some((scores, masking, mask)) = self.masked(placed, links, facts, *masked)? else {
            return Ok(None);
        };
        let Some(second) = links.only_user(*weights) else { return Ok(None) };
        let Some(product) = plain(placed, second).filter(|node| node.operator == "MatMul") else {
            return Ok(None);
        };
        let (&[Some(left), Some(value)], &[Some(result)]) =
            (product.inputs.as_slice(), product.outputs.as_slice())
        else {
            return Ok(None);
        };
        if left != *weights || value == *weights || !self.is_of_four(facts, value) {
            return Ok(None);
        }
        let mut members = scores.members;
        members.extend([index, second]);
        let Some(query) = self.heads(placed, links, facts, scores.query, Order::Rows)? else {
            return Ok(None);
        };
        let Some(key) = self.heads(placed, links, facts, scores.key, scores.order)? else { return Ok(None) };
        let Some(value) =
            self.heads(placed, links, facts, value, Order::Rows)?.filter(|value| value.factor == 1.0)
        else {
            return Ok(None);
        };
        let (root, target) = self.target(placed, links, facts, (second, result), &mut members);
        let attention = FusedAttention {
            level: Level::best(),
            sources: [query.source, key.source, value.source],
            scale: scores.scale * query.factor * key.factor,
            masking,
            target,
        };
        let description = attention.describe();
        let mask = mask.map(|mask| match mask {
            Mask::Value(value) => value,
            Mask::Made(tensor) => {
                let value = self.fresh();
                self.constants.insert(value, tensor);
                value
            }
        });
        let inputs = vec![Some(query.value), Some(key.value), Some(value.value), mask];
        Ok(Some((root, members, Fusion { operator: Box::new(attention), inputs, description })))
    }

    /// What the softmax is taken of: scores, and a mask.
    fn masked(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        value: ValueId,
    ) -> Result<Option<(Scores, Masking, Option<Mask>)>, PlanError> {
        if let Some(windows) = self.windows(placed, links, facts, value)? {
            let Windows { scores, mask, members } = windows;
            let Some(mut scores) = self.scores(placed, links, facts, scores)? else { return Ok(None) };
            scores.members.extend(members);
            return Ok(Some((scores, Masking::Add, Some(Mask::Made(mask)))));
        }
        if let Some((place, node)) = links.maker(placed, value, "Add") {
            let &[Some(left), Some(right)] = node.inputs.as_slice() else { return Ok(None) };
            for (scores, mask) in [(left, right), (right, left)] {
                let fact = self.fact(facts, mask).unwrap_or_default();
                let is_mask = fact.element_type() == Some(ElementType::Float)
                    && fact.rank().is_some_and(|rank| rank <= 4);
                if is_mask
                    && links.only_user(scores) == Some(place)
                    && let Some(mut scores) = self.scores(placed, links, facts, scores)?
                {
                    scores.members.push(place);
                    return Ok(Some((scores, Masking::Add, Some(Mask::Value(mask)))));
                }
            }
            return Ok(None);
        }
        if let Some((place, node)) = links.maker(placed, value, "Where") {
            let &[Some(mask), Some(left), Some(right)] = node.inputs.as_slice() else { return Ok(None) };
            let rank = self.fact(facts, mask).and_then(|fact| fact.rank());
            let (scores, masking) = match self.number(Some(right))? {
                Some(other) => (left, Masking::Keep(other)),
                None => match self.number(Some(left))? {
                    Some(other) => (right, Masking::Fill(other)),
                    None => return Ok(None),
                },
            };
            if rank.is_none_or(|rank| rank > 4) || links.only_user(scores) != Some(place) {
                return Ok(None);
            }
            let Some(mut scores) = self.scores(placed, links, facts, scores)? else { return Ok(None) };
            scores.members.push(place);
            return Ok(Some((scores, masking, Some(Mask::Value(mask)))));
        }
        Ok(self.scores(placed, links, facts, value)?.map(|scores| (scores, Masking::Nothing, None)))
    }

    /// Products of queries and keys, with a scale.
    fn scores(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        value: ValueId,
    ) -> Result<Option<Scores>, PlanError> {
        let (mut value, mut scale, mut members) = (value, 1.0, Vec::new());
        for operator in ["Div", "Mul"] {
            let Some((place, node)) = links.maker(placed, value, operator) else { continue };
            let Some((constant, other)) = constant_and_other(node, |value| self.constants.contains(value))
            else {
                return Ok(None);
            };
            let is_divided = operator == "Div" && node.inputs.first() == Some(&Some(constant));
            let Some(number) = self.number(Some(constant))?.filter(|_| !is_divided) else { return Ok(None) };
            if links.only_user(other) != Some(place) {
                return Ok(None);
            }
            scale *= if operator == "Div" { 1.0 / number } else { number };
            value = other;
            members.push(place);
        }
        let fused = links.maker_of(value).and_then(|place| Some((place, fused_product(placed, place)?)));
        let Some((place, node)) = links.maker(placed, value, "MatMul").or(fused) else { return Ok(None) };
        let &[Some(query), Some(key)] = node.inputs.as_slice() else { return Ok(None) };
        let mut order = Order::Turned;
        if fused.is_some() {
            scale *= node.attributes.float("alpha").ok().flatten().unwrap_or(1.0);
            match turned(node) {
                Some([false, true]) => order = Order::Rows,
                Some([false, false]) => {}
                _ => return Ok(None),
            }
        }
        if !self.is_of_four(facts, query) || !self.is_of_four(facts, key) || !scale.is_finite() {
            return Ok(None);
        }
        members.insert(0, place);
        Ok(Some(Scores { query, key, order, scale, members }))
    }

    /// The last node that an attention computes, and how its result is put.
    fn target(
        &self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        (product, result): (usize, ValueId),
        members: &mut Vec<usize>,
    ) -> (usize, Target) {
        let split = (product, Target::Split);
        let Some(turn) = links.only_user(result) else { return split };
        let Some(node) = plain(placed, turn).filter(|node| node.operator == "Transpose") else {
            return split;
        };
        let (&[Some(turned)], Ok(Some(&[0, 2, 1, 3]))) =
            (node.outputs.as_slice(), node.attributes.integers("perm"))
        else {
            return split;
        };
        members.push(turn);
        let rows = (turn, Target::Rows);
        let is_join = |user: &usize| {
            plain(placed, *user).is_some_and(|node| {
                node.operator == "Reshape"
                    && node.inputs.first() == Some(&Some(turned))
                    && self.is_joined(facts, turned, node)
            })
        };
        let Some(join) = links.users(turned).iter().copied().find(is_join) else { return rows };
        if links.is_wanted(turned) || !only_serves(placed, links, turned, join, turn) {
            return rows;
        }
        members.push(join);
        (join, Target::SideBySide)
    }

    /// Whether a reshape puts the heads of rows side by side, and does nothing else.
    fn is_joined(&self, facts: &Facts, turned: ValueId, node: &Node) -> bool {
        let shape = |value| self.fact(facts, value).and_then(|fact| fact.shape);
        let found = shape(turned);
        let joined = node.outputs.first().copied().flatten().and_then(shape);
        let (Some([batch, rows, heads, size]), Some([outer, middle, last])) =
            (found.as_deref(), joined.as_deref())
        else {
            return false;
        };
        (batch, rows) == (outer, middle) && heads.times(size).as_ref() == Some(last)
    }
}

/// Whether all that takes a value serves one node only, such as what computes its new shape. The nodes
/// from `from` to that node are looked at.
fn only_serves(placed: &[Option<Placed>], links: &Links, value: ValueId, node: usize, from: usize) -> bool {
    let mut servants = vec![node];
    for index in (from..node).rev() {
        let Some(Some(entry)) = placed.get(index) else { continue };
        let mut outputs = entry.node.outputs.iter().flatten();
        let is_taken = outputs.clone().any(|output| !links.users(*output).is_empty());
        if is_taken && outputs.all(|output| links.is_within(*output, &servants)) {
            servants.push(index);
        }
    }
    links.is_within(value, &servants)
}
