//! ONNX files, as far as the server must understand them itself: what a model's
//! inputs and outputs are, and what must be changed or refused before an engine
//! sees the model.
//!
//! The format is a protocol buffer (`onnx.proto`); only the fields named here
//! are read, all others pass through as they are.

pub mod convolutions;
pub mod prepare;
pub mod signature;

use crate::wire::WireError;

/// Why a file can't be served as an ONNX model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// Not a protocol buffer, or cut off.
    #[error("not an ONNX model: {0}")]
    Malformed(#[from] WireError),
    /// A model without a graph.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// A tensor's data is in another file.
    #[error(
        "the tensor {name:?} has its data in another file; save the model as one file \
         (onnx.save with save_as_external_data=False)"
    )]
    ExternalData {
        /// The tensor.
        name: String,
    },
    /// A graph nested deeper than [`prepare::MAXIMUM_DEPTH`].
    #[error("graphs are nested deeper than {limit}")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// An operator that the engine computes wrongly.
    #[error("the node {node:?} is a {operator} with {what}, which the engine computes wrongly; {remedy}")]
    Unsound {
        /// The node's name.
        node: String,
        /// Its operator.
        operator: String,
        /// The trouble.
        what: &'static str,
        /// What to do.
        remedy: &'static str,
    },
    /// An input or output that is not a tensor.
    #[error("the {kind} {name:?} is not a tensor; only tensors can be served")]
    NotATensor {
        /// Input or output.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// An input of a type that can't be served.
    #[error("the {kind} {name:?} has the ONNX element type {element_type}; only numeric types can be served")]
    ElementType {
        /// Input or output.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The number of `TensorProto.DataType`.
        element_type: u64,
    },
}

impl OnnxError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "onnx-malformed",
            Self::NoGraph => "onnx-no-graph",
            Self::ExternalData { .. } => "onnx-external-data",
            Self::TooDeep { .. } => "onnx-too-deep",
            Self::Unsound { .. } => "onnx-unsound-operator",
            Self::NotATensor { .. } => "onnx-not-a-tensor",
            Self::ElementType { .. } => "onnx-element-type",
        }
    }
}
