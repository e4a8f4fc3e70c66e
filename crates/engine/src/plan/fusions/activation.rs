//! Functions that models write as several nodes: GELU by the error function and by the hyperbolic tangent,
//! `x * sigmoid(x)`.

use std::collections::HashMap;

use adytum_kernels::activation::Activation;

use super::{
    super::{PlanError, Planner, placement::Placed},
    links::{Links, plain},
};
use crate::onnx::model::{Node, ValueId};

/// Nodes that are looked at behind a value.
const NODES: usize = 24;

/// A function that was found.
pub(super) struct Found {
    pub(super) activation: Activation,
    pub(super) output: ValueId,
    /// The nodes of it, the last one last.
    pub(super) members: Vec<usize>,
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
}

fn near(found: f64, expected: f64) -> bool {
    (found - expected).abs() < 2e-4 * expected
}

impl Planner<'_> {
    /// The function that is applied to a value, and to nothing else of it.
    pub(super) fn activation(
        &mut self,
        placed: &[Option<Placed>],
        links: &Links,
        value: ValueId,
    ) -> Result<Option<Found>, PlanError> {
        if links.is_wanted(value) {
            return Ok(None);
        }
        if let Some(user) = links.only_user(value)
            && let Some(activation) =
                placed.get(user).and_then(Option::as_ref).and_then(|entry| single(&entry.node))
            && let Some(entry) = placed.get(user).and_then(Option::as_ref)
            && let [Some(output)] = entry.node.outputs.as_slice()
        {
            return Ok(Some(Found { activation, output: *output, members: vec![user] }));
        }
        // The nodes behind the value, and their constants.
        let mut behind: Vec<usize> = links.users(value).to_vec();
        let mut numbers = Numbers::new();
        let mut next = 0;
        while let Some(index) = behind.get(next).copied()
            && next < NODES
        {
            next += 1;
            let Some(node) = plain(placed, index) else { continue };
            if !matches!(node.operator.as_str(), "Mul" | "Div" | "Pow" | "Add" | "Erf" | "Tanh" | "Sigmoid") {
                continue;
            }
            for input in node.inputs.iter().flatten() {
                if !numbers.contains_key(input)
                    && let Some(number) = self.number(Some(*input))?
                {
                    numbers.insert(*input, number);
                }
            }
            for output in node.outputs.iter().flatten() {
                let more = links.users(*output).iter().filter(|user| !behind.contains(user)).copied();
                let more: Vec<usize> = more.collect();
                behind.extend(more);
            }
        }
        behind.truncate(NODES);
        behind.sort_unstable();
        for index in behind {
            let Some(node) = plain(placed, index).filter(|node| node.operator == "Mul") else { continue };
            let [Some(output)] = node.outputs.as_slice() else { continue };
            let mut sight = Sight { placed, links, numbers: &numbers, base: value, members: Vec::new() };
            let Some(activation) = sight.gate(*output) else { continue };
            let mut members = sight.members;
            members.sort_unstable();
            let is_apart = links.is_within(value, &members)
                && members.last() == Some(&index)
                && members.iter().filter(|member| **member != index).all(|member| {
                    plain(placed, *member).is_some_and(|node| {
                        node.outputs.iter().flatten().all(|output| links.is_within(*output, &members))
                    })
                });
            if is_apart {
                return Ok(Some(Found { activation, output: *output, members }));
            }
        }
        Ok(None)
    }
}

/// The function of a node of one input.
fn single(node: &Node) -> Option<Activation> {
    if node.inputs.len() != 1 {
        return None;
    }
    match (node.domain.as_str(), node.operator.as_str()) {
        ("", "Relu") => Some(Activation::RELU),
        ("", "Tanh") => Some(Activation::Tanh),
        ("", "Sigmoid") => Some(Activation::Sigmoid),
        ("", "Gelu") => match node.attributes.text("approximate") {
            Ok(None | Some("none")) => Some(Activation::Gelu),
            Ok(Some("tanh")) => Some(Activation::GeluTanh),
            _ => None,
        },
        ("com.microsoft", "Gelu") => Some(Activation::Gelu),
        ("com.microsoft", "QuickGelu") => match node.attributes.float("alpha") {
            Ok(alpha) => Some(Activation::Swish(alpha.unwrap_or(1.702))),
            Err(_) => None,
        },
        ("com.microsoft", "FastGelu") => Some(Activation::GeluTanh),
        _ => None,
    }
}
