//! The graph between TensorFlow and the file: ONNX's operators over values with
//! types and, as far as they are known, shapes and elements.

pub(crate) mod attribute;
pub(crate) mod builder;
pub(crate) mod elements;
pub(crate) mod fold;
pub(crate) mod infer;
pub(crate) mod operator;
pub(crate) mod strided;
pub(crate) mod type_codes;

pub(crate) use attribute::{Attribute, Attributes};
pub(crate) use builder::Builder;
pub(crate) use operator::{Family, Operator};

use crate::tensor::{ElementType, Tensor};

/// A value of a graph: an input, a constant, or the result of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ValueId(pub(crate) u32);

impl ValueId {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// A size, or an integer that shapes are computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Dimension {
    Known(i64),
    /// Known at run time only. Equal symbols are equal sizes; unequal ones may be equal too.
    Symbol(u32),
}

impl Dimension {
    pub(crate) fn known(self) -> Option<i64> {
        match self {
            Self::Known(value) => Some(value),
            Self::Symbol(_) => None,
        }
    }
}

/// A shape; `None` if even the rank is unknown.
pub(crate) type Shape = Option<Vec<Dimension>>;

/// The knowledge about a value.
#[derive(Debug, Clone)]
pub(crate) struct Value {
    pub(crate) kind: ElementType,
    pub(crate) shape: Shape,
    /// The elements of a short vector of integers, of which some may be symbols.
    pub(crate) elements: Option<Vec<Dimension>>,
    pub(crate) constant: Option<Tensor>,
}

/// A node: one operator.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) operator: Operator,
    pub(crate) inputs: Vec<Option<ValueId>>,
    pub(crate) outputs: Vec<ValueId>,
    pub(crate) attributes: Attributes,
}

impl Node {
    /// The input at `index`, if it is there.
    pub(crate) fn input(&self, index: usize) -> Option<ValueId> {
        self.inputs.get(index).copied().flatten()
    }

    /// The graphs of a loop or a branch.
    pub(crate) fn subgraphs(&self) -> impl Iterator<Item = &Subgraph> {
        self.attributes.0.iter().filter_map(|(_, value)| match value {
            Attribute::Graph(graph) => Some(graph),
            _ => None,
        })
    }

    /// As [`Self::subgraphs`], to change them.
    pub(crate) fn subgraphs_mut(&mut self) -> impl Iterator<Item = &mut Subgraph> {
        self.attributes.0.iter_mut().filter_map(|(_, value)| match value {
            Attribute::Graph(graph) => Some(graph),
            _ => None,
        })
    }
}

/// The body of a loop or a branch. It sees the values of the graphs around it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Subgraph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<ValueId>,
}

/// A whole model.
#[derive(Debug, Clone)]
pub(crate) struct Graph {
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) inputs: Vec<(String, ValueId)>,
    pub(crate) outputs: Vec<(String, ValueId)>,
}

impl Graph {
    pub(crate) fn value(&self, id: ValueId) -> Option<&Value> {
        self.values.get(id.index())
    }

    /// The tensor of a constant.
    pub(crate) fn constant(&self, id: ValueId) -> Option<&Tensor> {
        self.value(id)?.constant.as_ref()
    }

    /// The rank, if it is known.
    pub(crate) fn rank(&self, id: ValueId) -> Option<usize> {
        Some(self.value(id)?.shape.as_ref()?.len())
    }

    /// A new value.
    pub(crate) fn add_value(&mut self, kind: ElementType, shape: Shape) -> ValueId {
        self.values.push(Value { kind, shape, elements: None, constant: None });
        ValueId((self.values.len() - 1) as u32)
    }

    /// A new constant.
    pub(crate) fn add_constant(&mut self, tensor: Tensor) -> ValueId {
        let shape = tensor.dimensions().iter().map(|size| Dimension::Known(*size as i64)).collect();
        let id = self.add_value(tensor.kind(), Some(shape));
        if let Some(value) = self.values.get_mut(id.index()) {
            value.constant = Some(tensor);
        }
        id
    }
}
