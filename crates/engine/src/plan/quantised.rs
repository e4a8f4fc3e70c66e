//! Operators of quantised numbers in the form of ONNX's quantisers: `DequantizeLinear`, an operator of floats
//! such as `Conv`, `QuantizeLinear`. They become one operator of bytes such as `QLinearConv`, which computes in
//! whole numbers.
//!
//! ONNX Runtime does the same. The sum of products is exact then, so the answer is rounded once,
//! where floats are rounded many times: it may differ by one step from that of floats.

mod operators;
mod products;

use std::collections::{HashMap, HashSet};

use super::{PlanError, Planner};
use crate::{
    onnx::model::{Node, Port, ValueId},
    operators::Attributes,
    tensor::ElementType,
};

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// Two scales are the same if they differ by this part.
const SAME: f32 = 1e-6;

/// A quantised value: the numbers, their scale and their zero point.
#[derive(Clone, Copy)]
struct Quantised {
    numbers: ValueId,
    scale: ValueId,
    zero_point: ValueId,
}

/// The nodes of a graph by what they make, and how often each value is taken.
struct Uses {
    makers: HashMap<ValueId, usize>,
    counts: HashMap<ValueId, usize>,
}

impl Uses {
    fn of(nodes: &[Node], outputs: &[Port]) -> Self {
        let mut uses = Self { makers: HashMap::new(), counts: HashMap::new() };
        for (index, node) in nodes.iter().enumerate() {
            for input in node.inputs.iter().flatten().chain(&node.captures) {
                *uses.counts.entry(*input).or_insert(0) += 1;
            }
            for output in node.outputs.iter().flatten() {
                uses.makers.insert(*output, index);
            }
        }
        for port in outputs {
            *uses.counts.entry(port.value).or_insert(0) += 1;
        }
        uses
    }

    /// The node that makes a value, if it is of this operator.
    fn maker<'a>(&self, nodes: &'a [Node], value: ValueId, operator: &str) -> Option<(usize, &'a Node)> {
        let index = *self.makers.get(&value)?;
        let node = nodes.get(index)?;
        (node.domain.is_empty() && node.operator == operator).then_some((index, node))
    }

    /// The same, if nobody else takes the value.
    fn only<'a>(&self, nodes: &'a [Node], value: ValueId, operator: &str) -> Option<(usize, &'a Node)> {
        self.maker(nodes, value, operator).filter(|_| self.counts.get(&value) == Some(&1))
    }
}

fn input(node: &Node, index: usize) -> Option<ValueId> {
    node.inputs.get(index).copied().flatten()
}

/// What a node that quantises or the other way round takes.
fn quantised(node: &Node) -> Option<Quantised> {
    let attributes = node.attributes.names().all(|name| name == "axis" || name == "saturate");
    let found = Quantised { numbers: input(node, 0)?, scale: input(node, 1)?, zero_point: input(node, 2)? };
    attributes.then_some(found)
}

/// Nodes that can be one of bytes.
struct Group {
    /// The nodes that go, and that in whose place the new one comes.
    gone: Vec<usize>,
    last: usize,
    node: Node,
}

/// Where the bytes of a group go.
struct Target<'a> {
    to: Quantised,
    element_type: ElementType,
    /// The node that makes real numbers.
    node: &'a Node,
    /// The outputs of the node that quantises.
    outputs: &'a [Option<ValueId>],
}

impl Target<'_> {
    /// A node that makes the bytes at once.
    fn made(
        &self,
        domain: &str,
        operator: &str,
        inputs: Vec<Option<ValueId>>,
        attributes: Attributes,
    ) -> Node {
        Node {
            name: self.node.name.clone(),
            domain: domain.to_owned(),
            operator: operator.to_owned(),
            opset: if domain.is_empty() { self.node.opset } else { 1 },
            inputs,
            outputs: self.outputs.to_vec(),
            attributes,
            graphs: Vec::new(),
            captures: Vec::new(),
        }
    }
}

impl Planner<'_> {
    /// Puts one node in the place of each such group.
    pub(super) fn fuse_quantised(
        &mut self,
        mut nodes: Vec<Node>,
        outputs: &[Port],
    ) -> Result<Vec<Node>, PlanError> {
        let uses = Uses::of(&nodes, outputs);
        let mut groups = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            if node.domain.is_empty()
                && node.operator == "QuantizeLinear"
                && let Some(group) = self.quantised_group(&nodes, &uses, index)?
            {
                groups.push(group);
            }
        }
        let mut gone = HashSet::new();
        for group in groups {
            for value in group.node.inputs.iter().flatten() {
                self.constants.keep(*value);
            }
            for index in group.gone.iter().chain([&group.last]) {
                if let Some(node) = nodes.get(*index) {
                    self.constants.forget(node);
                }
            }
            gone.extend(group.gone);
            if let Some(place) = nodes.get_mut(group.last) {
                *place = group.node;
            }
        }
        let mut index = 0;
        nodes.retain(|_| {
            index += 1;
            !gone.contains(&(index - 1))
        });
        Ok(nodes)
    }

    /// The nodes that end with one that quantises, if they can be one of bytes.
    fn quantised_group(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        last: usize,
    ) -> Result<Option<Group>, PlanError> {
        let Some((end, to)) = nodes.get(last).and_then(|node| Some((node, quantised(node)?))) else {
            return Ok(None);
        };
        let Some(to_type) = self.byte_type(to) else { return Ok(None) };
        if self.one_number(to.scale)?.is_none() {
            return Ok(None);
        }
        let (value, mut gone) = self.before_clips(nodes, uses, to, to_type)?;
        let Some(index) = uses.makers.get(&value).copied() else { return Ok(None) };
        let Some(node) = nodes.get(index) else { return Ok(None) };
        let place = Target { to, element_type: to_type, node, outputs: &end.outputs };
        let made = if node.operator == "DequantizeLinear" && node.domain.is_empty() {
            // It may have other uses, and goes when it has none.
            self.rescaled(&place)?
        } else if node.domain.is_empty() && uses.counts.get(&value) == Some(&1) {
            gone.push(index);
            match node.operator.as_str() {
                "Conv" => self.quantised_convolution(nodes, uses, &place)?,
                "Gemm" => self.quantised_gemm(nodes, uses, &place)?,
                "MatMul" => self.quantised_product(nodes, uses, &place)?,
                "Add" | "Mul" => self.quantised_pair(nodes, uses, &place)?,
                "GlobalAveragePool" | "AveragePool" => self.quantised_mean(nodes, uses, &place)?,
                "Concat" => self.quantised_concatenation(nodes, uses, &place)?,
                "MaxPool" | "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" | "Transpose" | "Identity"
                | "Resize" | "Slice" => self.moved_bytes(nodes, uses, &place)?,
                _ => None,
            }
        } else {
            None
        };
        Ok(made.map(|node| Group { gone, last, node }))
    }

    /// The value that is quantised when clips that change no byte are left out, and those clips.
    fn before_clips(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        to: Quantised,
        element_type: ElementType,
    ) -> Result<(ValueId, Vec<usize>), PlanError> {
        let (mut value, mut gone) = (to.numbers, Vec::new());
        let (Some(scale), Some(zero_point)) = (self.one_number(to.scale)?, self.one_byte(to.zero_point)?)
        else {
            return Ok((value, gone));
        };
        let (lowest, highest) =
            if element_type == ElementType::Int8 { (-128.0, 127.0) } else { (0.0, 255.0) };
        // A clip to a bound that becomes the last byte changes nothing.
        let byte = |bound: f32| (bound / scale).round_ties_even() + f32::from(zero_point);
        while scale > 0.0
            && let Some((index, node)) =
                uses.only(nodes, value, "Relu").or_else(|| uses.only(nodes, value, "Clip"))
        {
            let (low, high) = if node.operator == "Relu" {
                (0.0, f32::INFINITY)
            } else {
                let Some(bounds) = self.bounds(node)? else { break };
                bounds
            };
            let Some(before) = input(node, 0) else { break };
            if !(byte(low) <= lowest && byte(high) >= highest) {
                break;
            }
            gone.push(index);
            value = before;
        }
        Ok((value, gone))
    }

    /// The bounds of a clip.
    fn bounds(&mut self, node: &Node) -> Result<Option<(f32, f32)>, PlanError> {
        let mut bounds = [f32::NEG_INFINITY, f32::INFINITY];
        for (index, (bound, name)) in bounds.iter_mut().zip(["min", "max"]).enumerate() {
            let found = match input(node, index + 1) {
                Some(value) => self.one_number(value)?,
                None => Some(node.attributes.float(name).ok().flatten().unwrap_or(*bound)),
            };
            match found {
                Some(found) => *bound = found,
                None => return Ok(None),
            }
        }
        let [low, high] = bounds;
        Ok(Some((low, high)))
    }

    /// The type of quantised numbers, if it is one of bytes.
    fn byte_type(&self, quantised: Quantised) -> Option<ElementType> {
        let found = self.constants.fact(quantised.zero_point)?.element_type()?;
        matches!(found, ElementType::Int8 | ElementType::Uint8).then_some(found)
    }

    /// What an operand of a node was dequantised from, with one scale for the whole tensor.
    fn operand(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        node: &Node,
        index: usize,
    ) -> Result<Option<(Quantised, ElementType)>, PlanError> {
        let maker = input(node, index).and_then(|value| uses.maker(nodes, value, "DequantizeLinear"));
        let Some(from) = maker.and_then(|(_, node)| quantised(node)) else { return Ok(None) };
        let is_one = self.one_number(from.scale)?.is_some() && self.one_byte(from.zero_point)?.is_some();
        Ok(self.byte_type(from).filter(|_| is_one).map(|element_type| (from, element_type)))
    }

    /// The floats of a small constant.
    fn numbers(&mut self, value: ValueId) -> Result<Option<Vec<f32>>, PlanError> {
        let tensor = self.constants.tensor(value, self.files)?;
        Ok(tensor
            .filter(|tensor| tensor.rank() < 2)
            .and_then(|tensor| Some(tensor.values::<f32>()?.to_vec())))
    }

    fn one_number(&mut self, value: ValueId) -> Result<Option<f32>, PlanError> {
        Ok(self.numbers(value)?.and_then(|numbers| match numbers.as_slice() {
            [number] => Some(*number),
            _ => None,
        }))
    }

    /// The number of a zero point of one byte.
    fn one_byte(&mut self, value: ValueId) -> Result<Option<i16>, PlanError> {
        let tensor = self.constants.tensor(value, self.files)?;
        Ok(tensor.and_then(|tensor| match (tensor.values::<u8>(), tensor.values::<i8>()) {
            (Some([value]), _) => Some(i16::from(*value)),
            (_, Some([value])) => Some(i16::from(*value)),
            _ => None,
        }))
    }

    /// Whether a zero point is left out, or zeros.
    fn is_zero(&mut self, zero_point: Option<ValueId>) -> Result<bool, PlanError> {
        let Some(zero_point) = zero_point else { return Ok(true) };
        let tensor = self.constants.tensor(zero_point, self.files)?;
        Ok(tensor.is_some_and(|tensor| {
            tensor.values::<i32>().is_some_and(|values| values.iter().all(|value| *value == 0))
        }))
    }
}

/// A number of a list, or its only one.
fn one_of(numbers: &[f32], index: usize) -> f32 {
    numbers.get(index).or(numbers.first()).copied().unwrap_or(f32::NAN)
}
