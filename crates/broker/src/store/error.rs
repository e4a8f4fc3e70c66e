//! Why state can't be read or written.

use std::{io, path::PathBuf, sync::Arc};

use adytum_governance::{genesis::GenesisDigest, recovery::root_key::KeyError};

/// Why state can't be read or written.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file system failed.
    #[error("{path}: {operation} failed: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// There is no space left. Nothing was changed.
    #[error("{path}: no space is left, so nothing was changed; free some, then try again")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// Another process uses the directory.
    #[error("{path} is in use by another broker; stop it, or name another state directory")]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Not a state file at all.
    #[error(
        "{path} is not a broker's state: {found}; restore the file, or name an empty state directory to found \
         its state anew"
    )]
    NotState {
        /// The file.
        path: PathBuf,
        /// What was found.
        found: String,
    },
    /// There is none where one was expected.
    #[error("{path} holds no broker's state; name the state directory of a broker, or a backup of one")]
    NoState {
        /// The directory or file.
        path: PathBuf,
    },
    /// The file would be overwritten.
    #[error("{path} is there already, and is not overwritten; name another place, or move it away")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// State in the form of a broker before version 0.1.
    #[error(
        "{path} is state in the form of an earlier broker, which this one does not read; start the earlier \
         broker to read the secrets in it, or name an empty state directory and put manifest and secrets anew"
    )]
    EarlierFormat {
        /// The file.
        path: PathBuf,
    },
    /// The state of a broker of another genesis.
    #[error("{path} is the state of the broker with genesis {found}; this broker's is {expected}")]
    OtherGenesis {
        /// The file.
        path: PathBuf,
        /// This broker's.
        expected: GenesisDigest,
        /// The file's.
        found: GenesisDigest,
    },
    /// The file does not open under this broker's key.
    #[error(
        "{path} does not open under this broker's key: it was sealed by another broker binary or on another \
         CPU; start the binary that wrote it on the machine where it ran, or recover the key"
    )]
    Unsealing {
        /// The file.
        path: PathBuf,
    },
    /// Bytes were changed outside the broker.
    #[error(
        "{path} is damaged at {record}; restore a backup with `adytum-broker restore`, or put back the file that \
         the broker wrote"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which record.
        record: String,
    },
    /// Each record is genuine, but they do not belong together.
    #[error(
        "{path} mixes records of different times ({reason}); somebody exchanged single records, so restore the \
         whole file"
    )]
    Mixed {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        reason: String,
    },
    /// The file is genuine and this program can't read what is in it.
    #[error("{path} is genuine but {reason}; start the version of the broker that wrote it")]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More than a store takes at once.
    #[error("the change has {found} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Bytes found.
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// What was refused for a failing disk is on the disk after all.
    #[error(
        "a change that was refused because {path} failed is in it after all; restart the broker, so that it \
         takes up what is there"
    )]
    Diverged {
        /// The file.
        path: PathBuf,
    },
    /// The store was closed.
    #[error("the broker is shutting down, so nothing is changed any more")]
    Closed,
    /// The cryptographic library failed.
    #[error(transparent)]
    Cryptography(#[from] KeyError),
}

impl StoreError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store-io",
            Self::Full { .. } => "store-full",
            Self::InUse { .. } => "store-in-use",
            Self::NotState { .. } => "store-not-state",
            Self::NoState { .. } => "store-no-state",
            Self::Exists { .. } => "store-exists",
            Self::EarlierFormat { .. } => "store-earlier-format",
            Self::OtherGenesis { .. } => "store-other-genesis",
            Self::Unsealing { .. } => "store-unsealing",
            Self::Damaged { .. } => "store-damaged",
            Self::Mixed { .. } => "store-mixed",
            Self::Contents { .. } => "store-contents",
            Self::TooLarge { .. } => "store-too-large",
            Self::Diverged { .. } => "store-diverged",
            Self::Closed => "store-closed",
            Self::Cryptography(error) => error.code(),
        }
    }

    /// May the same change pass later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Io { .. } | Self::Full { .. } | Self::Diverged { .. } | Self::Closed)
    }
}
