//! Why an entry of an archive, or a path, has no place in a bundle.

use super::{MAXIMUM_DEPTH, MAXIMUM_FILE_SIZE};

/// Why an entry has no place in a bundle.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// An entry of the bundle has an absolute path; all paths are relative to the bundle.
    ///
    /// Do: seal the directory with `adytum seal`, which writes relative paths.
    #[error("{path:?} is an absolute path; in a bundle all paths are relative to its root")]
    Absolute { path: String },
    /// An entry's path has `..` in it, which leads out of the bundle.
    ///
    /// Do: seal the directory with `adytum seal`, which writes paths without `..`.
    #[error("{path:?} has \"..\" in it, which leads out of the bundle")]
    Parent { path: String },
    /// An entry's path is empty, or has an empty name, a `.` or a control character in
    /// it.
    ///
    /// Do: rename the file or directory, then seal the directory again.
    #[error(
        "{path:?} is not a plain path: expected names with single slashes between them, none of them \".\", without \
         control characters"
    )]
    Spelling { path: String },
    /// The name of a file or directory is not UTF-8.
    ///
    /// Do: rename it, then seal the directory again.
    #[error("{path:?} is not UTF-8; rename it")]
    NotText {
        /// The path, as far as it is text.
        path: String,
    },
    /// The path of an entry, or the target of a link, is longer than a tar header holds.
    ///
    /// Do: shorten the names, then seal the directory again.
    #[error(
        "{path:?} is too long: a name and a link's target have at most 100 bytes, what is before the last 100 bytes \
         of a path at most 155"
    )]
    TooLong { path: String },
    /// An entry is in more directories, one in the other, than a bundle may have.
    ///
    /// Do: move it to a directory that is less deep, then seal the directory again.
    #[error("{path:?} lies more than {} directories deep", MAXIMUM_DEPTH)]
    TooDeep { path: String },
    /// A symbolic link leads out of the bundle, or might.
    ///
    /// Do: replace the link by a file, or give it a relative target inside the directory;
    /// then seal again.
    #[error(
        "the link {path:?} leads to {target:?}, out of the bundle; a target is relative, with \"..\" at its beginning \
         only"
    )]
    LinkOutside { path: String, target: String },
    /// An entry of the bundle is a hard link, which no bundle has.
    ///
    /// Do: seal the directory with `adytum seal`, which writes each name as a file of its
    /// own.
    #[error("{path:?} is a hard link; a bundle has none")]
    HardLink { path: String },
    /// An entry of the bundle is a device; a bundle has directories, regular files and
    /// symbolic links.
    ///
    /// Do: take the device out of the directory, then seal it again.
    #[error("{path:?} is a device; a bundle has directories, regular files and symbolic links")]
    Device { path: String },
    /// An entry of the bundle is a named pipe; a bundle has directories, regular files
    /// and symbolic links.
    ///
    /// Do: take the named pipe out of the directory, then seal it again.
    #[error("{path:?} is a named pipe; a bundle has directories, regular files and symbolic links")]
    Fifo { path: String },
    /// An entry of the bundle is a socket; a bundle has directories, regular files and
    /// symbolic links.
    ///
    /// Do: take the socket out of the directory, then seal it again.
    #[error("{path:?} is a socket; a bundle has directories, regular files and symbolic links")]
    Socket { path: String },
    /// An entry is a sparse file, which may become far larger than it is in the archive.
    ///
    /// Do: seal the directory with `adytum seal`, which writes whole files.
    #[error("{path:?} is a sparse file, which may become far larger than it is; a bundle has none")]
    Sparse { path: String },
    /// The archive has an extension header of tar, which changes how the next header is
    /// read.
    ///
    /// Do: seal the directory with `adytum seal`, which writes no extension headers.
    #[error("{path:?} is an extension header of tar; a bundle has none")]
    Extension { path: String },
    /// An entry has a kind that is neither directory, regular file nor symbolic link.
    ///
    /// Do: seal the directory with `adytum seal`, which writes these three kinds only.
    #[error(
        "{path:?} is of the unknown kind {found:#04x}; a bundle has directories, regular files and symbolic links"
    )]
    Kind { path: String, found: u8 },
    /// A file or directory has the set-user-id, set-group-id or sticky bit.
    ///
    /// Do: remove the bits with `chmod`, then seal the directory again.
    #[error(
        "{path:?} has mode {mode:o}: set-user-id, set-group-id and sticky bits have no place in a bundle; take them \
         away with chmod"
    )]
    SpecialBits { path: String, mode: u32 },
    /// A file has more bytes than one file of a bundle may have.
    ///
    /// Do: split the file or leave it out, then seal the directory again.
    #[error("{path:?} has {size} bytes, at most {MAXIMUM_FILE_SIZE} are allowed")]
    TooLarge {
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// A block of the archive should be a header, and is no ustar header.
    ///
    /// Do: seal the directory with `adytum seal`.
    #[error("not a header of a ustar archive; seal the directory with `adytum seal`")]
    NotUstar,
    /// A header of the archive is not in the only form that `adytum seal` writes.
    ///
    /// Do: seal the directory with `adytum seal`.
    #[error(
        "the header of {path:?} is not in the form that `adytum seal` writes (modes 0644 and 0755, no owner, no time); \
         seal the directory with it"
    )]
    NotCanonical { path: String },
}

impl EntryError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Absolute { .. } => "bundle-path-absolute",
            Self::Parent { .. } => "bundle-path-parent",
            Self::Spelling { .. } => "bundle-path-spelling",
            Self::NotText { .. } => "bundle-path-not-utf8",
            Self::TooLong { .. } => "bundle-path-too-long",
            Self::TooDeep { .. } => "bundle-path-too-deep",
            Self::LinkOutside { .. } => "bundle-link-outside",
            Self::HardLink { .. } => "bundle-hard-link",
            Self::Device { .. } => "bundle-device",
            Self::Fifo { .. } => "bundle-fifo",
            Self::Socket { .. } => "bundle-socket",
            Self::Sparse { .. } => "bundle-sparse",
            Self::Extension { .. } => "bundle-extension",
            Self::Kind { .. } => "bundle-entry-kind",
            Self::SpecialBits { .. } => "bundle-special-bits",
            Self::TooLarge { .. } => "bundle-file-too-large",
            Self::NotUstar => "bundle-header-not-ustar",
            Self::NotCanonical { .. } => "bundle-header-not-canonical",
        }
    }
}
