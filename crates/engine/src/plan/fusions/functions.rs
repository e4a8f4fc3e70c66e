//! Functions that models write as several nodes become one node: GELU by the error function and by the hyperbolic
//! tangent, `x * sigmoid(x)`, and `x * clip(x + 3, 0, 6) / 6`. Regions and products take that node.

use std::collections::{HashMap, HashSet};

use adytum_kernels::{Level, activation::Activation};

use super::{
    super::{Facts, PlanError, Planner, placement::Placed},
    Fusion,
    activation::single,
    links::{Links, plain},
};
use crate::{
    fused::function::Function,
    onnx::model::{Node, Port, ValueId},
    operators::{Attribute, Attributes},
    tensor::ElementType,
};

/// The first opset that has all of the nodes that are made.
const OPSET: i64 = 24;

/// Nodes and values that are looked at around a gate.
const NODES: usize = 16;

/// A function that was found.
struct Found {
    activation: Activation,
    input: ValueId,
    /// The nodes of it, the last one last.
    members: Vec<usize>,
}

/// A product of a constant, of powers of the value, and of other values.
#[derive(Default)]
struct Terms {
    factor: f64,
    power: i32,
    others: Vec<ValueId>,
}

/// The constants of the nodes that are looked at.
type Numbers = HashMap<ValueId, f32>;

/// The nodes behind a value, as far as they are known.
struct Sight<'a> {
    placed: &'a [Option<Placed>],
    links: &'a Links,
    numbers: &'a Numbers,
    base: ValueId,
    members: Vec<usize>,
}

impl Sight<'_> {
    fn maker(&mut self, value: ValueId, operator: &str) -> Option<Node> {
        let (index, node) = self.links.maker(self.placed, value, operator)?;
        let node = node.clone();
        if !self.members.contains(&index) {
            self.members.push(index);
        }
        Some(node)
    }

    fn terms(&mut self, value: ValueId, depth: usize) -> Option<Terms> {
        if value == self.base {
            return Some(Terms { factor: 1.0, power: 1, others: Vec::new() });
        }
        if let Some(number) = self.numbers.get(&value) {
            return Some(Terms { factor: f64::from(*number), ..Terms::default() });
        }
        if depth == 0 {
            return None;
        }
        for operator in ["Mul", "Div", "Pow"] {
            let Some(node) = self.maker(value, operator) else { continue };
            let [Some(left), Some(right)] = node.inputs.as_slice() else { return None };
            let left = self.terms(*left, depth - 1)?;
            let right = self.terms(*right, depth - 1)?;
            let is_number = right.power == 0 && right.others.is_empty();
            return match operator {
                "Mul" => {
                    let others = left.others.into_iter().chain(right.others).collect();
                    Some(Terms {
                        factor: left.factor * right.factor,
                        power: left.power + right.power,
                        others,
                    })
                }
                "Div" if is_number => Some(Terms { factor: left.factor / right.factor, ..left }),
                "Pow"
                    if is_number
                        && left.others.is_empty()
                        && (right.factor == 2.0 || right.factor == 3.0) =>
                {
                    let power = right.factor as i32;
                    Some(Terms {
                        factor: left.factor.powi(power),
                        power: left.power * power,
                        others: Vec::new(),
                    })
                }
                _ => None,
            };
        }
        Some(Terms { factor: 1.0, power: 0, others: vec![value] })
    }

    /// The value by a factor, and nothing else.
    fn multiple(&mut self, value: ValueId) -> Option<f64> {
        let terms = self.terms(value, 4)?;
        (terms.power == 1 && terms.others.is_empty()).then_some(terms.factor)
    }

    /// The two inputs of a sum, in both orders.
    fn sum(&mut self, value: ValueId) -> Option<[(ValueId, ValueId); 2]> {
        match self.maker(value, "Add")?.inputs.as_slice() {
            [Some(left), Some(right)] => Some([(*left, *right), (*right, *left)]),
            _ => None,
        }
    }

    fn input(&mut self, value: ValueId, operator: &str) -> Option<ValueId> {
        self.maker(value, operator)?.inputs.first().copied().flatten()
    }

    /// The function whose last node makes a value.
    fn gate(&mut self, output: ValueId) -> Option<Activation> {
        let terms = self.terms(output, 4)?;
        let &[gate] = terms.others.as_slice() else { return None };
        if terms.power != 1 {
            return None;
        }
        if near(terms.factor, 1.0 / 6.0)
            && let Some(node) = self.maker(gate, "Clip")
        {
            return self.is_hard(&node).then_some(Activation::HardSwish(1.0 / 6.0, 0.5));
        }
        if near(terms.factor, 1.0)
            && let Some(input) = self.input(gate, "Sigmoid")
        {
            return self.multiple(input).map(|factor| Activation::Swish(factor as f32));
        }
        if !near(terms.factor, 0.5) {
            return None;
        }
        let one = |number: &ValueId| self.numbers.get(number) == Some(&1.0);
        let numbers_first =
            self.links.maker(self.placed, gate, "Add").map(|(_, node)| node.inputs.clone())?;
        let inner = match numbers_first.as_slice() {
            [Some(left), Some(right)] if one(right) => *left,
            [Some(left), Some(right)] if one(left) => *right,
            _ => return None,
        };
        self.maker(gate, "Add")?;
        if let Some(input) = self.input(inner, "Erf") {
            let factor = self.multiple(input)?;
            return near(factor, std::f64::consts::FRAC_1_SQRT_2).then_some(Activation::Gelu);
        }
        let input = self.input(inner, "Tanh")?;
        let terms = self.terms(input, 4)?;
        let &[sum] = terms.others.as_slice() else { return None };
        let expected = (2.0 / std::f64::consts::PI).sqrt();
        for (straight, cubic) in self.sum(sum)? {
            if straight == self.base && terms.power == 0 && near(terms.factor, expected) {
                let cubic = self.terms(cubic, 4)?;
                let is_cube = cubic.power == 3 && cubic.others.is_empty();
                return (is_cube && near(cubic.factor, 0.044_715)).then_some(Activation::GeluTanh);
            }
        }
        None
    }

    /// Whether a `Clip` is that of the value and 3, from 0 to 6.
    fn is_hard(&mut self, node: &Node) -> bool {
        let bound = |index: usize, name: &str| match node.inputs.get(index).copied().flatten() {
            Some(value) => self.numbers.get(&value).copied(),
            None => node.attributes.float(name).ok().flatten(),
        };
        if (bound(1, "min"), bound(2, "max")) != (Some(0.0), Some(6.0)) {
            return false;
        }
        let sums = node.inputs.first().copied().flatten().and_then(|sum| self.sum(sum));
        sums.is_some_and(|sums| {
            sums.iter().any(|(left, right)| *left == self.base && self.numbers.get(right) == Some(&3.0))
        })
    }
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 2e-4 * expected
}

impl Planner<'_> {
    /// Puts one node in the place of the nodes of each function.
    pub(in super::super) fn fuse_functions(
        &mut self,
        placed: Vec<Placed>,
        facts: &Facts,
        outputs: &[Port],
    ) -> Result<Vec<Placed>, PlanError> {
        let wanted: HashSet<ValueId> = outputs.iter().map(|port| port.value).collect();
        let mut placed: Vec<Option<Placed>> = placed.into_iter().map(Some).collect();
        let links = Links::new(&placed, &wanted);
        let mut made = HashSet::new();
        for index in 0..placed.len() {
            if made.contains(&index) {
                continue;
            }
            let Some(Found { activation, input, members }) = self.function(&placed, &links, facts, index)?
            else {
                continue;
            };
            let (Some((root, inner)), Some((operator, attributes))) =
                (members.split_last(), written(activation))
            else {
                continue;
            };
            let function = Function { level: Level::best(), activation };
            let description = activation.name().to_owned();
            let fusion = Fusion { operator: Box::new(function), inputs: vec![Some(input)], description };
            self.replace(&mut placed, *root, &members, fusion);
            made.insert(*root);
            if let Some(Some(entry)) = placed.get_mut(*root) {
                let node = &mut entry.node;
                (node.domain, node.operator, node.opset) = (String::new(), operator.to_owned(), OPSET);
                node.attributes = attributes;
            }
            for member in inner {
                if let Some(entry) = placed.get_mut(*member).and_then(Option::take) {
                    self.constants.forget(&entry.node);
                }
            }
        }
        Ok(placed.into_iter().flatten().collect())
    }

    /// The function whose gate is a node.
    fn function(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        facts: &Facts,
        index: usize,
    ) -> Result<Option<Found>, PlanError> {
        let Some(gate) = plain(placed, index) else { return Ok(None) };
        if let Some(activation) = single(gate).filter(|found| is_gate(*found)) {
            let &[Some(input)] = gate.inputs.as_slice() else { return Ok(None) };
            let is_float = self.is_alike(facts, input, gate);
            return Ok(is_float.then(|| Found { activation, input, members: vec![index] }));
        }
        if !matches!(gate.operator.as_str(), "Erf" | "Tanh" | "Sigmoid" | "Clip") {
            return Ok(None);
        }
        // What the function may be of is behind the gate; its last node is after it.
        let mut values: Vec<ValueId> = gate.inputs.first().copied().flatten().into_iter().collect();
        let mut nodes = vec![index];
        let mut next = 0;
        while let Some(value) = values.get(next).copied().filter(|_| next < NODES) {
            next += 1;
            for operator in ["Mul", "Div", "Add", "Pow"] {
                let Some((place, node)) = links.maker(placed, value, operator) else { continue };
                nodes.push(place);
                let inputs = node.inputs.iter().flatten().filter(|input| !self.constants.contains(**input));
                let more: Vec<ValueId> = inputs.filter(|input| !values.contains(input)).copied().collect();
                values.extend(more);
            }
        }
        let mut ahead = vec![index];
        next = 0;
        while let Some(place) = ahead.get(next).copied().filter(|_| next < NODES) {
            next += 1;
            let outputs = plain(placed, place).into_iter().flat_map(|node| node.outputs.iter().flatten());
            for user in outputs.flat_map(|output| links.users(*output)).copied().collect::<Vec<_>>() {
                let is_step = plain(placed, user)
                    .is_some_and(|node| matches!(node.operator.as_str(), "Mul" | "Div" | "Add"));
                if is_step && !ahead.contains(&user) {
                    ahead.push(user);
                }
            }
        }
        let mut numbers = Numbers::new();
        for place in nodes.iter().chain(&ahead) {
            let Some(node) = plain(placed, *place) else { continue };
            // Factors are often made before the gate, for the last node.
            let behind = node.inputs.iter().flatten().filter_map(|input| {
                let (_, node) = ["Mul", "Div"].iter().find_map(|name| links.maker(placed, *input, name))?;
                Some(node)
            });
            let nodes: Vec<&Node> = std::iter::once(node).chain(behind).collect();
            for input in nodes.into_iter().flat_map(|node| node.inputs.iter().flatten()) {
                if !numbers.contains_key(input)
                    && let Some(number) = self.number(Some(*input))?
                {
                    numbers.insert(*input, number);
                }
            }
        }
        for last in ahead.into_iter().skip(1) {
            let Some(node) = plain(placed, last) else { continue };
            let &[Some(output)] = node.outputs.as_slice() else { continue };
            for base in values.iter().copied() {
                let mut sight = Sight { placed, links, numbers: &numbers, base, members: Vec::new() };
                let Some(activation) = sight.gate(output) else { continue };
                let mut members = sight.members;
                members.sort_unstable();
                let is_apart = members.last() == Some(&last)
                    && members.iter().filter(|member| **member != last).all(|member| {
                        plain(placed, *member).is_some_and(|node| {
                            node.outputs.iter().flatten().all(|output| links.is_within(*output, &members))
                        })
                    });
                if is_apart && self.is_alike(facts, base, node) {
                    return Ok(Some(Found { activation, input: base, members }));
                }
            }
        }
        Ok(None)
    }

    /// Whether the result of a node is of floats, and of as many dimensions as a value.
    fn is_alike(&self, facts: &Facts, value: ValueId, node: &Node) -> bool {
        let Some(Some(output)) = node.outputs.first() else { return false };
        let (Some(before), Some(after)) = (self.fact(facts, value), self.fact(facts, *output)) else {
            return false;
        };
        before.element_type() == Some(ElementType::Float)
            && after.element_type() == Some(ElementType::Float)
            && before.rank().is_some()
            && before.rank() == after.rank()
    }
}

/// Whether a function is one of those that are made here.
fn is_gate(activation: Activation) -> bool {
    written(activation).is_some()
}

/// The node that a function is.
fn written(activation: Activation) -> Option<(&'static str, Attributes)> {
    let one = |name: &str, value: Attribute| [(name.to_owned(), value)].into_iter().collect();
    Some(match activation {
        Activation::Gelu => ("Gelu", Attributes::default()),
        Activation::GeluTanh => ("Gelu", one("approximate", Attribute::Text(b"tanh".to_vec().into()))),
        Activation::Swish(alpha) => ("Swish", one("alpha", Attribute::Float(alpha))),
        Activation::HardSwish(..) => ("HardSwish", Attributes::default()),
        _ => return None,
    })
}
