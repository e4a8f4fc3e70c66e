//! The body of a loop, read backwards from what it computes.

use std::collections::HashMap;

use crate::graph::{Graph, Node, Operator, Subgraph, ValueId, fold::axis_of};

/// A loop's body.
pub(super) struct Body<'g> {
    graph: &'g Graph,
    subgraph: &'g Subgraph,
    producers: HashMap<ValueId, &'g Node>,
}

/// A product of a value with a constant matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Product {
    pub(super) value: ValueId,
    pub(super) matrix: ValueId,
}

/// A sum, taken apart.
#[derive(Debug, Default)]
pub(super) struct Sum {
    pub(super) products: Vec<Product>,
    pub(super) constants: Vec<ValueId>,
}

/// Columns of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) of: ValueId,
    pub(super) start: i64,
    pub(super) length: i64,
}

impl<'g> Body<'g> {
    pub(super) fn of(graph: &'g Graph, subgraph: &'g Subgraph) -> Option<Self> {
        let mut producers = HashMap::new();
        for node in &subgraph.nodes {
            for output in &node.outputs {
                producers.insert(*output, node);
            }
        }
        Some(Self { graph, subgraph, producers })
    }

    /// The states at the start of a turn.
    pub(super) fn states(&self) -> &'g [ValueId] {
        self.subgraph.inputs.get(2..).unwrap_or_default()
    }

    /// The state that a turn computes.
    pub(super) fn next(&self, state: usize) -> Option<ValueId> {
        self.subgraph.outputs.get(state + 1).map(|id| self.origin(*id))
    }

    /// A value without copies.
    fn origin(&self, id: ValueId) -> ValueId {
        let mut id = id;
        for _ in 0..self.subgraph.nodes.len() {
            match self.producers.get(&id) {
                Some(node) if node.operator == Operator::Identity => match node.input(0) {
                    Some(input) => id = input,
                    None => return id,
                },
                _ => return id,
            }
        }
        id
    }

    pub(super) fn same(&self, a: ValueId, b: ValueId) -> bool {
        self.origin(a) == self.origin(b)
    }

    /// The node that computes a value, if it is of an operator.
    pub(super) fn node(&self, id: ValueId, operator: Operator) -> Option<&'g Node> {
        self.producers.get(&self.origin(id)).copied().filter(|node| node.operator == operator)
    }

    /// The one input of an operator.
    pub(super) fn input(&self, id: ValueId, operator: Operator) -> Option<ValueId> {
        self.node(id, operator)?.input(0).map(|id| self.origin(id))
    }

    /// The two inputs of an operator, in both orders.
    pub(super) fn pairs(&self, id: ValueId, operator: Operator) -> Vec<(ValueId, ValueId)> {
        let inputs = self.node(id, operator).and_then(|node| node.input(0).zip(node.input(1)));
        let inputs = inputs.map(|(a, b)| (self.origin(a), self.origin(b)));
        inputs.map_or_else(Vec::new, |(a, b)| vec![(a, b), (b, a)])
    }

    /// A sum of products and constants; `None` if anything else is added.
    pub(super) fn sum(&self, id: ValueId) -> Option<Sum> {
        let mut sum = Sum::default();
        let mut open = vec![self.origin(id)];
        while let Some(id) = open.pop() {
            if sum.products.len() + sum.constants.len() + open.len() > 8 {
                return None;
            }
            if self.graph.constant(id).is_some() {
                sum.constants.push(id);
            } else if let Some(node) = self.node(id, Operator::Add) {
                open.extend([self.origin(node.input(0)?), self.origin(node.input(1)?)]);
            } else {
                let node = self.node(id, Operator::MatMul)?;
                let (value, matrix) = (self.origin(node.input(0)?), self.origin(node.input(1)?));
                self.graph.constant(matrix)?;
                sum.products.push(Product { value, matrix });
            }
        }
        Some(sum)
    }

    /// The sequence of which a value is the entry of this turn.
    pub(super) fn step_of(&self, id: ValueId) -> Option<ValueId> {
        let node = self.node(id, Operator::Gather)?;
        let (sequence, mut index) = (node.input(0)?, self.origin(node.input(1)?));
        if node.attributes.integer("axis").unwrap_or(0) != 0 || self.producers.contains_key(&sequence) {
            return None;
        }
        if let Some(number) = self.input(index, Operator::Cast) {
            index = number;
        }
        (Some(&index) == self.subgraph.inputs.first()).then_some(sequence)
    }

    /// The columns that a value is, if it is cut from a matrix of rank 2.
    pub(super) fn part(&self, id: ValueId) -> Option<Part> {
        let id = self.origin(id);
        let node = *self.producers.get(&id)?;
        let of = self.origin(node.input(0)?);
        let integers = |input: usize| self.graph.constant(node.input(input)?)?.integers();
        match node.operator {
            Operator::Split => {
                (axis_of(node.attributes.integer("axis").unwrap_or(0), 2)? == 1).then_some(())?;
                let sizes = integers(1)?;
                let place = node.outputs.iter().position(|output| *output == id)?;
                Some(Part { of, start: sizes.get(..place)?.iter().sum(), length: *sizes.get(place)? })
            }
            Operator::Slice => {
                let (starts, ends, axes, steps) = (integers(1)?, integers(2)?, integers(3)?, integers(4)?);
                let (&[start], &[end], &[axis], &[1]) =
                    (starts.as_slice(), ends.as_slice(), axes.as_slice(), steps.as_slice())
                else {
                    return None;
                };
                let width = self.graph.value(of)?.shape.as_ref()?.get(1)?.known()?;
                (axis_of(axis, 2)? == 1 && start >= 0).then_some(())?;
                Some(Part { of, start, length: end.min(width).checked_sub(start)? })
            }
            _ => None,
        }
    }

    /// Whether a value is the constant 1.
    pub(super) fn is_one(&self, id: ValueId) -> bool {
        self.graph.constant(id).and_then(crate::tensor::Tensor::single) == Some(1.0)
    }
}
