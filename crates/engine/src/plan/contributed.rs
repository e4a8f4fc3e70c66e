//! com.microsoft's operators of transformers that are several in one, as ONNX Runtime's optimizer writes them. They
//! become the operators that they stand for, so that the passes behind this one see those. A node whose types or sizes are
//! not known stays as it is.

use std::collections::HashMap;

use super::{PlanError, Planner, visit_node};
use crate::{
    onnx::model::{Node, ValueId},
    operators::{Attribute, Attributes},
    tensor::{ElementType, Tensor},
};

/// The domain of ONNX Runtime's own operators.
const MICROSOFT: &str = "com.microsoft";

/// The opset of the nodes that are made.
const OPSET: i64 = 17;

/// The first opset with RMSNormalization.
const OPSET_OF_SQUARES: i64 = 23;

/// The inputs of MultiHeadAttention.
const BIAS: usize = 3;
const MASK: usize = 4;
const ADDED: usize = 5;
const PAST_KEY: usize = 6;
const PAST_VALUE: usize = 7;

/// The nodes of a graph, by what they make.
struct Makers<'a> {
    nodes: &'a [Node],
    makers: HashMap<ValueId, usize>,
}

impl<'a> Makers<'a> {
    fn new(nodes: &'a [Node]) -> Self {
        let mut makers = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            makers.extend(node.outputs.iter().flatten().map(|output| (*output, index)));
        }
        Self { nodes, makers }
    }

    /// The product with a matrix that makes a value: its matrix.
    fn matrix(&self, value: ValueId) -> Option<ValueId> {
        let node = self.nodes.get(*self.makers.get(&value)?)?;
        let is_product = matches!(node.operator.as_str(), "MatMul" | "Gemm" | "FusedMatMul" | "MatMulNBits");
        node.inputs.get(1).copied().flatten().filter(|_| is_product)
    }
}

/// Nodes in the place of one.
struct Parts<'a> {
    node: &'a Node,
    parts: Vec<Node>,
}

impl Parts<'_> {
    fn add<const N: usize>(
        &mut self,
        (domain, operator, opset): (&str, &str, i64),
        inputs: Vec<Option<ValueId>>,
        outputs: Vec<Option<ValueId>>,
        attributes: [(&str, Attribute); N],
    ) {
        self.parts.push(Node {
            name: self.node.name.clone(),
            domain: domain.to_owned(),
            operator: operator.to_owned(),
            opset,
            inputs,
            outputs,
            attributes: attributes.into_iter().map(|(name, value)| (name.to_owned(), value)).collect(),
            graphs: Vec::new(),
            captures: Vec::new(),
        });
    }

    fn own<const N: usize>(
        &mut self,
        operator: &str,
        inputs: &[ValueId],
        output: ValueId,
        attributes: [(&str, Attribute); N],
    ) {
        let inputs = inputs.iter().copied().map(Some).collect();
        self.add(("", operator, OPSET), inputs, vec![Some(output)], attributes);
    }
}

fn input(node: &Node, index: usize) -> Option<ValueId> {
    node.inputs.get(index).copied().flatten()
}

fn output(node: &Node, index: usize) -> Option<ValueId> {
    node.outputs.get(index).copied().flatten()
}

impl Planner<'_> {
    /// Puts the operators that nodes of com.microsoft stand for in their place.
    pub(super) fn expand_contributed(&mut self, nodes: Vec<Node>) -> Result<Vec<Node>, PlanError> {
        if nodes.iter().all(|node| node.domain != MICROSOFT) {
            return Ok(nodes);
        }
        let makers = Makers::new(&nodes);
        let mut expanded: HashMap<usize, Vec<Node>> = HashMap::new();
        for (index, node) in nodes.iter().enumerate() {
            if node.domain != MICROSOFT {
                continue;
            }
            let parts = match node.operator.as_str() {
                "SkipLayerNormalization" | "SkipSimplifiedLayerNormalization" => {
                    self.normalized_sum(node, &makers)
                }
                "BiasGelu" | "FastGelu" => self.biased(node),
                "FusedGemm" => self.activated(node),
                "Attention" => self.projected(node),
                "MultiHeadAttention" => self.with_biases(node, &makers)?,
                _ => None,
            };
            if let Some(parts) = parts {
                for part in &parts {
                    visit_node(part, &mut |value| self.constants.keep(value));
                }
                self.constants.forget(node);
                expanded.insert(index, parts);
            }
        }
        if expanded.is_empty() {
            return Ok(nodes);
        }
        let mut result = Vec::with_capacity(nodes.len());
        for (index, node) in nodes.into_iter().enumerate() {
            match expanded.remove(&index) {
                Some(parts) => result.extend(parts),
                None => result.push(node),
            }
        }
        Ok(result)
    }

    /// A value that the file does not have.
    pub(super) fn fresh(&mut self) -> ValueId {
        let value = ValueId(self.next_value);
        self.next_value = self.next_value.saturating_add(1);
        value
    }

    /// A constant of whole numbers that the file does not have.
    fn whole(&mut self, tensor: Tensor) -> ValueId {
        let value = self.fresh();
        self.constants.insert(value, tensor);
        value
    }

    /// The shape of a constant of floats.
    fn floats(&self, value: ValueId) -> Option<Vec<usize>> {
        let fact = self.constants.fact(value)?;
        fact.known_shape().filter(|_| fact.element_type() == Some(ElementType::Float))
    }

    /// A sum of two tensors and a bias, and its normalization.
    fn normalized_sum(&mut self, node: &Node, makers: &Makers<'_>) -> Option<Vec<Node>> {
        let is_centred = node.operator == "SkipLayerNormalization";
        let (first, second, scale) = (input(node, 0)?, input(node, 1)?, input(node, 2)?);
        let (shift, bias) =
            if is_centred { (input(node, 3), input(node, 4)) } else { (None, input(node, 3)) };
        let epsilon = node.attributes.float("epsilon").ok()?.unwrap_or(1e-12);
        let are_floats =
            [Some(scale), shift, bias].into_iter().flatten().all(|value| self.floats(value).is_some());
        if !are_floats || output(node, 1).is_some() || output(node, 2).is_some() {
            return None;
        }
        let mut parts = Parts { node, parts: Vec::new() };
        // The bias is the product's, if one of both is a product.
        let (mut product, other) = if makers.matrix(second).is_some() && makers.matrix(first).is_none() {
            (second, first)
        } else {
            (first, second)
        };
        if let Some(bias) = bias {
            let sum = self.fresh();
            parts.own("Add", &[product, bias], sum, []);
            product = sum;
        }
        let sum = output(node, 3).unwrap_or_else(|| self.fresh());
        parts.own("Add", &[product, other], sum, []);
        let (operator, opset) =
            if is_centred { ("LayerNormalization", OPSET) } else { ("RMSNormalization", OPSET_OF_SQUARES) };
        let mut inputs = vec![Some(sum), Some(scale)];
        inputs.extend(shift.map(Some));
        let attributes = [("axis", Attribute::Integer(-1)), ("epsilon", Attribute::Float(epsilon))];
        parts.add(("", operator, opset), inputs, vec![output(node, 0)], attributes);
        Some(parts.parts)
    }

    /// A sum, and a function of it.
    fn biased(&mut self, node: &Node) -> Option<Vec<Node>> {
        let (value, bias, result) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
        self.floats(bias)?;
        let operator = if node.operator == "BiasGelu" { "Gelu" } else { "FastGelu" };
        let sum = self.fresh();
        let mut parts = Parts { node, parts: Vec::new() };
        parts.own("Add", &[value, bias], sum, []);
        parts.add((MICROSOFT, operator, 1), vec![Some(sum)], vec![Some(result)], []);
        Some(parts.parts)
    }

    /// A Gemm, and a function of it.
    fn activated(&mut self, node: &Node) -> Option<Vec<Node>> {
        let attributes = &node.attributes;
        let number = |name: &str| attributes.float(name).ok().flatten();
        let settings = match attributes.text("activation").ok()?? {
            "Relu" | "Sigmoid" | "Tanh" | "Softplus" | "Softsign" => Vec::new(),
            "LeakyRelu" | "Elu" | "ThresholdedRelu" => vec![("alpha", number("activation_alpha")?)],
            "HardSigmoid" => {
                vec![("alpha", number("activation_alpha")?), ("beta", number("activation_beta")?)]
            }
            _ => return None,
        };
        let function = attributes.text("activation").ok()??.to_owned();
        let (product, result) = (self.fresh(), output(node, 0)?);
        let own =
            |name: &str| attributes.iter().find(|(found, _)| *found == name).map(|(_, value)| value.clone());
        let mut parts = Parts { node, parts: Vec::new() };
        parts.add(("", "Gemm", OPSET), node.inputs.clone(), vec![Some(product)], []);
        parts.own(&function, &[product], result, []);
        if let [gemm, function] = parts.parts.as_mut_slice() {
            for name in ["alpha", "beta", "transA", "transB"] {
                if let Some(value) = own(name) {
                    gemm.attributes.set(name, value);
                }
            }
            for (name, value) in settings {
                function.attributes.set(name, Attribute::Float(value));
            }
        }
        Some(parts.parts)
    }

    /// The product for queries, keys and values, its parts, and their attention.
    fn projected(&mut self, node: &Node) -> Option<Vec<Node>> {
        let (rows, weights, result) = (input(node, 0)?, input(node, 1)?, output(node, 0)?);
        let attributes = &node.attributes;
        let &[_, width] = self.floats(weights)?.as_slice() else { return None };
        let bias = input(node, 2);
        if let Some(bias) = bias
            && self.floats(bias)? != [width]
        {
            return None;
        }
        let sizes = match attributes.integers("qkv_hidden_sizes").ok()? {
            None | Some([]) if width.is_multiple_of(3) => vec![i64::try_from(width / 3).ok()?; 3],
            Some(sizes) if sizes.len() == 3 && sizes.iter().all(|size| *size > 0) => sizes.to_vec(),
            _ => return None,
        };
        let all = sizes.iter().try_fold(0_i64, |sum, size| sum.checked_add(*size))?;
        // A buffer that is shared, and rotations, are for the operator to refuse.
        let is_plain = ["do_rotary", "past_present_share_buffer"]
            .iter()
            .all(|name| matches!(attributes.flag(name, false), Ok(false)));
        if !is_plain || usize::try_from(all) != Ok(width) || input(node, 6).is_some() {
            return None;
        }
        let mut parts = Parts { node, parts: Vec::new() };
        let mut product = self.fresh();
        parts.own("MatMul", &[rows, weights], product, []);
        if let Some(bias) = bias {
            let sum = self.fresh();
            parts.own("Add", &[product, bias], sum, []);
            product = sum;
        }
        let lengths = self.whole(Tensor::vector(sizes));
        let qkv = [self.fresh(), self.fresh(), self.fresh()];
        let axis = [("axis", Attribute::Integer(2))];
        parts.add(
            ("", "Split", OPSET),
            vec![Some(product), Some(lengths)],
            qkv.iter().copied().map(Some).collect(),
            axis,
        );
        let mut inputs = vec![None; PAST_VALUE + 1];
        for (place, value) in inputs.iter_mut().zip(qkv) {
            *place = Some(value);
        }
        inputs[MASK] = input(node, 3);
        inputs[ADDED] = input(node, 5);
        // The past is one tensor of keys and values, and so is what is given back.
        if let Some(past) = input(node, 4) {
            for (number, place) in [PAST_KEY, PAST_VALUE].into_iter().enumerate() {
                let (index, half) = (self.whole(Tensor::scalar(number as i64)), self.fresh());
                parts.own("Gather", &[past, index], half, [("axis", Attribute::Integer(0))]);
                inputs[place] = Some(half);
            }
        }
        let mut outputs = vec![Some(result)];
        let present = output(node, 1);
        let halves = [self.fresh(), self.fresh()];
        if present.is_some() {
            outputs.extend(halves.map(Some));
        }
        parts.add((MICROSOFT, "MultiHeadAttention", 1), inputs, outputs, []);
        if let Some(attention) = parts.parts.last_mut() {
            attention.attributes = kept(attributes);
        }
        if let Some(present) = present {
            let first = self.whole(Tensor::vector(vec![0_i64]));
            let unsqueezed = [self.fresh(), self.fresh()];
            for (half, target) in halves.into_iter().zip(unsqueezed) {
                parts.own("Unsqueeze", &[half, first], target, []);
            }
            parts.own("Concat", &unsqueezed, present, [("axis", Attribute::Integer(0))]);
        }
        Some(parts.parts)
    }

    /// An attention whose queries, keys and values are products: the biases are added to those.
    fn with_biases(&mut self, node: &Node, makers: &Makers<'_>) -> Result<Option<Vec<Node>>, PlanError> {
        let Some(bias) = input(node, BIAS) else { return Ok(None) };
        let Some(&[length]) = self.floats(bias).as_deref() else { return Ok(None) };
        let mut widths = Vec::new();
        for index in 0..3 {
            let matrix = input(node, index).and_then(|value| makers.matrix(value));
            let Some(&[_, width]) = matrix.and_then(|matrix| self.floats(matrix)).as_deref() else {
                return Ok(None);
            };
            widths.push(width);
        }
        let Some(tensor) = self.constants.tensor(bias, self.files)? else { return Ok(None) };
        let Some(mut values) = tensor.values::<f32>() else { return Ok(None) };
        if widths.iter().try_fold(0_usize, |sum, width| sum.checked_add(*width)) != Some(length) {
            return Ok(None);
        }
        let mut parts = Parts { node, parts: Vec::new() };
        let mut inputs = node.inputs.clone();
        for (place, width) in inputs.iter_mut().zip(widths) {
            let (own, rest) = values.split_at(width);
            values = rest;
            let (Some(value), sum) = (*place, self.fresh()) else { return Ok(None) };
            let own = self.whole(Tensor::vector(own.to_vec()));
            parts.own("Add", &[value, own], sum, []);
            *place = Some(sum);
        }
        if let Some(place) = inputs.get_mut(BIAS) {
            *place = None;
        }
        parts.add((MICROSOFT, "MultiHeadAttention", node.opset), inputs, node.outputs.clone(), []);
        if let Some(attention) = parts.parts.last_mut() {
            attention.attributes = node.attributes.clone();
        }
        Ok(Some(parts.parts))
    }
}

/// The attributes that an attention with a product and one without have in common.
fn kept(attributes: &Attributes) -> Attributes {
    let names = ["num_heads", "scale", "unidirectional", "mask_filter_value"];
    attributes
        .iter()
        .filter(|(name, _)| names.contains(name))
        .map(|(name, value)| (name.to_owned(), value.clone()))
        .collect()
}
