//! Why a tree does not become a bundle, or a bundle no tree.

use std::{io, path::PathBuf};

use super::{ARCHIVE_FILE, EntryError, MAXIMUM_ENTRIES};
use crate::{rule::RuleRefusal, seal::SealError, statement::StatementError, unseal::UnsealError};

/// Why a bundle is not unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file of the sealed bundle can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The statement beside the ciphertext.
    #[error("{}: {source}", path.display())]
    Statement {
        /// The statement's file.
        path: PathBuf,
        /// What is wrong with it.
        source: StatementError,
    },
    /// A statement about a model.
    #[error("the statement is about {found}, a bundle's is about {ARCHIVE_FILE}: this is no bundle")]
    NotABundle {
        /// The plaintext's name.
        found: String,
    },
    /// The rule does not accept the statement.
    #[error("not genuine: {0}")]
    Rule(#[from] RuleRefusal),
    /// More than the place it goes to should hold.
    #[error("the bundle has {size} bytes, the limit is {limit}; raise maximum_size if that is meant")]
    TooLarge {
        /// The stated size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The ciphertext.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// An entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// More than [`MAXIMUM_ENTRIES`].
    #[error("the bundle has more than {MAXIMUM_ENTRIES} entries")]
    TooManyEntries,
    /// One name twice.
    #[error("{path:?} comes twice")]
    Duplicate {
        /// The path.
        path: String,
    },
    /// A name that should have come earlier.
    #[error("{path:?} is out of order; entries are sorted by name, so that each comes once")]
    Order {
        /// The path.
        path: String,
    },
    /// Something in a directory that did not come before it.
    #[error("{path:?} has no directory: each directory comes right before what is in it")]
    ParentMissing {
        /// The path.
        path: String,
    },
    /// Something that would be written through a link.
    #[error("{path:?} lies behind a symbolic link, and would be written to wherever that leads")]
    BehindLink {
        /// The path.
        path: String,
    },
    /// Something in a file.
    #[error("{path:?} lies in a file")]
    BehindFile {
        /// The path.
        path: String,
    },
    /// A file of more bytes than there are.
    #[error("{path:?} is said to have {size} bytes, and only {remaining} bytes of the bundle are left")]
    Overlong {
        /// The path.
        path: String,
        /// The size said, in bytes.
        size: u64,
        /// What is left, in bytes.
        remaining: u64,
    },
    /// Something other than zeros after a file.
    #[error("the padding after {path:?} is not zero")]
    Padding {
        /// The path.
        path: String,
    },
    /// The archive ends within an entry or without its end.
    #[error("the archive ends early")]
    Truncated,
    /// One block of zeros and then something.
    #[error("the archive's end is malformed: expected two blocks of zeros")]
    End,
    /// Something after the end, such as another archive.
    #[error("{bytes} bytes follow the archive's end")]
    Trailing {
        /// How many.
        bytes: u64,
    },
    /// The caller's progress said no more.
    #[error("{0}")]
    Stopped(#[source] io::Error),
    /// The place it goes to.
    #[error("writing {path:?} failed: {source}")]
    Write {
        /// Which entry.
        path: String,
        /// What the system said.
        source: io::Error,
    },
}

impl BundleError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => "bundle-unreadable",
            Self::Statement { source, .. } => source.code(),
            Self::NotABundle { .. } => "bundle-statement-of-model",
            Self::Rule(_) => "bundle-not-genuine",
            Self::TooLarge { .. } => "bundle-too-large",
            Self::Unseal(error) => error.code(),
            Self::Entry(error) => error.code(),
            Self::TooManyEntries => "bundle-too-many-entries",
            Self::Duplicate { .. } => "bundle-entry-duplicate",
            Self::Order { .. } => "bundle-entry-order",
            Self::ParentMissing { .. } => "bundle-parent-missing",
            Self::BehindLink { .. } => "bundle-behind-link",
            Self::BehindFile { .. } => "bundle-behind-file",
            Self::Overlong { .. } => "bundle-entry-overlong",
            Self::Padding { .. } => "bundle-padding",
            Self::Truncated => "bundle-archive-truncated",
            Self::End => "bundle-archive-end",
            Self::Trailing { .. } => "bundle-archive-trailing",
            Self::Stopped(_) => "bundle-stopped",
            Self::Write { .. } => "bundle-write",
        }
    }
}

/// Why a directory is not sealed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// An entry that a bundle can't have.
    #[error("{}: {source}", directory.display())]
    Entry {
        /// The directory sealed.
        directory: PathBuf,
        /// What is wrong.
        source: EntryError,
    },
    /// More than [`MAXIMUM_ENTRIES`].
    #[error("{} has more than {MAXIMUM_ENTRIES} entries; a bundle has at most so many", directory.display())]
    TooManyEntries {
        /// The directory sealed.
        directory: PathBuf,
    },
    /// A file that grew or shrank meanwhile.
    #[error("{} changed while it was read; seal the directory again when nobody writes to it", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// A file or directory can't be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The sealed bundle would become part of itself.
    #[error("{} lies in the directory that is sealed; name a place outside of it", out.display())]
    Inside {
        /// The output.
        out: PathBuf,
    },
    /// Nothing is overwritten.
    #[error("{} exists already; name a file that does not", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// The caller's progress said no more.
    #[error("{0}")]
    Stopped(#[source] io::Error),
    /// The archive can't be written.
    #[error("writing the bundle failed: {0}")]
    Write(#[source] io::Error),
    /// Encryption or statement.
    #[error(transparent)]
    Seal(#[from] SealError),
}

impl PackError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Entry { source, .. } => source.code(),
            Self::TooManyEntries { .. } => "bundle-too-many-entries",
            Self::Changed { .. } => "seal-bundle-changed",
            Self::Unreadable { .. } => "seal-bundle-unreadable",
            Self::Inside { .. } => "seal-bundle-inside",
            Self::Exists { .. } => "seal-exists",
            Self::Stopped(_) => "seal-stopped",
            Self::Write(_) => "seal-write",
            Self::Seal(error) => error.code(),
        }
    }
}
