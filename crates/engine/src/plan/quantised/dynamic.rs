//! Products of matrices that are quantised when they run: `MatMulInteger`, `Cast`, `Mul` by both scales, and
//! `Add` of a bias. They become `MatMulIntegerToFloat`, as in ONNX Runtime, with the same bits.

use super::{MICROSOFT, PlanError, Planner, Uses, input};
use crate::{
    onnx::model::{Node, ValueId},
    operators::Attributes,
    tensor::ElementType,
};

/// Nodes that become one.
pub(super) struct Scaled {
    pub(super) gone: Vec<usize>,
    pub(super) last: usize,
    pub(super) node: Node,
}

impl Planner<'_> {
    /// The nodes that end with this product of scales, if they can be one.
    pub(super) fn scaled_product(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        last: usize,
    ) -> Result<Option<Scaled>, PlanError> {
        let Some(product) = nodes.get(last).filter(|node| node.domain.is_empty() && node.operator == "Mul")
        else {
            return Ok(None);
        };
        let sides = [(0, 1), (1, 0)].into_iter().find_map(|(sums, scale)| {
            let (cast, node) = uses.only(nodes, input(product, sums)?, "Cast")?;
            let (integer, _) = uses.only(nodes, input(node, 0)?, "MatMulInteger")?;
            Some((cast, integer, input(product, scale)?))
        });
        let Some((cast, integer, scale)) = sides else { return Ok(None) };
        let (Some(integer_node), Some(cast_node)) = (nodes.get(integer), nodes.get(cast)) else {
            return Ok(None);
        };
        let is_float = cast_node.attributes.integer("to").ok().flatten() == Some(1);
        let Some((left_scale, right_scale)) = self.both_scales(nodes, uses, scale, integer_node)? else {
            return Ok(None);
        };
        let mut inputs: Vec<Option<ValueId>> = vec![input(integer_node, 0), input(integer_node, 1)];
        inputs.extend([Some(left_scale), Some(right_scale)]);
        inputs.extend([input(integer_node, 2), input(integer_node, 3)]);
        if !is_float {
            return Ok(None);
        }
        let (mut gone, mut end) = (vec![cast, integer], last);
        if let Some((index, bias)) = self.bias_of_columns(nodes, uses, product, integer_node)? {
            inputs.push(Some(bias));
            gone.push(last);
            end = index;
        }
        let Some(outputs) = nodes.get(end).map(|node| node.outputs.clone()) else { return Ok(None) };
        let node = Node {
            name: integer_node.name.clone(),
            domain: MICROSOFT.to_owned(),
            operator: "MatMulIntegerToFloat".to_owned(),
            opset: 1,
            inputs,
            outputs,
            attributes: Attributes::default(),
            graphs: Vec::new(),
            captures: Vec::new(),
        };
        Ok(Some(Scaled { gone, last: end, node }))
    }

    /// The scales of the left and of the right matrix: that of the left is of `DynamicQuantizeLinear`, that
    /// of the right is constant.
    fn both_scales(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        scale: ValueId,
        integer: &Node,
    ) -> Result<Option<(ValueId, ValueId)>, PlanError> {
        let Some((_, product)) = uses.maker(nodes, scale, "Mul") else { return Ok(None) };
        let dynamic = |value: ValueId| {
            let (_, node) = uses.maker(nodes, value, "DynamicQuantizeLinear")?;
            let is_scale = node.outputs.get(1).copied().flatten() == Some(value);
            let is_left = input(integer, 0) == node.outputs.first().copied().flatten()
                && input(integer, 2) == node.outputs.get(2).copied().flatten();
            (is_scale && is_left).then_some(value)
        };
        for (left, right) in [(0, 1), (1, 0)] {
            let (Some(left), Some(right)) = (input(product, left), input(product, right)) else { continue };
            let shape = self.constants.fact(right).and_then(|fact| fact.known_shape());
            let columns = self.columns(integer);
            let fits = match (shape.as_deref(), columns) {
                (Some([] | [1]), Some(_)) => true,
                (Some([count]), Some(columns)) => *count == columns,
                _ => false,
            };
            let is_real =
                self.constants.fact(right).and_then(|fact| fact.element_type()) == Some(ElementType::Float);
            if fits && is_real && dynamic(left).is_some() {
                return Ok(Some((left, right)));
            }
        }
        Ok(None)
    }

    /// The sum that takes a product, and the constant that it adds to each column.
    fn bias_of_columns(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        product: &Node,
        integer: &Node,
    ) -> Result<Option<(usize, ValueId)>, PlanError> {
        let Some(output) = product.outputs.first().copied().flatten() else { return Ok(None) };
        if uses.counts.get(&output) != Some(&1) {
            return Ok(None);
        }
        let taker = nodes.iter().enumerate().find(|(_, node)| {
            node.domain.is_empty() && node.operator == "Add" && node.inputs.contains(&Some(output))
        });
        let Some((index, node)) = taker else { return Ok(None) };
        let other = node.inputs.iter().flatten().find(|value| **value != output).copied();
        let Some(bias) = other else { return Ok(None) };
        let fact = self.constants.fact(bias);
        let is_row = fact
            .as_ref()
            .is_some_and(|fact| fact.element_type() == Some(ElementType::Float) && fact.rank() == Some(1));
        let count = fact.and_then(|fact| fact.known_shape()).and_then(|shape| shape.first().copied());
        let fits = count.is_some() && count == self.columns(integer);
        Ok((is_row && fits).then_some((index, bias)))
    }

    /// How many columns the constant matrix of a product has.
    fn columns(&self, integer: &Node) -> Option<usize> {
        let shape = self.constants.fact(input(integer, 1)?)?.known_shape()?;
        shape.last().copied().filter(|_| shape.len() == 2)
    }
}
