//! Why an entry of an archive, or a path, has no place in a bundle.

use super::{MAXIMUM_DEPTH, MAXIMUM_FILE_SIZE};

/// Why an entry has no place in a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// It would lie anywhere.
    #[error("{path:?} is an absolute path; in a bundle all paths are relative to its root")]
    Absolute {
        /// The path.
        path: String,
    },
    /// It would lie outside.
    #[error("{path:?} has \"..\" in it, which leads out of the bundle")]
    Parent {
        /// The path.
        path: String,
    },
    /// Empty, or with an empty component, a `.`, a control character.
    #[error(
        "{path:?} is not a plain path: expected names with single slashes between them, none of them \".\", without \
         control characters"
    )]
    Spelling {
        /// The path.
        path: String,
    },
    /// Not UTF-8.
    #[error("{path:?} is not UTF-8; rename it")]
    NotText {
        /// The path, as far as it is text.
        path: String,
    },
    /// More than a header holds.
    #[error(
        "{path:?} is too long: a name and a link's target have at most 100 bytes, what is before the last 100 bytes \
         of a path at most 155"
    )]
    TooLong {
        /// The path.
        path: String,
    },
    /// Too many directories in each other.
    #[error("{path:?} lies more than {} directories deep", MAXIMUM_DEPTH)]
    TooDeep {
        /// The path.
        path: String,
    },
    /// A link that leads, or might lead, out.
    #[error(
        "the link {path:?} leads to {target:?}, out of the bundle; a target is relative, with \"..\" at its beginning \
         only"
    )]
    LinkOutside {
        /// The link.
        path: String,
        /// Where it leads.
        target: String,
    },
    /// A second name for a file.
    #[error("{path:?} is a hard link; a bundle has none")]
    HardLink {
        /// The path.
        path: String,
    },
    /// A device.
    #[error("{path:?} is a device; a bundle has directories, regular files and symbolic links")]
    Device {
        /// The path.
        path: String,
    },
    /// A named pipe.
    #[error("{path:?} is a named pipe; a bundle has directories, regular files and symbolic links")]
    Fifo {
        /// The path.
        path: String,
    },
    /// A socket.
    #[error("{path:?} is a socket; a bundle has directories, regular files and symbolic links")]
    Socket {
        /// The path.
        path: String,
    },
    /// A file with holes.
    #[error("{path:?} is a sparse file, which may become far larger than it is; a bundle has none")]
    Sparse {
        /// The path.
        path: String,
    },
    /// A header that says something about the next one.
    #[error("{path:?} is an extension header of tar; a bundle has none")]
    Extension {
        /// The path.
        path: String,
    },
    /// Anything else.
    #[error(
        "{path:?} is of the unknown kind {found:#04x}; a bundle has directories, regular files and symbolic links"
    )]
    Kind {
        /// The path.
        path: String,
        /// Tar's type byte.
        found: u8,
    },
    /// Set-user-id and the like.
    #[error(
        "{path:?} has mode {mode:o}: set-user-id, set-group-id and sticky bits have no place in a bundle; take them \
         away with chmod"
    )]
    SpecialBits {
        /// The path.
        path: String,
        /// Its mode.
        mode: u32,
    },
    /// More than a header says.
    #[error("{path:?} has {size} bytes, at most {MAXIMUM_FILE_SIZE} are allowed")]
    TooLarge {
        /// The path.
        path: String,
        /// Its size in bytes.
        size: u64,
    },
    /// Not a ustar header.
    #[error("not a header of a ustar archive; seal the directory with `adytum seal`")]
    NotUstar,
    /// Another spelling than the one that is accepted.
    #[error(
        "the header of {path:?} is not in the form that `adytum seal` writes (modes 0644 and 0755, no owner, no time); \
         seal the directory with it"
    )]
    NotCanonical {
        /// The path.
        path: String,
    },
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
