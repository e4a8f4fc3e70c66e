//! Convolutions of quantised numbers in the form of ONNX's quantisers: `DequantizeLinear`, `Conv`,
//! `QuantizeLinear`. They become `QLinearConv`, which computes in whole numbers.
//!
//! ONNX Runtime does the same. The sum of products is exact then, so the answer is rounded once,
//! where floats are rounded many times: it may differ by one step from that of floats.

use std::collections::{HashMap, HashSet};

use super::{PlanError, Planner};
use crate::{
    onnx::model::{Node, Port, ValueId},
    tensor::ElementType,
};

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

/// A convolution that can be one of whole numbers.
struct Group {
    /// The nodes that go, and that in whose place the new one comes.
    gone: Vec<usize>,
    last: usize,
    node: Node,
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
                && let Some(group) = self.quantised_convolution(&nodes, &uses, index)?
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

    fn quantised_convolution(
        &mut self,
        nodes: &[Node],
        uses: &Uses,
        last: usize,
    ) -> Result<Option<Group>, PlanError> {
        let Some(end) = nodes.get(last) else { return Ok(None) };
        let Some(to) = quantised(end) else { return Ok(None) };
        let mut gone = Vec::new();
        let mut product = to.numbers;
        let mut is_cut = false;
        if let Some((index, relu)) = uses.only(nodes, product, "Relu") {
            let Some(value) = input(relu, 0) else { return Ok(None) };
            gone.push(index);
            product = value;
            is_cut = true;
        }
        let Some((index, convolution)) = uses.only(nodes, product, "Conv") else { return Ok(None) };
        gone.push(index);
        let operand = |place: usize| {
            let value = input(convolution, place)?;
            uses.maker(nodes, value, "DequantizeLinear").map(|(_, node)| node)
        };
        let (Some(from), Some(weights)) = (operand(0), operand(1)) else { return Ok(None) };
        let (Some(from), Some((weights, weight_axis))) =
            (quantised(from), quantised(weights).zip(weights.attributes.integer("axis").ok()))
        else {
            return Ok(None);
        };
        // The numbers of whole tensors have one scale; weights may have one for each filter.
        let (Some(from_scale), Some(_), Some(weight_scales)) =
            (self.one_number(from.scale)?, self.one_number(to.scale)?, self.numbers(weights.scale)?)
        else {
            return Ok(None);
        };
        let types = [from, weights, to].map(|one| self.constants.fact(one.zero_point)?.element_type());
        let is_byte =
            |found: &Option<ElementType>| matches!(found, Some(ElementType::Int8 | ElementType::Uint8));
        if !types.iter().all(is_byte) || weight_scales.len() > 1 && weight_axis.unwrap_or(1) != 0 {
            return Ok(None);
        }
        if is_cut && !self.is_lowest(to.zero_point)? {
            return Ok(None);
        }
        let mut inputs = vec![from.numbers, from.scale, from.zero_point, weights.numbers, weights.scale];
        inputs.extend([weights.zero_point, to.scale, to.zero_point]);
        if let Some(bias) = input(convolution, 2) {
            let Some((_, node)) = uses.maker(nodes, bias, "DequantizeLinear") else { return Ok(None) };
            let (Some(numbers), Some(scale)) = (input(node, 0), input(node, 1)) else { return Ok(None) };
            let is_wide =
                self.constants.fact(numbers).and_then(|fact| fact.element_type()) == Some(ElementType::Int32);
            let Some(scales) = self.numbers(scale)? else { return Ok(None) };
            let expected: Vec<f32> = weight_scales.iter().map(|scale| scale * from_scale).collect();
            let fits = (scales.len() == expected.len() || expected.len() == 1 || scales.len() == 1)
                && (0..scales.len().max(expected.len())).all(|index| {
                    let (found, expected) = (one_of(&scales, index), one_of(&expected, index));
                    (found - expected).abs() <= SAME * expected.abs()
                });
            if !is_wide || !fits || !self.is_zero(input(node, 2))? {
                return Ok(None);
            }
            inputs.push(numbers);
        }
        let node = Node {
            name: convolution.name.clone(),
            domain: String::new(),
            operator: "QLinearConv".to_owned(),
            opset: convolution.opset,
            inputs: inputs.into_iter().map(Some).collect(),
            outputs: end.outputs.clone(),
            attributes: convolution.attributes.clone(),
            graphs: Vec::new(),
            captures: Vec::new(),
        };
        Ok(Some(Group { gone, last, node }))
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

    /// Whether a zero point is the lowest number of its type, so that nothing negative is left.
    fn is_lowest(&mut self, zero_point: ValueId) -> Result<bool, PlanError> {
        let tensor = self.constants.tensor(zero_point, self.files)?;
        Ok(tensor.is_some_and(|tensor| match (tensor.values::<u8>(), tensor.values::<i8>()) {
            (Some(values), _) => values == [0],
            (_, Some(values)) => values == [i8::MIN],
            _ => false,
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
