//! Convolutions and products of matrices.

use super::{MICROSOFT, PlanError, Planner, Quantised, SAME, Target, Uses, input, one_of, quantised};
use crate::{
    onnx::model::{Node, ValueId},
    operators::{Attribute, Attributes},
    tensor::ElementType,
};

/// Quantised weights, their scales, and the dimension along which these are.
struct Weights {
    from: Quantised,
    scales: Vec<f32>,
    axis: i64,
}

impl Planner<'_> {
    /// `Conv` as `QLinearConv`.
    pub(super) fn quantised_convolution(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let (Some((from, _)), Some(weights)) =
            (self.operand(nodes, uses, node, 0)?, self.weights(nodes, uses, node)?)
        else {
            return Ok(None);
        };
        if weights.scales.len() > 1 && weights.axis != 0 {
            return Ok(None);
        }
        let mut inputs = operands(from, weights.from);
        inputs.extend([Some(target.to.scale), Some(target.to.zero_point)]);
        if let Some(bias) = input(node, 2) {
            let Some(bias) = self.bias(nodes, uses, bias, from, &weights)? else { return Ok(None) };
            inputs.push(Some(bias));
        }
        Ok(Some(target.made("", "QLinearConv", inputs, node.attributes.clone())))
    }

    /// `Gemm` as `QGemm`.
    pub(super) fn quantised_gemm(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let (Some((from, _)), Some(weights)) =
            (self.operand(nodes, uses, node, 0)?, self.weights(nodes, uses, node)?)
        else {
            return Ok(None);
        };
        let float = |name: &str| node.attributes.float(name).ok().flatten().unwrap_or(1.0);
        let flag = |name: &str| node.attributes.integer(name).ok().flatten().unwrap_or(0);
        let columns = if flag("transB") == 0 { 1 } else { 0 };
        let is_of_rank_2 = self.constants.fact(weights.from.numbers).and_then(|fact| fact.rank()) == Some(2);
        if float("alpha") != 1.0
            || float("beta") != 1.0
            || flag("transA") != 0
            || !is_of_rank_2
            || weights.scales.len() > 1 && !matches!(weights.axis - columns, 0 | -2)
        {
            return Ok(None);
        }
        let mut inputs = operands(from, weights.from);
        inputs.push(match input(node, 2) {
            None => None,
            Some(bias) => {
                let Some(bias) = self.bias(nodes, uses, bias, from, &weights)? else { return Ok(None) };
                Some(bias)
            }
        });
        inputs.extend([Some(target.to.scale), Some(target.to.zero_point)]);
        let mut attributes = Attributes::default();
        attributes.set("transB", Attribute::Integer(flag("transB")));
        Ok(Some(target.made(MICROSOFT, "QGemm", inputs, attributes)))
    }

    /// `MatMul` as `QLinearMatMul`.
    pub(super) fn quantised_product(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let Some((from, _)) = self.operand(nodes, uses, node, 0)? else { return Ok(None) };
        let Some(weights) = self.weights(nodes, uses, node)? else { return Ok(None) };
        let is_of_rank_2 = self.constants.fact(weights.from.numbers).and_then(|fact| fact.rank()) == Some(2);
        if weights.scales.len() > 1 && !(is_of_rank_2 && matches!(weights.axis, 1 | -1)) {
            return Ok(None);
        }
        let mut inputs = operands(from, weights.from);
        inputs.extend([Some(target.to.scale), Some(target.to.zero_point)]);
        Ok(Some(target.made("", "QLinearMatMul", inputs, Attributes::default())))
    }

    /// What the second operand of a node was dequantised from.
    fn weights(&mut self, nodes: &[Node], uses: &Uses, node: &Node) -> Result<Option<Weights>, PlanError> {
        let maker = input(node, 1).and_then(|value| uses.maker(nodes, value, "DequantizeLinear"));
        let found = maker.and_then(|(_, node)| {
            Some((quantised(node)?, node.attributes.integer("axis").ok()?.unwrap_or(1)))
        });
        let Some((from, axis)) = found.filter(|(from, _)| self.byte_type(*from).is_some()) else {
            return Ok(None);
        };
        Ok(self.numbers(from.scale)?.map(|scales| Weights { from, scales, axis }))
    }

    /// The numbers of a bias whose scale is that of the products.
    fn bias(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        bias: ValueId,
        from: Quantised,
        weights: &Weights,
    ) -> Result<Option<ValueId>, PlanError> {
        let Some((_, node)) = uses.maker(nodes, bias, "DequantizeLinear") else { return Ok(None) };
        let (Some(numbers), Some(scale)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
        let is_wide =
            self.constants.fact(numbers).and_then(|fact| fact.element_type()) == Some(ElementType::Int32);
        let (Some(scales), Some(from)) = (self.numbers(scale)?, self.one_number(from.scale)?) else {
            return Ok(None);
        };
        let expected: Vec<f32> = weights.scales.iter().map(|scale| scale * from).collect();
        let fits = (scales.len() == expected.len() || expected.len() == 1 || scales.len() == 1)
            && (0..scales.len().max(expected.len())).all(|index| {
                let (found, expected) = (one_of(&scales, index), one_of(&expected, index));
                (found - expected).abs() <= SAME * expected.abs()
            });
        Ok((is_wide && fits && self.is_zero(input(node, 2))?).then_some(numbers))
    }
}

/// The first inputs of a product: numbers, scale and zero point of both operands.
fn operands(left: Quantised, right: Quantised) -> Vec<Option<ValueId>> {
    [left, right].iter().flat_map(|one| [one.numbers, one.scale, one.zero_point]).map(Some).collect()
}
