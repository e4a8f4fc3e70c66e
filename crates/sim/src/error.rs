//! What can go wrong with a simulated platform.

use std::{io, path::PathBuf};

use adytum_evidence::attester::AttesterError;

/// Why a simulated platform could not be made, opened, reached or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// There is something already where a new platform should go.
    #[error(
        "{path} already exists and is not an empty directory; open it, or choose another place for a new simulated platform"
    )]
    Exists {
        /// The directory.
        path: PathBuf,
    },
    /// There is no platform in that directory.
    #[error(
        "no simulated platform in {path}: expected a directory with platform.json; make one with `adytum-sim --platform {path} 127.0.0.1:0`"
    )]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused a file operation.
    #[error("{operation} {path}: {source}")]
    File {
        /// What was tried.
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file of the platform does not hold what it should.
    #[error(
        "the simulated platform's {path} is damaged: expected {expected}, found {found}; restore it, or make a new platform elsewhere"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What it holds.
        found: String,
    },
    /// A key, certificate or list could not be made.
    #[error("the simulated platform could not {operation}: {reason}")]
    Cryptography {
        /// What was tried.
        operation: &'static str,
        /// What the library answered.
        reason: String,
    },
    /// A text that says nowhere a simulated platform could be.
    #[error(
        "{text:?} is not the place of a simulated platform: expected a directory, or http://HOST:PORT of a running adytum-sim"
    )]
    Location {
        /// What was given.
        text: String,
    },
    /// The simulation service can't be reached, or does not answer in time.
    #[error(
        "simulated platform {url}: {operation} failed: {reason}; check that adytum-sim runs there, then retry"
    )]
    Unreachable {
        /// The service.
        url: String,
        /// What was tried.
        operation: &'static str,
        /// What went wrong.
        reason: String,
    },
    /// The simulation service answered with something else than was asked for.
    #[error("simulated platform {url}: {operation}: expected {expected}, found {found}")]
    Answer {
        /// The service.
        url: String,
        /// What was asked.
        operation: &'static str,
        /// What a good answer is.
        expected: &'static str,
        /// What came.
        found: String,
    },
}

impl SimError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exists { .. } => "simulation-exists",
            Self::Missing { .. } => "simulation-missing",
            Self::File { .. } => "simulation-file",
            Self::Damaged { .. } => "simulation-damaged",
            Self::Cryptography { .. } => "simulation-cryptography",
            Self::Location { .. } => "simulation-location",
            Self::Unreachable { .. } => "simulation-unreachable",
            Self::Answer { .. } => "simulation-answer",
        }
    }

    pub(crate) fn cryptography(operation: &'static str, reason: impl ToString) -> Self {
        Self::Cryptography { operation, reason: reason.to_string() }
    }
}

impl From<SimError> for AttesterError {
    fn from(error: SimError) -> Self {
        match error {
            SimError::Answer { url, operation, expected, found } => Self::Answer {
                interface: format!("simulated platform {url}, {operation}"),
                expected: expected.to_owned(),
                found,
            },
            SimError::Unreachable { url, operation, reason } => {
                Self::Interface { interface: format!("simulated platform {url}"), operation, reason }
            }
            other => Self::Interface {
                interface: "simulated platform".to_owned(),
                operation: "quote",
                reason: other.to_string(),
            },
        }
    }
}
