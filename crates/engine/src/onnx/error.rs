//! The reasons that a file can't be read as an ONNX model.

use adytum_wire::WireError;

/// The reason that a file can't be read as an ONNX model.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// The file is not a protocol buffer, or is cut off.
    ///
    /// Do: copy the file again, and check it with `onnx.checker`.
    #[error("not an ONNX model: {0}")]
    Malformed(#[from] WireError),
    /// The file has no graph, so it computes nothing.
    ///
    /// Do: export the model again; the file may be of another format.
    #[error("the ONNX model has no graph")]
    NoGraph,
    /// A part of the model exceeds a limit.
    ///
    /// Do: export a model with fewer or smaller parts of the kind that the message names.
    #[error("the model has {found} {what}; at most {limit} are read")]
    TooMany {
        /// The kind of part, in the plural.
        what: &'static str,
        /// The number found, as far as the parts were counted.
        found: usize,
        limit: usize,
    },
    /// The model does not say which version of a domain's operators it uses.
    ///
    /// Do: export the model again with an opset for the domain that the message names.
    #[error(
        "the model does not import an opset of the domain {domain:?}, so the version of its operators is unknown; export the model with one"
    )]
    NoOpset { domain: String },
    /// Two inputs, constants or outputs of nodes have one name.
    ///
    /// Do: give each value of the graph a name of its own.
    #[error("the name {name:?} is given twice; a value of a graph has one origin")]
    Duplicate { name: String },
    /// A node or an output uses a value that no input, constant or node gives.
    ///
    /// Do: correct the name, or add the node that gives the value.
    #[error("{user} uses the value {name:?}, which nothing makes")]
    Unknown {
        /// The node or output that uses the value.
        user: String,
        name: String,
    },
    /// Some nodes wait for one another's outputs.
    ///
    /// Do: remove the cycle; a repetition is an operator `Loop` or `Scan`.
    #[error("the node {node:?} needs its own output")]
    Cycle {
        /// One of the nodes.
        node: String,
    },
    /// A constant of the model is damaged, or has a form that is not read.
    ///
    /// Do: correct the tensor as the message says, and save the model again.
    #[error("the tensor {name:?} can't be read: {reason}")]
    Tensor {
        name: String,
        /// The fault and a next step.
        reason: String,
    },
    /// A node has an attribute, an input or an output that can't be read.
    ///
    /// Do: correct the node as the message says, and save the model again.
    #[error("the node {node:?} ({operator}) can't be read: {reason}")]
    Node {
        node: String,
        operator: String,
        /// The fault and a next step.
        reason: String,
    },
    /// An input or output of the model has a type that can't be used.
    ///
    /// Do: convert the value to a type that the message names, and export the model again.
    #[error("the value {name:?} has a type that can't be used: {reason}")]
    Declaration {
        name: String,
        /// The fault and a next step.
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
