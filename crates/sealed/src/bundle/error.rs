//! Why a tree does not become a bundle, or a bundle no tree.

use std::{io, path::PathBuf};

use super::{ARCHIVE_FILE, EntryError, MAXIMUM_ENTRIES};
use crate::{rule::RuleRefusal, seal::SealError, statement::StatementError, unseal::UnsealError};

/// Why a bundle is not unpacked.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BundleError {
    /// A file of the sealed bundle can't be read.
    ///
    /// Do: check that the bundle and its `.seal` file are at the path in the message, and
    /// that the program's user may read them.
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The statement in the bundle's `.seal` file is not acceptable.
    #[error("{}: {source}", path.display())]
    Statement { path: PathBuf, source: StatementError },
    /// The statement is about a model, where a bundle is expected.
    ///
    /// Do: give the path of a sealed bundle, or seal the directory with `adytum seal
    /// --bundle NAME`.
    #[error("the statement is about {found}, a bundle's is about {ARCHIVE_FILE}: this is no bundle")]
    NotABundle { found: String },
    /// The rule for this bundle does not accept its statement: another name, signer,
    /// digest or version.
    ///
    /// Do: compare the statement with the bundle's `[[model]]` in the manifest; seal the
    /// directory again with a listed signer, or list the signer or digest.
    #[error("not genuine: {0}")]
    Rule(#[from] RuleRefusal),
    /// The bundle has more bytes than the measured configuration allows.
    ///
    /// Do: raise the bundle's `maximum_size` in the measured configuration, or seal less.
    #[error(
        "the bundle has {size} bytes, the limit is {limit}; raise maximum_size in the measured \
         configuration, or seal less"
    )]
    TooLarge {
        /// The stated size, in bytes.
        size: u64,
        /// The limit, in bytes.
        limit: u64,
    },
    /// The ciphertext can't be decrypted.
    #[error(transparent)]
    Unseal(#[from] UnsealError),
    /// An entry has no place in a bundle.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// A bundle has more entries than are allowed: directories, files and links together.
    ///
    /// Do: put fewer files into the directory, or make two bundles of it.
    #[error("the bundle has more than {MAXIMUM_ENTRIES} entries, the most that one may have")]
    TooManyEntries,
    /// The bundle has two entries of the same path.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("{path:?} comes twice")]
    Duplicate { path: String },
    /// The bundle's entries are not sorted by path.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("{path:?} is out of order; entries are sorted by name, so that each comes once")]
    Order { path: String },
    /// An entry comes before the directory that it is in, or without it.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("{path:?} has no directory: each directory comes right before what is in it")]
    ParentMissing { path: String },
    /// An entry's path leads through a symbolic link, so it would be written elsewhere.
    ///
    /// Do: use bundles that `adytum seal` wrote; if an owner's program wrote this one,
    /// seal the directory again with `adytum seal`.
    #[error("{path:?} lies behind a symbolic link, and would be written to wherever that leads")]
    BehindLink { path: String },
    /// An entry's path leads through a regular file.
    ///
    /// Do: use bundles that `adytum seal` wrote; if an owner's program wrote this one,
    /// seal the directory again with `adytum seal`.
    #[error("{path:?} lies in a file")]
    BehindFile { path: String },
    /// A header states a file size that is larger than the rest of the bundle.
    ///
    /// Do: copy the bundle again; if the error stays, seal the directory again with
    /// `adytum seal --bundle NAME`.
    #[error(
        "the header of {path:?} states {size} bytes, and only {remaining} bytes of the bundle are left; \
         copy the bundle again"
    )]
    Overlong {
        path: String,
        /// The size in the header, in bytes.
        size: u64,
        /// The rest of the bundle, in bytes.
        remaining: u64,
    },
    /// The bytes after a file, up to the next block, are not all zero.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("the padding after {path:?} is not zero")]
    Padding { path: String },
    /// The archive ends within an entry, or without its end mark.
    ///
    /// Do: copy the bundle again; if the error stays, seal the directory again with
    /// `adytum seal --bundle NAME`.
    #[error("the archive ends early")]
    Truncated,
    /// The archive's end mark is not two blocks of zeros.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("the archive's end is malformed: expected two blocks of zeros")]
    End,
    /// The archive has bytes after its end mark, such as another archive.
    ///
    /// Do: seal the directory again with `adytum seal --bundle NAME`.
    #[error("{bytes} bytes follow the archive's end")]
    Trailing { bytes: u64 },
    /// The caller stopped the unpacking, such as when the program was asked to end.
    ///
    /// Do: start the program again.
    #[error("{0}")]
    Stopped(#[source] io::Error),
    /// The system refused to write an unpacked file.
    ///
    /// Do: read the system's reason in the message; make room, or choose another `path`
    /// for the bundle in the measured configuration.
    #[error("writing {path:?} failed: {source}")]
    Write {
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
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackError {
    /// The directory has an entry that a bundle can't have.
    #[error("{}: {source}", directory.display())]
    Entry { directory: PathBuf, source: EntryError },
    /// The directory has more entries than a bundle may have.
    ///
    /// See: BundleError::TooManyEntries.
    #[error(
        "{} has more than {MAXIMUM_ENTRIES} entries, the most that a bundle may have",
        directory.display()
    )]
    TooManyEntries { directory: PathBuf },
    /// A file grew, shrank or was replaced while it was read.
    ///
    /// Do: seal the directory again when no program writes to it.
    #[error(
        "{} changed while it was read; seal the directory again when nobody writes to it",
        path.display()
    )]
    Changed { path: PathBuf },
    /// A file or directory that is to be sealed can't be read.
    ///
    /// Do: check its permissions and that it still exists, then run `adytum seal` again.
    #[error("{}: {source}", path.display())]
    Unreadable {
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The output is inside the directory that is sealed, so it would become part of
    /// itself.
    ///
    /// Do: give `--out` a place outside of that directory.
    #[error("{} lies in the directory that is sealed; name a place outside of it", out.display())]
    Inside { out: PathBuf },
    /// The output exists already, and nothing is overwritten.
    ///
    /// Do: give `--out` a new name, or seal a model under a higher `--version`.
    #[error("{} exists already; name a file that does not", path.display())]
    Exists { path: PathBuf },
    /// The caller stopped the sealing, such as by Ctrl-C.
    ///
    /// Do: run `adytum seal` again.
    #[error("{0}")]
    Stopped(#[source] io::Error),
    /// The system refused to write the sealed file.
    ///
    /// Do: read the system's reason in the message; make room, or give another `--out`.
    #[error("writing the bundle failed: {0}")]
    Write(#[source] io::Error),
    /// Encryption or the statement failed.
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
