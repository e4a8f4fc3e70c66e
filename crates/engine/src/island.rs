//! Islands: parts of a graph that the library `rten` computes, as one operator of ours.
//!
//! rten computes many nodes fast and some of them wrongly, and it has four element types:
//! float, int32, int8 and uint8. [`rules`] lists the nodes that it computes right, each
//! entry read in rten's source (version 0.27); a node that is not listed is never given to it.
//! A 64-bit number enters an island only if it provably fits 32 bits.

pub(crate) mod build;
mod convert;
mod parts;
pub(crate) mod plot;
pub(crate) mod rules;
mod run;
mod sketch;
mod write;

use crate::{
    onnx::model::ValueId,
    operators::Attribute,
    tensor::{ElementType, Tensor, ValueType},
};

/// An element type of rten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Floats of all sizes up to 32 bits.
    Float,
    /// Whole numbers that fit 32 bits, and bools as 0 and 1.
    Int32,
    /// 8-bit signed.
    Int8,
    /// 8-bit unsigned.
    Uint8,
}

impl Kind {
    /// How a type of ours is kept in an island; `None` for one that can't enter.
    pub(crate) fn of(element_type: ElementType) -> Option<Self> {
        match element_type {
            ElementType::Float | ElementType::Half | ElementType::Bfloat16 => Some(Self::Float),
            ElementType::Int32 | ElementType::Int64 | ElementType::Bool => Some(Self::Int32),
            ElementType::Int8 => Some(Self::Int8),
            ElementType::Uint8 => Some(Self::Uint8),
            _ => None,
        }
    }

    /// The number of ONNX's `TensorProto.DataType`.
    pub(crate) fn to_onnx(self) -> u64 {
        match self {
            Self::Float => 1,
            Self::Int32 => 6,
            Self::Int8 => 3,
            Self::Uint8 => 2,
        }
    }
}

/// What a node of rten takes.
#[derive(Clone, Debug)]
pub(crate) enum Operand {
    /// A value of the model.
    Value(ValueId),
    /// A constant that only this node has.
    Constant(Tensor),
    /// An output of another node of the same translation.
    Inner(u32),
}

/// What a node of rten gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The output of the model's node of this index.
    Output(usize),
    /// A value that only nodes of the same translation take.
    Inner(u32),
    /// Nothing that anyone takes.
    Unused,
}

/// A node for rten.
#[derive(Clone, Debug)]
pub(crate) struct IslandNode {
    pub(crate) domain: &'static str,
    pub(crate) operator: String,
    pub(crate) attributes: Vec<(&'static str, Attribute)>,
    pub(crate) inputs: Vec<Option<Operand>>,
    pub(crate) outputs: Vec<Target>,
}

/// A node of a model as nodes for rten.
#[derive(Clone, Debug)]
pub(crate) struct Translation {
    pub(crate) nodes: Vec<IslandNode>,
    /// The types of the outputs, in the model's terms.
    pub(crate) types: Vec<ValueType>,
    /// Whether it is worth an island of its own: most of the time of a model goes there.
    pub(crate) heavy: bool,
}
