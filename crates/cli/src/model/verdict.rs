//! Whether a model can be served, and the reason if it can't.

use std::fmt;

use adytum_engine::engine::LoadError;
use adytum_import::error::ImportError;
use serde::Serialize;

use super::source::SourceError;

/// Whether a model can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Verdict {
    Servable,
    /// It can't be loaded, or requests can't carry its inputs or outputs.
    NotServable,
    /// It loads, and answers nothing.
    NoAnswer,
    /// An answer depends on the other elements of its batch.
    BatchDiffers,
    /// Its answers are not those that were recorded.
    OtherAnswers,
}

impl Verdict {
    pub(crate) fn exit_code(self) -> u8 {
        match self {
            Self::Servable => 0,
            Self::NotServable => 3,
            Self::NoAnswer => 4,
            Self::BatchDiffers => 5,
            Self::OtherAnswers => 6,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Servable => "servable",
            Self::NotServable => "not servable",
            Self::NoAnswer => "not servable: it gives no answer",
            Self::BatchDiffers => "servable one by one: a batch gives other answers",
            Self::OtherAnswers => "its answers are not those that were recorded",
        })
    }
}

/// The reason that a model is not servable, or that its answers can't be trusted.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error(transparent)]
    Import(#[from] ImportError),
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The engine panicked while it loaded the model.
    ///
    /// Do: report it with the model's operators.
    #[error("the engine panicked while it loaded the model; report it with the model's operators")]
    Panic,
    /// An input or output of the model is a sequence or an optional, which requests can't carry.
    ///
    /// Do: export the model with tensors as its inputs and outputs.
    #[error(
        "the {kind} {name:?} is a {found}, which requests can't carry; export the model with tensors as its \
         inputs and outputs"
    )]
    NotATensor { kind: &'static str, name: String, found: String },
    /// The model's table of signatures is not what the importer writes.
    ///
    /// Do: import the SavedModel again with `adytum model import`.
    #[error("the signatures in the model's metadata can't be used: {reason}; import the SavedModel again")]
    Signatures { reason: String },
    /// The model answered none of the inputs that were made up.
    ///
    /// Do: give the sizes that the model needs with --size, or recorded inputs with --expect; run the
    /// model with its own framework on an input of the declared shape.
    #[error("{what} answers no input of its declared types and shapes: {reason}")]
    NoAnswer { what: String, reason: String },
    /// An answer depends on the other elements of its batch.
    ///
    /// Do: if the first dimension is no batch but time or places, say so with --no-batch; otherwise export
    /// the model again, in evaluation mode.
    #[error("an answer depends on the other elements of its batch: of the output {output:?}, {reason}")]
    Batch { output: String, reason: String },
    /// An output is not what was recorded.
    ///
    /// Do: check that the inputs are those of the recording and that the model is the same version; if so,
    /// report it with the model's operators.
    #[error("the output {output:?} is not what was recorded: {reason}")]
    Recorded { output: String, reason: String },
}

impl CheckError {
    /// A stable code.
    pub(crate) fn code(&self) -> &'static str {
        match self {
            Self::Source(error) => error.code(),
            Self::Import(error) => error.code(),
            Self::Load(error) => error.code(),
            Self::Panic => "model-check-panic",
            Self::NotATensor { .. } => "model-check-not-a-tensor",
            Self::Signatures { .. } => "model-check-signatures",
            Self::NoAnswer { .. } => "model-check-no-answer",
            Self::Batch { .. } => "model-check-batch",
            Self::Recorded { .. } => "model-check-recorded",
        }
    }

    /// What it means for serving the model.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::NoAnswer { .. } => Verdict::NoAnswer,
            Self::Batch { .. } => Verdict::BatchDiffers,
            Self::Recorded { .. } => Verdict::OtherAnswers,
            _ => Verdict::NotServable,
        }
    }
}
