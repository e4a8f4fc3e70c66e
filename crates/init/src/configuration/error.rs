//! Why a file is not a measured configuration.

use std::{io, path::PathBuf};

use adytum_evidence::measurement::Sha256Digest;

use super::{FORMAT, MAXIMUM_LENGTH};

/// Why a file is not a measured configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigurationError {
    /// It can't be read.
    #[error("{}: {source}; give the measured configuration with --configuration", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A flag names another configuration than the one in the image. A LibOS (Gramine,
    /// Occlum) measures the image, and flags are the host's.
    ///
    /// Do: put the configuration into the image at `/etc/adytum/workload.toml`, where the
    /// LibOS measures it, and start the program without `--configuration`.
    ///
    /// Retry: no
    #[error(
        "{}: a LibOS does not measure what --configuration names; put the configuration into the image at {} or {}, and \
         leave the flag out",
        path.display(), super::DEFAULT_PATH, super::DEFAULT_OCCLUM_PATH
    )]
    NotInImage {
        /// The file named.
        path: PathBuf,
    },
    /// A file to measure can't be read.
    #[error("{}: {source}; give the file to measure with {flag}", path.display())]
    NotMeasured {
        /// The file.
        path: PathBuf,
        /// The flag that names it.
        flag: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// It is too long.
    #[error("{} has more than {MAXIMUM_LENGTH} bytes: no measured configuration", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML, or has a field that is missing, unknown or of another
    /// form.
    #[error("the measured configuration is malformed: {reason}")]
    Malformed {
        /// Where and what, in the parser's words.
        reason: String,
    },
    /// It is of another format.
    #[error("the measured configuration says format = {found:?}; this program reads {FORMAT:?}")]
    Format {
        /// What it says.
        found: String,
    },
    /// A field contradicts another or itself.
    #[error("the measured configuration's {field}: {reason}")]
    Field {
        /// The field.
        field: String,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// Occlum's file does not say which broker is meant.
    #[error(
        "init_ra_conf.json names no genesis: anybody can found a broker with the same code, and it would be \
         trusted; add \"adytum\": {{\"genesis\": \"<digest of the broker's genesis>\"}} to the file and \
         measure it again"
    )]
    GenesisMissing,
    /// Occlum's `ra_config` would accept other code than one program's.
    #[error("init_ra_conf.json's ra_config: {reason}")]
    OcclumRules {
        /// Which switch, and what to do.
        reason: String,
    },
    /// The program to measure is not the one pinned.
    #[error(
        "{} has the digest {found}, and the configuration pins {wanted}; correct program.sha256 or the path",
        path.display()
    )]
    Program {
        /// The file.
        path: PathBuf,
        /// The pinned digest.
        wanted: Sha256Digest,
        /// The file's.
        found: Sha256Digest,
    },
}

impl ConfigurationError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotInImage { .. } => "configuration-not-in-image",
            Self::Unreadable { .. } => "configuration-unreadable",
            Self::NotMeasured { .. } => "program-unreadable",
            Self::TooLong { .. } => "configuration-too-long",
            Self::Malformed { .. } => "configuration-malformed",
            Self::Format { .. } => "configuration-format",
            Self::Field { .. } => "configuration-invalid",
            Self::GenesisMissing => "configuration-genesis-missing",
            Self::OcclumRules { .. } => "configuration-pins-nothing",
            Self::Program { .. } => "program-mismatch",
        }
    }
}

/// The refusal of a field.
pub(super) fn invalid(field: impl Into<String>, reason: impl Into<String>) -> ConfigurationError {
    ConfigurationError::Field { field: field.into(), reason: reason.into() }
}
