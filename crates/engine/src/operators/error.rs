//! Why an operator can't be loaded, and why it can't run.

use super::AttributeError;

/// Why a node can't be computed rightly. The planner adds the node's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What can't be computed, and why.
    pub reason: String,
}

impl Refusal {
    /// A refusal.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<AttributeError> for Refusal {
    fn from(error: AttributeError) -> Self {
        Self::new(error.to_string())
    }
}

/// Why an operator gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OperatorError {
    /// The inputs do not fit the operator or one another.
    #[error("{reason}")]
    Inputs {
        /// What was expected and what was found.
        reason: String,
    },
    /// A tensor of this shape can't be made on any machine.
    #[error("a tensor of the shape {shape:?} is too large for any machine; send smaller inputs")]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// The run needs more memory than it may have.
    #[error(
        "the run needs {requested} more bytes; it may have {limit} in all; send smaller inputs, or raise the limit"
    )]
    Budget {
        /// Bytes asked for.
        requested: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The caller is gone.
    #[error("the run was cancelled")]
    Cancelled,
    /// A fault of the engine.
    #[error("the engine failed: {reason}")]
    Engine {
        /// What happened.
        reason: String,
    },
}

impl OperatorError {
    /// Inputs that do not fit.
    pub fn inputs(reason: impl Into<String>) -> Self {
        Self::Inputs { reason: reason.into() }
    }

    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Inputs { .. } => "engine-inputs",
            Self::TooLarge { .. } | Self::Budget { .. } => "engine-budget",
            Self::Cancelled => "engine-cancelled",
            Self::Engine { .. } => "engine-failed",
        }
    }
}
