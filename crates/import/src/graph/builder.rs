//! Builds a graph node by node: folds what is constant, merges what is equal,
//! and keeps what is known of every value.

use std::collections::HashMap;

use super::{
    Attributes, Dimension, Graph, Node, Operator, Shape, Subgraph, Value, ValueId, elements, fold, infer,
};
use crate::{
    error::ImportError,
    tensor::{ElementType, Tensor},
};

/// Larger results are folded at the end, where their inputs can be freed one by one.
const FOLDED_AT_ONCE: usize = 1 << 14;
/// Larger constants are not compared with others.
const MERGED_CONSTANT: u64 = 1 << 16;

/// What two nodes must have in common to be one.
type Key = (Operator, Vec<Option<ValueId>>, Attributes, usize);

#[derive(Debug, Default)]
struct Scope {
    nodes: Vec<Node>,
    known: HashMap<Key, Vec<ValueId>>,
}

/// Builds a graph.
#[derive(Debug)]
pub(crate) struct Builder {
    values: Vec<Value>,
    root: Scope,
    /// The bodies being built, the innermost last.
    inner: Vec<Scope>,
    constants: HashMap<Tensor, ValueId>,
    symbols: infer::Symbols,
    nodes: usize,
    node_limit: usize,
    constant_bytes: u64,
    constant_limit: u64,
}

impl Builder {
    pub(crate) fn new(node_limit: usize, constant_limit: u64) -> Self {
        Self {
            values: Vec::new(),
            root: Scope::default(),
            inner: Vec::new(),
            constants: HashMap::new(),
            symbols: infer::Symbols::default(),
            nodes: 0,
            node_limit,
            constant_bytes: 0,
            constant_limit,
        }
    }

    /// The knowledge about a value.
    pub(crate) fn value(&self, id: ValueId) -> &Value {
        static UNKNOWN: Value =
            Value { kind: ElementType::Float32, shape: None, elements: None, constant: None };
        // Every id comes from this builder.
        self.values.get(id.index()).unwrap_or(&UNKNOWN)
    }

    pub(crate) fn kind(&self, id: ValueId) -> ElementType {
        self.value(id).kind
    }

    pub(crate) fn shape(&self, id: ValueId) -> Option<&[Dimension]> {
        self.value(id).shape.as_deref()
    }

    pub(crate) fn rank(&self, id: ValueId) -> Option<usize> {
        Some(self.shape(id)?.len())
    }

    /// The shape, if all of it is known.
    pub(crate) fn sizes(&self, id: ValueId) -> Option<Vec<i64>> {
        self.shape(id)?.iter().map(|size| size.known()).collect()
    }

    pub(crate) fn constant_of(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id).constant.as_ref()
    }

    /// The elements of a vector or scalar of integers, as far as they are known.
    pub(crate) fn elements(&self, id: ValueId) -> Option<Vec<Dimension>> {
        elements::elements(self.value(id))
    }

    /// A size that nothing is known of.
    pub(crate) fn fresh(&mut self) -> Dimension {
        self.symbols.fresh()
    }

    /// A value that no node computes: an input of the graph or of a body.
    pub(crate) fn input(&mut self, kind: ElementType, shape: Shape) -> ValueId {
        self.push(Value { kind, shape, elements: None, constant: None })
    }

    fn push(&mut self, value: Value) -> ValueId {
        self.values.push(value);
        ValueId((self.values.len() - 1) as u32)
    }

    /// A constant.
    pub(crate) fn constant(&mut self, tensor: Tensor) -> Result<ValueId, ImportError> {
        let merged = tensor.byte_length() <= MERGED_CONSTANT;
        if merged && let Some(known) = self.constants.get(&tensor) {
            return Ok(*known);
        }
        self.constant_bytes = self.constant_bytes.saturating_add(tensor.byte_length());
        if self.constant_bytes > self.constant_limit {
            return Err(ImportError::TooLarge {
                what: "bytes of constants",
                limit: self.constant_limit,
                needed: self.constant_bytes,
            });
        }
        self.count(1)?;
        let shape = tensor.dimensions().iter().map(|size| Dimension::Known(*size as i64)).collect();
        let id = self.push(Value {
            kind: tensor.kind(),
            shape: Some(shape),
            elements: None,
            constant: Some(tensor.clone()),
        });
        if merged {
            self.constants.insert(tensor, id);
        }
        Ok(id)
    }

    /// How many bytes more constants may have.
    pub(crate) fn constant_bytes_left(&self) -> u64 {
        self.constant_limit.saturating_sub(self.constant_bytes)
    }

    fn count(&mut self, more: usize) -> Result<(), ImportError> {
        self.nodes = self.nodes.saturating_add(more);
        if self.nodes > self.node_limit {
            return Err(ImportError::TooLarge {
                what: "nodes and constants of the converted model",
                limit: self.node_limit as u64,
                needed: self.nodes as u64,
            });
        }
        Ok(())
    }

    /// A node with one output.
    pub(crate) fn emit(
        &mut self,
        operator: Operator,
        inputs: &[ValueId],
        attributes: Attributes,
    ) -> Result<ValueId, ImportError> {
        let inputs = inputs.iter().map(|input| Some(*input)).collect();
        self.emit_one(operator, inputs, attributes)
    }

    /// A node with one output, of whose inputs some may be absent.
    pub(crate) fn emit_one(
        &mut self,
        operator: Operator,
        inputs: Vec<Option<ValueId>>,
        attributes: Attributes,
    ) -> Result<ValueId, ImportError> {
        if let Some(same) = self.without_effect(operator, &inputs, &attributes) {
            return Ok(same);
        }
        let results = self.emit_many(operator, inputs, attributes, 1)?;
        results.first().copied().ok_or_else(|| ImportError::InvalidGraph {
            node: operator.name().to_owned(),
            reason: "it has no output".to_owned(),
        })
    }

    /// The input, if the node would only copy it.
    fn without_effect(
        &self,
        operator: Operator,
        inputs: &[Option<ValueId>],
        attributes: &Attributes,
    ) -> Option<ValueId> {
        let first = inputs.first().copied().flatten()?;
        let same = match operator {
            Operator::Identity => true,
            Operator::Cast => fold::target(attributes) == Some(self.kind(first)),
            Operator::Transpose => {
                attributes.integers("perm")?.iter().enumerate().all(|(index, axis)| *axis == index as i64)
            }
            Operator::Concat => inputs.len() == 1,
            Operator::Reshape => {
                let target = self.elements(inputs.get(1).copied().flatten()?)?;
                let shape = self.shape(first)?;
                target == shape && !target.contains(&Dimension::Known(0))
            }
            _ => false,
        };
        same.then_some(first)
    }

    /// A node.
    pub(crate) fn emit_many(
        &mut self,
        operator: Operator,
        inputs: Vec<Option<ValueId>>,
        attributes: Attributes,
        outputs: usize,
    ) -> Result<Vec<ValueId>, ImportError> {
        let key = (!attributes.have_graph()).then(|| (operator, inputs.clone(), attributes.clone(), outputs));
        if let Some(key) = &key {
            let scopes = std::iter::once(&self.root).chain(&self.inner);
            if let Some(known) = scopes.filter_map(|scope| scope.known.get(key)).next() {
                return Ok(known.clone());
            }
        }
        if outputs == 1
            && let Some(folded) = self.fold(operator, &inputs, &attributes)
        {
            let folded = vec![self.constant(folded)?];
            // A constant is one wherever it was folded.
            self.root.known.extend(key.map(|key| (key, folded.clone())));
            return Ok(folded);
        }
        self.count(outputs)?;
        let values: Vec<Option<&Value>> =
            inputs.iter().map(|input| input.and_then(|id| self.values.get(id.index()))).collect();
        let inferred = infer::infer(operator, &attributes, &values, outputs, &mut self.symbols);
        let elements = elements::infer(operator, &attributes, &values);
        let mut ids = Vec::with_capacity(outputs);
        for (index, (kind, shape)) in inferred.into_iter().enumerate() {
            let flat = shape.as_ref().is_some_and(|shape| shape.len() <= 1);
            let elements = elements.clone().filter(|_| index == 0 && flat && kind.is_integer());
            if let Some(tensor) = elements.as_ref().and_then(|all| all_known(all, kind, &shape)) {
                ids.push(self.constant(tensor)?);
                continue;
            }
            ids.push(self.push(Value { kind, shape, elements, constant: None }));
        }
        if ids.iter().any(|id| self.constant_of(*id).is_none()) {
            self.scope().nodes.push(Node { operator, inputs, outputs: ids.clone(), attributes });
        }
        if let Some(key) = key {
            self.scope().known.insert(key, ids.clone());
        }
        Ok(ids)
    }

    /// A value of its own with the same contents: an output of a graph or of a
    /// body must be computed in it, and under one name.
    pub(crate) fn copy(&mut self, id: ValueId) -> Result<ValueId, ImportError> {
        self.count(1)?;
        let Value { kind, shape, .. } = self.value(id).clone();
        let output = self.push(Value { kind, shape, elements: None, constant: None });
        let inputs = vec![Some(id)];
        let node = Node {
            operator: Operator::Identity,
            inputs,
            outputs: vec![output],
            attributes: Attributes::none(),
        };
        self.scope().nodes.push(node);
        Ok(output)
    }

    fn fold(
        &self,
        operator: Operator,
        inputs: &[Option<ValueId>],
        attributes: &Attributes,
    ) -> Option<Tensor> {
        let mut tensors = Vec::with_capacity(inputs.len());
        for input in inputs {
            match input {
                Some(id) => {
                    tensors
                        .push(Some(self.constant_of(*id).filter(|tensor| tensor.len() <= FOLDED_AT_ONCE)?));
                }
                None => tensors.push(None),
            }
        }
        fold::fold(operator, attributes, &tensors, FOLDED_AT_ONCE)
    }

    fn scope(&mut self) -> &mut Scope {
        match self.inner.last_mut() {
            Some(scope) => scope,
            None => &mut self.root,
        }
    }

    /// Begins the body of a loop or a branch.
    pub(crate) fn open(&mut self) {
        self.inner.push(Scope::default());
    }

    /// Ends the innermost body.
    pub(crate) fn close(&mut self, inputs: Vec<ValueId>, outputs: Vec<ValueId>) -> Subgraph {
        let nodes = self.inner.pop().unwrap_or_default().nodes;
        Subgraph { nodes, inputs, outputs }
    }

    /// Says more of a value than its node does, such as the shape of a loop's result.
    pub(crate) fn describe(&mut self, id: ValueId, kind: ElementType, shape: Shape) {
        if let Some(value) = self.values.get_mut(id.index()) {
            value.kind = kind;
            value.shape = shape;
        }
    }

    /// The graph that was built.
    pub(crate) fn finish(self, inputs: Vec<(String, ValueId)>, outputs: Vec<(String, ValueId)>) -> Graph {
        Graph { values: self.values, nodes: self.root.nodes, inputs, outputs }
    }
}

/// The constant that known elements are.
fn all_known(elements: &[Dimension], kind: ElementType, shape: &Shape) -> Option<Tensor> {
    let values = elements.iter().map(|element| element.known()).collect::<Option<Vec<_>>>()?;
    let scalar = shape.as_ref()?.is_empty();
    let dimensions = if scalar { Vec::new() } else { vec![values.len()] };
    Tensor::from_numbers(kind, dimensions, crate::tensor::Numbers::Integers(values))
}
