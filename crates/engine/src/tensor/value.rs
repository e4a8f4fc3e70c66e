//! What flows along the edges of a graph: tensors, sequences, optionals.

use std::fmt;

use super::{ElementType, Tensor};

/// A value on an edge of a graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A tensor.
    Tensor(Tensor),
    /// Tensors of one type, each of any shape.
    Sequence(ElementType, Vec<Tensor>),
    /// A value or none.
    Optional(Option<Box<Value>>),
}

/// The type of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// A tensor of this type.
    Tensor(ElementType),
    /// Tensors of this type.
    Sequence(ElementType),
    /// A value of this type or none.
    Optional(Box<ValueType>),
}

impl Value {
    /// The tensor, if it is one.
    pub fn tensor(&self) -> Option<&Tensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }

    /// The tensor, if it is one.
    pub fn into_tensor(self) -> Option<Tensor> {
        match self {
            Self::Tensor(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl From<Tensor> for Value {
    fn from(tensor: Tensor) -> Self {
        Self::Tensor(tensor)
    }
}

impl ValueType {
    /// The element type, if it is a tensor's.
    pub fn tensor(&self) -> Option<ElementType> {
        match self {
            Self::Tensor(element_type) => Some(*element_type),
            _ => None,
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tensor(element_type) => write!(f, "{element_type}"),
            Self::Sequence(element_type) => write!(f, "sequence of {element_type}"),
            Self::Optional(inner) => write!(f, "optional {inner}"),
        }
    }
}
