//! Errors of a simulated platform.

use std::{io, path::PathBuf};

use adytum_evidence::attester::AttesterError;

/// The reason why a simulated platform could not be made, opened, reached or used.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// The place of a new simulated platform is not empty.
    ///
    /// Do: choose another directory, or use the platform that is there.
    #[error(
        "{path} already exists and is not an empty directory; open it, or choose another place for a new simulated platform"
    )]
    Exists { path: PathBuf },
    /// The directory holds no simulated platform.
    ///
    /// Do: make one with `adytum-sim --platform DIRECTORY 127.0.0.1:0`, or correct the
    /// path.
    #[error(
        "no simulated platform in {path}: expected a directory with platform.json; make one with `adytum-sim --platform {path} 127.0.0.1:0`"
    )]
    Missing { path: PathBuf },
    /// The operating system refused an operation on a file of the simulated platform.
    ///
    /// Do: check the path, the permissions and the free space.
    #[error("{operation} {path}: {source}")]
    File {
        operation: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the system answered.
        source: io::Error,
    },
    /// A file of the simulated platform does not hold the expected content.
    ///
    /// Do: restore the file, or make a new platform in another directory.
    #[error(
        "the simulated platform's {path} is damaged: expected {expected}, found {found}; restore it, or make a new platform elsewhere"
    )]
    Damaged {
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        found: String,
    },
    /// The simulated platform could not make a key, a certificate or a list.
    ///
    /// Do: report it with the message; make a new platform in another directory.
    #[error("the simulated platform could not {operation}: {reason}")]
    Cryptography {
        operation: &'static str,
        /// What the library answered.
        reason: String,
    },
    /// The given text is not the place of a simulated platform.
    ///
    /// Do: give a directory, or `http://HOST:PORT` of a running `adytum-sim`.
    #[error(
        "{text:?} is not the place of a simulated platform: expected a directory, or http://HOST:PORT of a running adytum-sim"
    )]
    Location { text: String },
    /// The simulation service can't be reached, or does not answer in time.
    ///
    /// Do: check that `adytum-sim` runs at that address.
    ///
    /// Retry: yes
    #[error(
        "simulated platform {url}: {operation} failed: {reason}; check that adytum-sim runs there, then retry"
    )]
    Unreachable { url: String, operation: &'static str, reason: String },
    /// The simulation service gave an unexpected answer.
    ///
    /// Do: check that the address is that of an `adytum-sim` of the same version.
    #[error("simulated platform {url}: {operation}: expected {expected}, found {found}")]
    Answer {
        url: String,
        operation: &'static str,
        /// What a good answer is.
        expected: &'static str,
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
