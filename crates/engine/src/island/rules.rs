//! What rten computes right: each node of a model that may enter an island, and as what.
//!
//! A rule gives nothing for a node that it does not know to be computed as ONNX defines it:
//! then our own operator computes the node, or the model is refused.

mod elementwise;
mod fusions;
mod images;
mod layout;
mod matrices;
mod quantized;
mod reductions;

use std::collections::HashMap;

use super::{IslandNode, Kind, Operand, Target, Translation};
use crate::{
    facts::{Fact, size::Sizes},
    onnx::model::{Node, ValueId},
    operators::Attribute,
    tensor::{ElementType, Tensor, ValueType},
};

/// A node, what is known of its inputs, and of its outputs' sizes.
pub(crate) struct View<'a> {
    pub(crate) node: &'a Node,
    pub(crate) inputs: &'a [Option<&'a Fact>],
    pub(crate) sizes: &'a Sizes,
    /// The node of the same graph that makes a value.
    pub(crate) producers: Producers<'a>,
    /// The facts about any value.
    pub(crate) fact: &'a dyn Fn(ValueId) -> Option<Fact>,
}

/// The node as rten computes it right; `None` if it does not.
pub(crate) fn translate(view: &View<'_>) -> Option<Translation> {
    if !view.node.graphs.is_empty() {
        return None;
    }
    match view.node.domain.as_str() {
        "" => elementwise::translate(view)
            .or_else(|| layout::translate(view))
            .or_else(|| matrices::translate(view))
            .or_else(|| images::translate(view))
            .or_else(|| reductions::translate(view))
            .or_else(|| quantized::translate(view)),
        "com.microsoft" => matrices::translate_contributed(view),
        _ => None,
    }
}

impl<'a> View<'a> {
    fn operator(&self) -> &'a str {
        &self.node.operator
    }

    fn input(&self, index: usize) -> Option<&'a Fact> {
        self.inputs.get(index).copied().flatten()
    }

    fn has_input(&self, index: usize) -> bool {
        self.input(index).is_some()
    }

    /// How many inputs the node has, without those left out at the end.
    fn input_count(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    fn element_type(&self, index: usize) -> Option<ElementType> {
        self.input(index)?.element_type()
    }

    /// The kind in which an input can enter an island.
    fn kind(&self, index: usize) -> Option<Kind> {
        let fact = self.input(index)?;
        let element_type = fact.element_type()?;
        if element_type == ElementType::Int64 && !fact.fits_32_bits(self.sizes) {
            return None;
        }
        Kind::of(element_type)
    }

    fn is_float(&self, index: usize) -> bool {
        self.kind(index) == Some(Kind::Float)
    }

    fn is_integer(&self, index: usize) -> bool {
        self.kind(index) == Some(Kind::Int32) && self.element_type(index) != Some(ElementType::Bool)
    }

    fn is_bool(&self, index: usize) -> bool {
        self.element_type(index) == Some(ElementType::Bool)
    }

    fn rank(&self, index: usize) -> Option<usize> {
        self.input(index)?.rank()
    }

    /// The whole numbers of an input that is known at load.
    fn integers(&self, index: usize) -> Option<Vec<i64>> {
        self.input(index)?.known_integers()
    }

    fn value_type(&self, index: usize) -> Option<ValueType> {
        self.input(index)?.value_type.clone()
    }

    fn attribute_integer(&self, name: &str, default: i64) -> Option<i64> {
        self.node.attributes.integer(name).ok().map(|value| value.unwrap_or(default))
    }

    fn attribute_float(&self, name: &str, default: f32) -> Option<f32> {
        self.node.attributes.float(name).ok().map(|value| value.unwrap_or(default))
    }

    fn attribute_integers(&self, name: &str) -> Option<Option<Vec<i64>>> {
        self.node.attributes.integers(name).ok().map(|values| values.map(<[i64]>::to_vec))
    }

    fn attribute_text(&self, name: &str) -> Option<Option<&'a str>> {
        self.node.attributes.text(name).ok()
    }

    /// Whether the node has only attributes of these names.
    fn has_only(&self, names: &[&str]) -> bool {
        self.node.attributes.names().all(|name| names.contains(&name))
    }

    /// How many outputs somebody takes, up to the last of them.
    fn output_count(&self) -> usize {
        self.node.outputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// The node that makes an input.
    fn maker(&self, index: usize) -> Option<&'a Node> {
        self.producers.of(self.node, index)
    }

    fn operand(&self, index: usize) -> Option<Operand> {
        self.node.inputs.get(index).copied().flatten().map(Operand::Value)
    }

    /// The first `count` inputs.
    fn operands(&self, count: usize) -> Vec<Option<Operand>> {
        (0..count).map(|index| self.operand(index)).collect()
    }

    /// Of the element type that an attribute names.
    fn type_attribute(&self, name: &str) -> Option<ElementType> {
        self.node
            .attributes
            .integer(name)
            .ok()
            .flatten()
            .and_then(|number| i32::try_from(number).ok())
            .and_then(ElementType::from_onnx)
    }
}

/// Which node of a graph makes which value.
#[derive(Clone, Copy)]
pub(crate) struct Producers<'a> {
    pub(crate) nodes: &'a [Node],
    pub(crate) origins: &'a HashMap<ValueId, usize>,
}

impl<'a> Producers<'a> {
    /// The node that makes an input of a node.
    fn of(self, node: &Node, index: usize) -> Option<&'a Node> {
        let value = node.inputs.get(index).copied().flatten()?;
        self.origins.get(&value).and_then(|index| self.nodes.get(*index))
    }
}

/// A node of rten with one output, the first of the model's node.
fn node(
    operator: &str,
    inputs: Vec<Option<Operand>>,
    attributes: Vec<(&'static str, Attribute)>,
) -> IslandNode {
    IslandNode {
        domain: "",
        operator: operator.to_owned(),
        attributes,
        inputs,
        outputs: vec![Target::Output(0)],
    }
}

/// One node with one output.
fn single(node: IslandNode, value_type: ValueType) -> Option<Translation> {
    Some(Translation { nodes: vec![node], types: vec![value_type], heavy: false })
}

fn heavy(node: IslandNode, value_type: ValueType) -> Option<Translation> {
    Some(Translation { nodes: vec![node], types: vec![value_type], heavy: true })
}

/// A vector of whole numbers as an operand. Numbers beyond 32 bits mean "to the end" where
/// this is used, and so do the largest of 32 bits.
fn vector(values: &[i64]) -> Operand {
    Operand::Constant(Tensor::vector(values.iter().map(|value| clamp(*value)).collect::<Vec<i32>>()))
}

fn clamp(value: i64) -> i32 {
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

/// An axis that counts from the end if it is negative.
fn axis(axis: i64, rank: usize) -> Option<usize> {
    let rank = i64::try_from(rank).ok()?;
    let axis = if axis < 0 { axis + rank } else { axis };
    (0..rank).contains(&axis).then(|| usize::try_from(axis).ok()).flatten()
}
