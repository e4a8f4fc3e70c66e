//! One entry of a bundle, and its header in the one form that is accepted.

use tar::{EntryType, Header};

use super::{
    BLOCK, MAXIMUM_FILE_SIZE,
    entry_error::EntryError,
    path::{EntryPath, LinkTarget, printable},
};

/// Modes, as git has them: the place that a bundle is unpacked to decides who may read.
pub(super) const PLAIN_MODE: u32 = 0o644;
pub(super) const EXECUTABLE_MODE: u32 = 0o755;
const LINK_MODE: u32 = 0o777;
/// Set-user-id, set-group-id, sticky.
pub(super) const SPECIAL_BITS: u32 = 0o7000;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: EntryPath,
    pub kind: EntryKind,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory.
    Directory,
    /// A regular file; its content follows.
    File {
        /// May it be executed?
        executable: bool,
        /// Its length in bytes.
        size: u64,
    },
    /// A symbolic link.
    Link { target: LinkTarget },
}

impl Entry {
    /// Its header: a ustar header in which everything that is not said by path
    /// and kind is zero. Two trees of the same content have the same archive.
    pub fn to_header(&self) -> [u8; BLOCK] {
        let mut header = Header::new_ustar();
        let (kind, mode, size) = match &self.kind {
            EntryKind::Directory => (EntryType::Directory, EXECUTABLE_MODE, 0),
            EntryKind::File { executable: false, size } => (EntryType::Regular, PLAIN_MODE, *size),
            EntryKind::File { executable: true, size } => (EntryType::Regular, EXECUTABLE_MODE, *size),
            EntryKind::Link { .. } => (EntryType::Symlink, LINK_MODE, 0),
        };
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        let (prefix, name) = self.path.prefix_and_name();
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.name[..name.len()].copy_from_slice(name.as_bytes());
            ustar.prefix[..prefix.len()].copy_from_slice(prefix.as_bytes());
            if let EntryKind::Link { target } = &self.kind {
                ustar.linkname[..target.as_str().len()].copy_from_slice(target.as_str().as_bytes());
            }
            ustar.set_device_major(0);
            ustar.set_device_minor(0);
        }
        header.set_cksum();
        *header.as_bytes()
    }

    /// Reads a header. Only what [`Entry::to_header`] writes is accepted.
    pub fn from_header(block: &[u8; BLOCK]) -> Result<Self, EntryError> {
        let header = Header::from_byte_slice(block);
        if header.as_ustar().is_none() {
            return Err(EntryError::NotUstar);
        }
        let shown = || printable(&String::from_utf8_lossy(&header.path_bytes()));
        match header.entry_type() {
            EntryType::Regular | EntryType::Directory | EntryType::Symlink => {}
            EntryType::Link => return Err(EntryError::HardLink { path: shown() }),
            EntryType::Char | EntryType::Block => return Err(EntryError::Device { path: shown() }),
            EntryType::Fifo => return Err(EntryError::Fifo { path: shown() }),
            EntryType::GNUSparse => return Err(EntryError::Sparse { path: shown() }),
            EntryType::XHeader
            | EntryType::XGlobalHeader
            | EntryType::GNULongName
            | EntryType::GNULongLink => {
                return Err(EntryError::Extension { path: shown() });
            }
            other => return Err(EntryError::Kind { path: shown(), found: other.as_byte() }),
        }
        let mode = header.mode().map_err(|_| EntryError::NotCanonical { path: shown() })?;
        if mode & SPECIAL_BITS != 0 {
            return Err(EntryError::SpecialBits { path: shown(), mode });
        }
        let path = EntryPath::parse(&header.path_bytes())?;
        let not_canonical = || EntryError::NotCanonical { path: path.to_string() };
        let kind = match header.entry_type() {
            EntryType::Directory => EntryKind::Directory,
            EntryType::Symlink => {
                let target = header.link_name_bytes().unwrap_or_default();
                EntryKind::Link { target: LinkTarget::parse(&path, &target)? }
            }
            _ => {
                let size = header.entry_size().map_err(|_| not_canonical())?;
                if size > MAXIMUM_FILE_SIZE {
                    return Err(EntryError::TooLarge { path: path.to_string(), size });
                }
                EntryKind::File { executable: mode == EXECUTABLE_MODE, size }
            }
        };
        let entry = Self { path, kind };
        if entry.to_header() != *block {
            return Err(EntryError::NotCanonical { path: entry.path.to_string() });
        }
        Ok(entry)
    }
}
