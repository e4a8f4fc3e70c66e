//! Transpositions that are put off: the values that wait for one, and the
//! permutations of their axes.

use std::collections::HashMap;

use crate::{
    graph::{Attributes, Graph, Node, Operator, ValueId, fold},
    tensor::Tensor,
};

/// A value that is another one transposed: its axis `i` is axis `permutation[i]` of `source`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct PutOff {
    pub(crate) source: ValueId,
    pub(crate) permutation: Vec<i64>,
}

/// One pass over a graph or a body.
pub(crate) struct Pass<'g> {
    pub(crate) graph: &'g mut Graph,
    /// Values that are others: two transpositions cancelled out.
    pub(crate) renamed: &'g mut HashMap<ValueId, ValueId>,
    pub(crate) put_off: HashMap<ValueId, PutOff>,
    /// Transpositions that were needed.
    done: HashMap<PutOff, ValueId>,
    pub(crate) nodes: Vec<Node>,
}

impl<'g> Pass<'g> {
    /// A pass that has seen no node yet.
    pub(crate) fn new(
        graph: &'g mut Graph,
        renamed: &'g mut HashMap<ValueId, ValueId>,
        capacity: usize,
    ) -> Self {
        let nodes = Vec::with_capacity(capacity);
        Self { graph, renamed, put_off: HashMap::new(), done: HashMap::new(), nodes }
    }

    /// Does a transposition that was put off.
    pub(crate) fn need(&mut self, value: ValueId) {
        let Some(put_off) = self.put_off.remove(&value) else { return };
        if let Some(known) = self.done.get(&put_off) {
            self.renamed.insert(value, *known);
            return;
        }
        let attributes = Attributes::none().with("perm", put_off.permutation.clone());
        let inputs = vec![Some(put_off.source)];
        self.done.insert(put_off, value);
        self.nodes.push(Node { operator: Operator::Transpose, inputs, outputs: vec![value], attributes });
    }

    /// A new node; its output.
    pub(crate) fn emit(
        &mut self,
        operator: Operator,
        inputs: Vec<ValueId>,
        attributes: Attributes,
        like: ValueId,
    ) -> ValueId {
        let kind = self.graph.value(like).map_or(crate::tensor::ElementType::Float32, |value| value.kind);
        let output = self.graph.add_value(kind, None);
        let inputs = inputs.into_iter().map(Some).collect();
        self.nodes.push(Node { operator, inputs, outputs: vec![output], attributes });
        output
    }

    /// The transposition that a value waits for.
    pub(crate) fn waiting(&self, value: ValueId) -> Option<&PutOff> {
        self.put_off.get(&value)
    }

    /// A value with its axes in the order of the sources, to go with one that waits.
    pub(crate) fn adapt(&mut self, value: ValueId, put_off: &PutOff, broadcast: bool) -> Option<ValueId> {
        if let Some(other) = self.put_off.get(&value) {
            if other.permutation == put_off.permutation {
                return Some(other.source);
            }
            if other.permutation.len() != put_off.permutation.len() {
                self.need(value);
            }
        }
        let value = self.renamed.get(&value).copied().unwrap_or(value);
        let rank = put_off.permutation.len();
        let order = inverse(&put_off.permutation)?;
        let own = self.graph.rank(value)?;
        let shape: Option<Vec<i64>> =
            self.graph.value(value)?.shape.as_ref()?.iter().map(|size| size.known()).collect();
        if broadcast && own <= rank && shape.is_some_and(|shape| shape.iter().all(|size| *size == 1)) {
            return Some(value);
        }
        let missing = rank.checked_sub(own)?;
        if missing > 0 && !broadcast {
            return None;
        }
        let axes = Tensor::vector(&(0..missing as i64).collect::<Vec<_>>());
        if let Some(constant) = self.graph.constant(value) {
            let full = match missing {
                0 => constant.clone(),
                _ => fold::fold(
                    Operator::Unsqueeze,
                    &Attributes::none(),
                    &[Some(constant), Some(&axes)],
                    usize::MAX,
                )?,
            };
            let turned = crate::graph::strided::transpose(&full, &order)?;
            return Some(self.graph.add_constant(turned));
        }
        let full = match missing {
            0 => value,
            _ => {
                let axes = self.graph.add_constant(axes);
                self.emit(Operator::Unsqueeze, vec![value, axes], Attributes::none(), value)
            }
        };
        let (source, order) = match self.put_off.get(&full) {
            Some(other) => (other.source, composed(&other.permutation, &order)?),
            None => (full, order),
        };
        Some(self.emit(Operator::Transpose, vec![source], Attributes::none().with("perm", order), value))
    }

    /// A constant vector.
    pub(crate) fn vector(&mut self, values: &[i64]) -> ValueId {
        self.graph.add_constant(Tensor::vector(values))
    }

    /// The integers of a constant input.
    pub(crate) fn integers(&self, node: &Node, input: usize) -> Option<Vec<i64>> {
        self.graph.constant(node.input(input)?)?.integers()
    }
}

/// The permutation that undoes another.
pub(crate) fn inverse(permutation: &[i64]) -> Option<Vec<i64>> {
    let mut inverse = vec![-1i64; permutation.len()];
    for (index, axis) in permutation.iter().enumerate() {
        *inverse.get_mut(usize::try_from(*axis).ok()?)? = index as i64;
    }
    (!inverse.contains(&-1)).then_some(inverse)
}

pub(crate) fn is_identity(permutation: &[i64]) -> bool {
    permutation.iter().enumerate().all(|(index, axis)| *axis == index as i64)
}

/// `second` after `first`.
pub(crate) fn composed(first: &[i64], second: &[i64]) -> Option<Vec<i64>> {
    second.iter().map(|axis| first.get(usize::try_from(*axis).ok()?).copied()).collect()
}
