//! Why a file can't be read as an ONNX model.

use adytum_wire::WireError;

/// Why a file can't be read as an ONNX model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// Not a protocol buffer, or cut off.
    #[error("not an ONNX model: {0}")]
    Malformed(#[from] WireError),
    /// A model without a graph.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// A part of the model exceeds a limit.
    #[error("the model has {found} {what}; at most {limit} are read")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// How many were found, as far as they were counted.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// The model does not say which version of a domain's operators it uses.
    #[error("the model does not import an opset of the domain {domain:?}; add it to opset_import")]
    NoOpset {
        /// The domain.
        domain: String,
    },
    /// Two things have one name.
    #[error("the name {name:?} is given twice; a value of a graph has one origin")]
    Duplicate {
        /// The name.
        name: String,
    },
    /// A name that nothing makes.
    #[error("{user} uses the value {name:?}, which nothing makes")]
    Unknown {
        /// What uses it.
        user: String,
        /// The name.
        name: String,
    },
    /// Nodes that wait for one another.
    #[error("the node {node:?} needs its own output")]
    Cycle {
        /// One of the nodes.
        node: String,
    },
    /// A tensor that can't be read.
    #[error("the tensor {name:?} can't be read: {reason}")]
    Tensor {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An attribute that can't be read.
    #[error("the node {node:?} ({operator}) can't be read: {reason}")]
    Node {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// An input or output whose type can't be used.
    #[error("the value {name:?} has a type that can't be used: {reason}")]
    Declaration {
        /// Its name.
        name: String,
        /// What is wrong and what to do.
        reason: String,
    },
}

impl OnnxError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "onnx-malformed",
            Self::NoGraph => "onnx-no-graph",
            Self::TooMany { .. } => "onnx-too-large",
            Self::NoOpset { .. } => "onnx-no-opset",
            Self::Duplicate { .. } => "onnx-duplicate-name",
            Self::Unknown { .. } => "onnx-unknown-name",
            Self::Cycle { .. } => "onnx-cycle",
            Self::Tensor { .. } => "onnx-tensor",
            Self::Node { .. } => "onnx-node",
            Self::Declaration { .. } => "onnx-declaration",
        }
    }
}
