//! What a tensor must be.

use super::elements::ElementType;

/// An input or output of a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorSpecification {
    /// Its name in the graph.
    pub name: String,
    /// The type of its elements; unknown for outputs without a declaration.
    pub element_type: Option<ElementType>,
    /// Its dimensions, `None` for one that may vary; `None` when even their
    /// number is unknown.
    pub shape: Option<Vec<Option<usize>>>,
}
