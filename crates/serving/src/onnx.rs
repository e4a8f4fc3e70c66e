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

/// The reason why a file can't be served as an ONNX model.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file is no ONNX model: it is another format, or it is cut off.
    ///
    /// Do: export the model again (`onnx.save`), and check it with `onnx.checker`.
    #[error("not an ONNX model: {0}")]
    Malformed(#[from] WireError),
    /// The ONNX model has no graph, so there is nothing to run.
    ///
    /// Do: export the model again, with its graph.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// A tensor of the model has its data in another file.
    ///
    /// Do: save the model as one file (`onnx.save` with `save_as_external_data=False`).
    #[error(
        "the tensor {name:?} has its data in another file; save the model as one file \
         (onnx.save with save_as_external_data=False)"
    )]
    ExternalData { name: String },
    /// The model's graphs are nested deeper than [`prepare::MAXIMUM_DEPTH`].
    ///
    /// Do: export the model with fewer nested subgraphs (`If`, `Loop`, `Scan`).
    #[error("graphs are nested deeper than {limit}")]
    TooDeep { limit: usize },
    /// The model has an operator that the engine computes wrongly.
    ///
    /// Do: follow the remedy in the message, then export the model again.
    #[error("the node {node:?} is a {operator} with {what}, which the engine computes wrongly; {remedy}")]
    Unsound { node: String, operator: String, what: &'static str, remedy: &'static str },
    /// An input or an output of the model is not a tensor.
    ///
    /// Do: export the model with tensors only: no sequences, maps or optional values.
    #[error("the {kind} {name:?} is not a tensor; only tensors can be served")]
    NotATensor { kind: &'static str, name: String },
    /// An input or an output of the model has an element type that is not numeric.
    ///
    /// Do: export the model with numeric inputs and outputs.
    #[error("the {kind} {name:?} has the ONNX element type {element_type}; only numeric types can be served")]
    ElementType {
        kind: &'static str,
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
