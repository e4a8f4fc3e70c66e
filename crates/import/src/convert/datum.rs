//! The contents of the edges of TensorFlow's graph while it is converted.

use crate::{graph::ValueId, tensor::ElementType};

/// The content of an edge of TensorFlow's graph.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Datum<'m> {
    Tensor(ValueId),
    /// A variable's handle: its node in the graph.
    Variable(&'m str),
    /// A lookup table's handle: its node in the graph.
    Table(&'m str),
    List(List),
    /// The bits of a single-precision tensor, as 32-bit integers.
    Bits(ValueId),
    /// The output of a node that can't be converted.
    Failed,
}

/// A list of tensors. A list whose elements have one shape is its elements
/// stacked along a new first axis.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum List {
    /// All elements: [length, element...].
    Stacked(ValueId),
    /// A length, a scalar; nothing is set yet.
    Reserved(ValueId, ElementType),
    /// In the body of a loop: a list that the loop fills, not yet written in this turn.
    Open(usize),
    /// In the body of a loop: the element that this turn wrote.
    Written {
        /// The list's number among those that the loop fills.
        list: usize,
        /// The element's index, a scalar.
        index: ValueId,
        /// The tensor that becomes the list's element at `index`.
        element: ValueId,
    },
}
