//! The causes for which a loaded model does not answer requests.

use crate::tensor::NotATensor;

/// Why a loaded model does not answer requests.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServableError {
    /// The model has an input or output that the API can't carry.
    ///
    /// Do: export the model with tensors as its inputs and outputs.
    #[error(transparent)]
    Signature(#[from] NotATensor),
    /// The model's table of signatures (`adytum.signatures` in its metadata) does not
    /// fit its graph.
    ///
    /// Do: import the SavedModel again with `adytum model import`.
    #[error(
        "the table of signatures in the model's metadata can't be used: {reason}; import the model again"
    )]
    SignatureTable {
        /// The part of the table that does not fit.
        reason: String,
    },
    /// The model answered none of the inputs that were made up for it.
    ///
    /// Do: run the model with its own framework on an input of the declared shape, and
    /// export it again.
    #[error("the model answers no input of its declared types and shapes: {reason}")]
    NeverAnswers {
        /// What the engine said of the first.
        reason: String,
    },
}

impl ServableError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Signature(_) => "model-not-tensors",
            Self::SignatureTable { .. } => "model-signature-table",
            Self::NeverAnswers { .. } => "model-never-answers",
        }
    }
}
