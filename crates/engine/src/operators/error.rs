//! Why an operator can't be loaded, and why it can't run.

use super::AttributeError;

/// Why a node can't be computed rightly. The planner adds the node's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// The part that can't be computed, and the cause.
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
    ///
    /// See: `RunError::Input`
    #[error("{reason}")]
    Inputs {
        /// The expected and the found type or shape.
        reason: String,
    },
    /// The run needs more memory than it may have, or one tensor more than any machine has.
    ///
    /// Do: send smaller inputs, or give the server a higher limit of memory for a run.
    ///
    /// Retry: no
    #[error("a tensor of the shape {shape:?} is too large for any machine; send smaller inputs")]
    TooLarge { shape: Vec<usize> },
    /// The run needs more memory than it may have.
    #[error(
        "the run needs {requested} more bytes; it may have {limit} in all; send smaller inputs, or raise the limit"
    )]
    Budget {
        /// Bytes that the run asked for at last.
        requested: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The caller left before the run ended, so the run was stopped.
    ///
    /// Do: wait longer for the answer, or send smaller inputs.
    ///
    /// Retry: yes
    #[error("the run was cancelled")]
    Cancelled,
    /// The engine has a fault: it could not compute a node that it accepted at load.
    ///
    /// Do: report the message with the model's node.
    ///
    /// Retry: no
    #[error("the engine failed: {reason}")]
    Engine {
        /// The engine's own message.
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
