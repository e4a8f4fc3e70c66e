//! Layer normalizations: as one node, and as means, differences and roots.

use std::collections::HashSet;

use adytum_kernels::Level;

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    Fusion, constant_and_other,
    links::{Links, plain},
};
use crate::{
    fused::normalization::NormalizedRows,
    onnx::model::{Node, ValueId},
    outside::Outside,
    tensor::ElementType,
};

/// A normalization that was found.
struct Found {
    input: ValueId,
    epsilon: f32,
    is_centred: bool,
    scale: Vec<f32>,
    bias: Vec<f32>,
    members: Vec<usize>,
}

impl Planner<'_> {
    pub(super) fn fuse_normalizations(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        wanted: &HashSet<ValueId>,
    ) -> Result<Vec<Placed>, PlanError> {
        let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
        let links = Links::new(&placed, wanted);
        // From the end: the normalization with a bias comes before the one without, which is its part.
        for index in (0..placed.len()).rev() {
            let found = match self.one_node(&placed, index, facts)? {
                Ok(found) => found,
                Err(Some(outside)) => {
                    self.explain(&placed, index, outside);
                    continue;
                }
                Err(None) => match self.many_nodes(&placed, &links, index, facts)? {
                    Some(found) => found,
                    None => continue,
                },
            };
            let Found { input, epsilon, is_centred, scale, bias, members } = found;
            let rows = NormalizedRows { level: Level::best(), epsilon, is_centred, scale, bias };
            let description = rows.describe();
            let fusion = Fusion { operator: Box::new(rows), inputs: vec![Some(input)], description };
            self.replace(&mut placed, index, &members, fusion);
            for member in members.iter().filter(|member| **member != index) {
                if let Some(entry) = placed.get_mut(*member).and_then(Option::take) {
                    self.constants.forget(&entry.node);
                }
            }
        }
        Ok(self.sweep(placed, wanted))
    }

    /// The last dimension of a value of floats.
    pub(super) fn row_length(&self, facts: &Facts, value: ValueId) -> Option<usize> {
        let fact = self.fact(facts, value)?;
        if fact.element_type() != Some(ElementType::Float) {
            return None;
        }
        usize::try_from(fact.dimension(fact.rank()?.checked_sub(1)?)?).ok().filter(|length| *length > 0)
    }

    fn is_last_axis(&self, facts: &Facts, value: ValueId, axis: i64) -> bool {
        let rank = self.fact(facts, value).and_then(|fact| i64::try_from(fact.rank()?).ok());
        axis == -1 || rank.is_some_and(|rank| axis == rank - 1)
    }

    fn one_node(
        &mut self,
        placed: &[Option<Placed>],
        index: usize,
        facts: &Facts,
    ) -> Result<Result<Found, Option<Outside>>, PlanError> {
        let Some(node) = plain(placed, index) else { return Ok(Err(None)) };
        let is_centred = node.operator == "LayerNormalization";
        if !is_centred
            && !matches!(node.operator.as_str(), "RMSNormalization" | "SimplifiedLayerNormalization")
        {
            return Ok(Err(None));
        }
        let no = |outside| Ok(Err(Some(outside)));
        let [Some(input), Some(scale), rest @ ..] = node.inputs.as_slice() else { return Ok(Err(None)) };
        let attributes = &node.attributes;
        let (Ok(axis), Ok(stash), Ok(epsilon)) =
            (attributes.integer("axis"), attributes.integer("stash_type"), attributes.float("epsilon"))
        else {
            return no(Outside::Attribute("axis, stash_type or epsilon"));
        };
        let Some(length) = self.row_length(facts, *input) else { return no(Outside::Rows(0)) };
        if node.outputs.iter().skip(1).any(Option::is_some) {
            return no(Outside::Outputs);
        }
        if stash.unwrap_or(1) != 1 {
            return no(Outside::Attribute("stash_type"));
        }
        if !self.is_last_axis(facts, *input, axis.unwrap_or(-1)) {
            return no(Outside::Attribute("axis"));
        }
        if !self.is_vector(*scale) {
            return no(Outside::Constant(1));
        }
        let Some(scale) = self.row(Some(*scale), length)? else { return no(Outside::Constant(1)) };
        let bias = match rest.first().copied().flatten() {
            None => Vec::new(),
            Some(bias) if self.is_vector(bias) => match self.row(Some(bias), length)? {
                Some(bias) => bias,
                None => return no(Outside::Constant(2)),
            },
            Some(_) => return no(Outside::Constant(2)),
        };
        let epsilon = epsilon.unwrap_or(1e-5);
        Ok(Ok(Found { input: *input, epsilon, is_centred, scale, bias, members: vec![index] }))
    }

    /// Whether a constant has one dimension.
    fn is_vector(&self, value: ValueId) -> bool {
        self.constants.fact(value).and_then(|fact| fact.rank()) == Some(1)
    }

    /// A normalization whose last node multiplies with the scale, or adds the bias.
    fn many_nodes(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        index: usize,
        facts: &Facts,
    ) -> Result<Option<Found>, PlanError> {
        let Some(node) = plain(placed, index) else { return Ok(None) };
        let mut members = vec![index];
        let (bias, product) = match node.operator.as_str() {
            "Mul" => (None, node),
            "Add" => {
                let Some((bias, product)) = self.constant_of(node) else { return Ok(None) };
                let Some((place, product)) = links.maker(placed, product, "Mul") else { return Ok(None) };
                members.push(place);
                (Some(bias), product)
            }
            _ => return Ok(None),
        };
        let Some((scale, normal)) = self.constant_of(product) else { return Ok(None) };
        let Some(length) = self.row_length(facts, normal) else { return Ok(None) };
        if !self.is_vector(scale) || bias.is_some_and(|bias| !self.is_vector(bias)) {
            return Ok(None);
        }
        let Some((input, epsilon, is_centred)) = self.normal(placed, links, normal, facts, &mut members)?
        else {
            return Ok(None);
        };
        let inner = |member: &&usize| **member != index;
        let is_apart = members.iter().filter(inner).all(|member| {
            plain(placed, *member).is_some_and(|node| {
                node.outputs.iter().flatten().all(|output| links.is_within(*output, &members))
            })
        });
        if !is_apart {
            return Ok(None);
        }
        let Some(scale) = self.row(Some(scale), length)? else { return Ok(None) };
        let bias = match bias {
            None => Vec::new(),
            Some(bias) => match self.row(Some(bias), length)? {
                Some(bias) => bias,
                None => return Ok(None),
            },
        };
        Ok(Some(Found { input, epsilon, is_centred, scale, bias, members }))
    }

    fn constant_of(&self, node: &Node) -> Option<(ValueId, ValueId)> {
        constant_and_other(node, |value| self.constants.contains(value))
    }

    /// `(x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon)`, or the same without means: the input, epsilon, and
    /// whether there are means.
    fn normal(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        value: ValueId,
        facts: &Facts,
        members: &mut Vec<usize>,
    ) -> Result<Option<(ValueId, f32, bool)>, PlanError> {
        let (difference, root) = if let Some((place, node)) = links.maker(placed, value, "Div") {
            members.push(place);
            let [Some(difference), Some(root)] = node.inputs.as_slice() else { return Ok(None) };
            (*difference, *root)
        } else if let Some((place, node)) = links.maker(placed, value, "Mul") {
            members.push(place);
            let [Some(left), Some(right)] = node.inputs.as_slice() else { return Ok(None) };
            let mut inverse = |value| {
                if let Some((place, node)) = links.maker(placed, value, "Reciprocal") {
                    members.push(place);
                    return Ok(node.inputs.first().copied().flatten());
                }
                let Some((place, node)) = links.maker(placed, value, "Div") else { return Ok(None) };
                let [one, root] = node.inputs.as_slice() else { return Ok(None) };
                let is_inverse = self.number(*one)? == Some(1.0);
                members.push(place);
                Ok::<_, PlanError>(root.filter(|_| is_inverse))
            };
            match inverse(*right)? {
                Some(root) => (*left, root),
                None => match inverse(*left)? {
                    Some(root) => (*right, root),
                    None => return Ok(None),
                },
            }
        } else {
            return Ok(None);
        };
        let Some((place, node)) = links.maker(placed, root, "Sqrt") else { return Ok(None) };
        members.push(place);
        let Some(sum) = node.inputs.first().copied().flatten() else { return Ok(None) };
        let Some((place, node)) = links.maker(placed, sum, "Add") else { return Ok(None) };
        members.push(place);
        let Some((epsilon, variance)) = self.constant_of(node) else { return Ok(None) };
        let Some(epsilon) = self.number(Some(epsilon))? else { return Ok(None) };
        let Some(squares) = self.mean(placed, links, variance, facts, members) else { return Ok(None) };
        let is_square = if let Some((place, node)) = links.maker(placed, squares, "Pow") {
            members.push(place);
            node.inputs.first() == Some(&Some(difference))
                && self.number(node.inputs.get(1).copied().flatten())? == Some(2.0)
        } else if let Some((place, node)) = links.maker(placed, squares, "Mul") {
            members.push(place);
            node.inputs.iter().all(|input| *input == Some(difference)) && node.inputs.len() == 2
        } else {
            false
        };
        if !is_square {
            return Ok(None);
        }
        if let Some((place, node)) = links.maker(placed, difference, "Sub")
            && let [Some(input), Some(mean)] = node.inputs.as_slice()
        {
            let before = members.len();
            members.push(place);
            if self.mean(placed, links, *mean, facts, members) == Some(*input) {
                return Ok(Some((*input, epsilon, true)));
            }
            members.truncate(before);
        }
        Ok(Some((difference, epsilon, false)))
    }

    /// The input of a mean of rows.
    fn mean(
        &self,
        placed: &[Option<Placed>],
        links: &Links,
        value: ValueId,
        facts: &Facts,
        members: &mut Vec<usize>,
    ) -> Option<ValueId> {
        let (place, node) = links.maker(placed, value, "ReduceMean")?;
        let input = node.inputs.first().copied().flatten()?;
        let axes = match node.inputs.get(1).copied().flatten() {
            Some(axes) => self.constants.fact(axes)?.known_integers()?,
            None => node.attributes.integers("axes").ok()??.to_vec(),
        };
        let &[axis] = axes.as_slice() else { return None };
        let keeps = node.attributes.flag("keepdims", true).ok()?;
        if !keeps || !self.is_last_axis(facts, input, axis) {
            return None;
        }
        members.push(place);
        Some(input)
    }
}
