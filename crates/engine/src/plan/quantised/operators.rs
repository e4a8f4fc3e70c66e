//! Operators without weights.

use super::{MICROSOFT, PlanError, Planner, Quantised, Target, Uses, input, quantised};
use crate::{
    onnx::model::{Node, ValueId},
    operators::{Attribute, Attributes},
};

/// From this opset on `MaxPool` takes bytes.
const POOLS_OF_BYTES: i64 = 12;

fn parameters(of: Quantised) -> [Option<ValueId>; 3] {
    [Some(of.numbers), Some(of.scale), Some(of.zero_point)]
}

impl Target<'_> {
    fn scale(&self) -> [Option<ValueId>; 2] {
        [Some(self.to.scale), Some(self.to.zero_point)]
    }
}

impl Planner<'_> {
    /// Bytes in another scale: a concatenation of one.
    pub(super) fn rescaled(&mut self, target: &Target<'_>) -> Result<Option<Node>, PlanError> {
        let Some(from) = quantised(target.node) else { return Ok(None) };
        let is_one = self.one_number(from.scale)?.is_some() && self.one_byte(from.zero_point)?.is_some();
        // Constants are folded instead.
        if !is_one || self.byte_type(from).is_none() || self.constants.contains(from.numbers) {
            return Ok(None);
        }
        if self.is_same(from, target.to)? {
            let inputs = vec![Some(from.numbers)];
            return Ok(Some(target.made("", "Identity", inputs, Attributes::default())));
        }
        let inputs = target.scale().into_iter().chain(parameters(from)).collect();
        Ok(Some(target.made(MICROSOFT, "QLinearConcat", inputs, axis(0))))
    }

    /// Whether scale and zero point are the same.
    fn is_same(&mut self, left: Quantised, right: Quantised) -> Result<bool, PlanError> {
        Ok(self.byte_type(left) == self.byte_type(right)
            && self.one_number(left.scale)? == self.one_number(right.scale)?
            && self.one_byte(left.zero_point)? == self.one_byte(right.zero_point)?)
    }

    /// `Add` and `Mul`.
    pub(super) fn quantised_pair(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let (Some((left, left_type)), Some((right, right_type))) =
            (self.operand(nodes, uses, node, 0)?, self.operand(nodes, uses, node, 1)?)
        else {
            return Ok(None);
        };
        if left_type != target.element_type || right_type != target.element_type {
            return Ok(None);
        }
        let operator = if node.operator == "Add" { "QLinearAdd" } else { "QLinearMul" };
        let inputs = parameters(left).into_iter().chain(parameters(right)).chain(target.scale()).collect();
        Ok(Some(target.made(MICROSOFT, operator, inputs, Attributes::default())))
    }

    /// `AveragePool` and `GlobalAveragePool`.
    pub(super) fn quantised_mean(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let from = self.operand(nodes, uses, node, 0)?;
        let Some((from, _)) = from.filter(|(_, found)| *found == target.element_type) else {
            return Ok(None);
        };
        let operator =
            if node.operator == "AveragePool" { "QLinearAveragePool" } else { "QLinearGlobalAveragePool" };
        let inputs = parameters(from).into_iter().chain(target.scale()).collect();
        Ok(Some(target.made(MICROSOFT, operator, inputs, node.attributes.clone())))
    }

    /// `Concat`.
    pub(super) fn quantised_concatenation(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let mut inputs = target.scale().to_vec();
        for index in 0..node.inputs.len() {
            let Some((from, _)) = self.operand(nodes, uses, node, index)? else { return Ok(None) };
            inputs.extend(parameters(from));
        }
        let Some(along) = node.attributes.integer("axis").ok().flatten() else { return Ok(None) };
        Ok(Some(target.made(MICROSOFT, "QLinearConcat", inputs, axis(along))))
    }

    /// Operators that move numbers, or choose some: if the scale stays, they do the same with bytes.
    pub(super) fn moved_bytes(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        target: &Target<'_>,
    ) -> Result<Option<Node>, PlanError> {
        let node = target.node;
        let from = self.operand(nodes, uses, node, 0)?;
        let Some((from, _)) = from.filter(|(_, found)| *found == target.element_type) else {
            return Ok(None);
        };
        let mode = node.attributes.text("mode").ok().flatten().unwrap_or("nearest");
        let is_moved = node.operator != "Resize" || mode == "nearest" && !has_fill(node);
        let has_one = node.outputs.iter().flatten().count() == 1;
        if !is_moved || !has_one || !self.is_same(from, target.to)? {
            return Ok(None);
        }
        let mut inputs = node.inputs.clone();
        if let Some(first) = inputs.first_mut() {
            *first = Some(from.numbers);
        }
        let mut made = target.made("", &node.operator, inputs, node.attributes.clone());
        if made.operator == "MaxPool" {
            made.opset = made.opset.max(POOLS_OF_BYTES);
        }
        Ok(Some(made))
    }
}

/// Whether a node that resizes images may write a number of its own.
fn has_fill(node: &Node) -> bool {
    let mode = node.attributes.text("coordinate_transformation_mode").ok().flatten();
    mode == Some("tf_crop_and_resize") || input(node, 0).is_none()
}

fn axis(along: i64) -> Attributes {
    let mut attributes = Attributes::default();
    attributes.set("axis", Attribute::Integer(along));
    attributes
}
