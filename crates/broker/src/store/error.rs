//! Why state can't be read or written.

use std::{io, path::PathBuf, sync::Arc};

use adytum_governance::{genesis::GenesisDigest, recovery::root_key::KeyError};

/// Why state can't be read or written.
///
/// Retry: no
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// An operation of the file system failed in the state directory.
    ///
    /// Do: look at the disk and the permissions of `--state-directory`, then try again.
    #[error(
        "{path}: {operation} failed: {source}; look at the disk and the permissions of the state directory"
    )]
    Io {
        /// The file or directory.
        path: PathBuf,
        operation: &'static str,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// No space is left for the broker's state. Nothing was changed.
    ///
    /// Do: free some space on the disk of `--state-directory`, then try again.
    ///
    /// Retry: later
    #[error("{path}: no space is left, so nothing was changed; free some, then try again")]
    Full { path: PathBuf },
    /// Another broker uses the state directory.
    ///
    /// Do: stop the other broker, or name another `--state-directory`.
    #[error("{path} is in use by another broker; stop it, or name another state directory")]
    InUse { path: PathBuf },
    /// The file in the state directory is not the state of a broker.
    ///
    /// Do: put the file back, restore a backup with `adytum-broker restore`, or name an empty
    /// `--state-directory` to begin without state.
    #[error(
        "{path} is not a broker's state: {found}; restore the file, or name an empty state directory to begin \
         without state"
    )]
    NotState { path: PathBuf, found: String },
    /// The place holds no state of a broker.
    ///
    /// Do: name the state directory of a broker, or a file that `adytum-broker backup` wrote.
    #[error("{path} holds no broker's state; name the state directory of a broker, or a backup of one")]
    NoState {
        /// The directory or file.
        path: PathBuf,
    },
    /// A file of that name exists already and is not overwritten.
    ///
    /// Do: name another place, or move the file away.
    #[error("{path} is there already, and is not overwritten; name another place, or move it away")]
    Exists { path: PathBuf },
    /// The state has the form of an earlier broker, and this broker does not read it.
    ///
    /// Do: start the earlier broker to read its secrets. Or name an empty `--state-directory`,
    /// then apply the manifest and put the secrets again.
    #[error(
        "{path} is state in the form of an earlier broker, which this one does not read; start the earlier \
         broker to read the secrets in it, or name an empty state directory and put manifest and secrets there \
         again"
    )]
    EarlierFormat { path: PathBuf },
    /// The state belongs to a broker of another genesis.
    ///
    /// Do: name the `--state-directory` of this broker, or start the broker with the genesis
    /// document of that state (`--genesis`).
    #[error(
        "{path} is the state of the broker with genesis {found}; this broker's is {expected}. Name this \
         broker's state directory, or start the broker with the genesis of that state"
    )]
    OtherGenesis { path: PathBuf, expected: GenesisDigest, found: GenesisDigest },
    /// The state does not open under this broker's key: another broker binary wrote it, or
    /// another CPU.
    ///
    /// Do: start the binary that wrote it on the machine where it ran, or recover the key with
    /// `adytum broker recover`.
    #[error(
        "{path} does not open under this broker's key: it was sealed by another broker binary or on another \
         CPU; start the binary that wrote it on the machine where it ran, or recover the key"
    )]
    Unsealing { path: PathBuf },
    /// The state has bytes that were changed outside the broker.
    ///
    /// Do: restore a backup with `adytum-broker restore`, or put back the file that the broker
    /// wrote.
    #[error(
        "{path} is damaged at {record}; restore a backup with `adytum-broker restore`, or put back the file \
         that the broker wrote"
    )]
    Damaged { path: PathBuf, record: String },
    /// The state mixes genuine records of different times: somebody exchanged single records.
    ///
    /// Do: put back the whole file that the broker wrote, or restore a backup with `adytum-broker
    /// restore`.
    #[error(
        "{path} mixes records of different times ({reason}); somebody exchanged single records, so restore the \
         whole file"
    )]
    Mixed {
        path: PathBuf,
        /// The records that don't fit.
        reason: String,
    },
    /// The state is genuine, and this version of the broker can't read its contents.
    ///
    /// Do: start the version of the broker that wrote it.
    #[error("{path} is genuine but {reason}; start the version of the broker that wrote it")]
    Contents { path: PathBuf, reason: String },
    /// The change has more bytes than the store takes at once.
    ///
    /// Do: make the change in smaller parts.
    #[error("the change has {found} bytes; at most {limit} are allowed, so make it in smaller parts")]
    TooLarge {
        found: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A change that was refused for a failing disk is on the disk after all.
    ///
    /// Do: restart the broker, so that it takes up the state on the disk.
    ///
    /// Retry: later
    #[error(
        "a change that was refused because {path} failed is in it after all; restart the broker, so that it \
         takes up what is there"
    )]
    Diverged { path: PathBuf },
    /// The broker is shutting down and changes nothing any more.
    ///
    /// Do: try again when the broker runs again.
    ///
    /// Retry: later
    #[error("the broker is shutting down, so nothing is changed any more; try again when it runs again")]
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
