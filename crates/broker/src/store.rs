//! Where a broker's state outlives the process: a small boundary, so that the
//! way it is kept can change without the broker noticing.

mod encoding;
mod file;

use std::{collections::BTreeMap, io, path::PathBuf};

use adytum_api::names::SecretName;
use adytum_ratls::claims::GenesisDigest;

pub use self::file::SealedFile;
use crate::{manifest::SignedManifest, secrets::StoredSecret};

/// What is kept. Its manifest is unverified: see [`crate::state::State::restore`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts the broker's starts.
    pub epoch: u64,
    /// The manifest in force.
    pub manifest: Option<SignedManifest>,
    /// The secrets.
    pub secrets: BTreeMap<SecretName, StoredSecret>,
}

/// Keeps snapshots. The caller calls one method at a time, on a thread that may
/// block.
pub trait Store: Send + Sync {
    /// The last snapshot committed; `None` before the first.
    fn load(&self) -> Result<Option<Snapshot>, StoreError>;

    /// Replaces the snapshot, wholly or not at all. When it returns `Ok`, the
    /// new one survives a loss of power.
    fn commit(&self, snapshot: &Snapshot) -> Result<(), StoreError>;

    /// Does anything survive the process?
    fn durable(&self) -> bool;
}

/// Keeps nothing: for platforms without a sealing key. The broker itself holds
/// the state while it runs.
#[derive(Clone, Copy, Debug, Default)]
pub struct MemoryOnly;

impl Store for MemoryOnly {
    fn load(&self) -> Result<Option<Snapshot>, StoreError> {
        Ok(None)
    }

    fn commit(&self, _snapshot: &Snapshot) -> Result<(), StoreError> {
        Ok(())
    }

    fn durable(&self) -> bool {
        false
    }
}

/// Why state can't be read or written.
#[derive(Debug, thiserror::Error)]
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
        source: io::Error,
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
    /// The file does not open under this broker's sealing key.
    #[error(
        "{path} does not open: it was changed, or sealed by another broker binary or on another CPU; restore \
         the file, or start the binary that wrote it on the machine where it ran"
    )]
    Unsealing {
        /// The file.
        path: PathBuf,
    },
    /// The file is genuine and this program can't read what is in it.
    #[error("{path} is genuine but {reason}; start the version of the broker that wrote it")]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// More than a store holds.
    #[error("the state has {found} bytes; at most {limit} are allowed")]
    TooLarge {
        /// Bytes found.
        found: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The thread that committed ended before it was done.
    #[error("the commit broke off")]
    Interrupted,
    /// The cryptographic library failed.
    #[error("{operation} failed in the cryptographic library")]
    Cryptography {
        /// What was tried.
        operation: &'static str,
    },
}

impl StoreError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "store-io",
            Self::InUse { .. } => "store-in-use",
            Self::NotState { .. } => "store-not-state",
            Self::OtherGenesis { .. } => "store-other-genesis",
            Self::Unsealing { .. } => "store-unsealing",
            Self::Contents { .. } => "store-contents",
            Self::TooLarge { .. } => "store-too-large",
            Self::Interrupted => "store-interrupted",
            Self::Cryptography { .. } => "store-cryptography",
        }
    }
}
