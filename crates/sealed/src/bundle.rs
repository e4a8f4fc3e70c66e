//! Sealed bundles: a directory tree, encrypted and signed as a model is.
//!
//! The plaintext is a tar archive (POSIX ustar) in one spelling: [`pack`] writes it, and
//! [`read`] accepts nothing else. Anybody who knows the recipient can encrypt any bytes
//! to it, and the digest is known only at their end, so all of an archive is read as if
//! an enemy had written it: into a place that nobody uses before length and digest are
//! the stated ones.
//!
//! The format and the reasoning are in `docs/bundles.md`.

mod entry;
mod entry_error;
mod error;
mod pack;
mod path;
mod read;
mod sealed_file;
mod tree;
mod unseal;

use std::io;

pub use self::{
    entry::{Entry, EntryKind},
    entry_error::EntryError,
    error::{BundleError, PackError},
    pack::pack,
    path::{EntryPath, LinkTarget},
    read::{Plaintext, Sink, SliceSource, Summary, read},
    sealed_file::{GenuineBundle, SealedBundle, seal_bundle},
    tree::{Ownership, TreeWriter, remove_tree},
};
pub use crate::layout::ARCHIVE_FILE;

/// How many entries a bundle may have.
pub const MAXIMUM_ENTRIES: u64 = 100_000;

/// How deep directories may lie in each other.
pub const MAXIMUM_DEPTH: usize = 64;

/// The largest file: what eleven octal digits say (ustar), in bytes.
pub const MAXIMUM_FILE_SIZE: u64 = 0o77_777_777_777;

/// The largest archive that is unpacked unless more is asked for, in bytes.
pub const DEFAULT_MAXIMUM_SIZE: u64 = 2 << 30;

/// Gets the number of bytes that are done; an error from it ends the work.
pub type Progress<'a> = &'a mut dyn FnMut(u64) -> io::Result<()>;

/// Tar's unit.
const BLOCK: usize = 512;
