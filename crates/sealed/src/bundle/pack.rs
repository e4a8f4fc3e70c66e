//! A directory as an archive. It has nothing that makes two equal trees differ on disk
//! (owners, times, the order of entries, hard links, holes).

use std::{
    fs::{self, Metadata},
    io::{self, Read, Write},
    os::unix::{
        ffi::OsStrExt,
        fs::{FileTypeExt, PermissionsExt},
    },
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    BLOCK, Entry, EntryError, EntryKind, EntryPath, LinkTarget, MAXIMUM_ENTRIES, MAXIMUM_FILE_SIZE,
    PackError, Progress, Summary, entry::SPECIAL_BITS, path::printable, read::padding,
};
use crate::{file::open_regular, layout::CHUNK};

/// Writes the archive of `directory`. `progress` gets the number of bytes of files that
/// are done. The output is of no use unless `Ok` is returned.
pub fn pack(
    directory: &Path,
    archive: &mut impl Write,
    progress: Progress<'_>,
) -> Result<Summary, PackError> {
    let mut packing = Packing {
        directory,
        archive,
        progress,
        buffer: Zeroizing::new(vec![0; CHUNK]),
        summary: Summary::default(),
    };
    packing.content_of(directory, &[])?;
    packing.archive.write_all(&[0; 2 * BLOCK]).map_err(PackError::Write)?;
    Ok(packing.summary)
}

struct Packing<'a, W> {
    directory: &'a Path,
    archive: &'a mut W,
    progress: Progress<'a>,
    buffer: Zeroizing<Vec<u8>>,
    summary: Summary,
}

impl<W: Write> Packing<'_, W> {
    /// The depth is limited by what a path may be.
    fn content_of(&mut self, directory: &Path, prefix: &[u8]) -> Result<(), PackError> {
        let unreadable = |source| PackError::Unreadable { path: directory.to_owned(), source };
        let mut names = Vec::new();
        for entry in fs::read_dir(directory).map_err(unreadable)? {
            if names.len() as u64 == MAXIMUM_ENTRIES {
                return Err(PackError::TooManyEntries { directory: self.directory.to_owned() });
            }
            names.push(entry.map_err(unreadable)?.file_name());
        }
        names.sort_by(|left, right| left.as_bytes().cmp(right.as_bytes()));
        for name in names {
            let path = directory.join(&name);
            let mut inside = prefix.to_vec();
            if !inside.is_empty() {
                inside.push(b'/');
            }
            inside.extend_from_slice(name.as_bytes());
            self.entry(&path, &inside)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, inside: &[u8]) -> Result<(), PackError> {
        self.summary.entries += 1;
        if self.summary.entries > MAXIMUM_ENTRIES {
            return Err(PackError::TooManyEntries { directory: self.directory.to_owned() });
        }
        let unreadable = |source| PackError::Unreadable { path: path.to_owned(), source };
        let metadata = path.symlink_metadata().map_err(unreadable)?;
        let place = EntryPath::parse(inside).map_err(self.refused())?;
        if metadata.is_dir() {
            self.permitted(&place, &metadata)?;
            self.header(place, EntryKind::Directory)?;
            self.content_of(path, inside)
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).map_err(unreadable)?;
            let target = LinkTarget::parse(&place, target.as_os_str().as_bytes()).map_err(self.refused())?;
            self.header(place, EntryKind::Link { target })
        } else if metadata.is_file() {
            self.file(path, place)
        } else {
            let (kind, path) = (metadata.file_type(), printable(place.as_str()));
            let error = if kind.is_fifo() {
                EntryError::Fifo { path }
            } else if kind.is_socket() {
                EntryError::Socket { path }
            } else {
                EntryError::Device { path }
            };
            Err(self.refused()(error))
        }
    }

    fn file(&mut self, path: &Path, place: EntryPath) -> Result<(), PackError> {
        let unreadable = |source| PackError::Unreadable { path: path.to_owned(), source };
        let (file, size) = open_regular(path).map_err(unreadable)?;
        let metadata = file.metadata().map_err(unreadable)?;
        self.permitted(&place, &metadata)?;
        if size > MAXIMUM_FILE_SIZE {
            return Err(self.refused()(EntryError::TooLarge { path: place.to_string(), size }));
        }
        // As git has it: whether the file's owner may execute it.
        let executable = metadata.permissions().mode() & 0o100 != 0;
        self.header(place, EntryKind::File { executable, size })?;
        // One byte more than there should be shows a file that grew.
        let mut content = file.take(size + 1);
        let mut done = 0;
        loop {
            let count = match content.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(unreadable(error)),
            };
            done += count as u64;
            if done > size {
                break;
            }
            self.archive.write_all(&self.buffer[..count]).map_err(PackError::Write)?;
            self.summary.bytes += count as u64;
            (self.progress)(self.summary.bytes).map_err(PackError::Stopped)?;
        }
        if done != size {
            return Err(PackError::Changed { path: path.to_owned() });
        }
        self.archive.write_all(&[0; BLOCK][..padding(size)]).map_err(PackError::Write)
    }

    fn permitted(&self, place: &EntryPath, metadata: &Metadata) -> Result<(), PackError> {
        let mode = metadata.permissions().mode() & 0o7777;
        if mode & SPECIAL_BITS != 0 {
            return Err(self.refused()(EntryError::SpecialBits { path: place.to_string(), mode }));
        }
        Ok(())
    }

    fn header(&mut self, path: EntryPath, kind: EntryKind) -> Result<(), PackError> {
        self.archive.write_all(&Entry { path, kind }.to_header()).map_err(PackError::Write)
    }

    fn refused(&self) -> impl Fn(EntryError) -> PackError + use<W> {
        let directory: PathBuf = self.directory.to_owned();
        move |source| PackError::Entry { directory: directory.clone(), source }
    }
}
