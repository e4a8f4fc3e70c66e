//! Reads an archive as its bytes come, and believes none of them.
//!
//! Entries come in one order: a directory before what is in it, its content
//! right after it, sorted by name. So no name can come twice, nothing can lie
//! behind a link or a file, and all that has to be remembered is the way from the
//! root to the last entry.

use std::{cmp::Ordering, io};

use zeroize::Zeroizing;

use super::{BLOCK, BundleError, Entry, EntryKind, EntryPath, LinkTarget, MAXIMUM_ENTRIES, Progress};
use crate::{layout::CHUNK, unseal::UnsealError};

/// Where the archive comes from: exactly `remaining` bytes.
pub trait Plaintext {
    /// How many bytes are left.
    fn remaining(&self) -> u64;

    /// Fills the buffer, or says why there is less.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), UnsealError>;
}

/// Where the tree goes. Every call is about the directory entered last.
pub trait Sink {
    /// Makes a directory and enters it.
    fn enter(&mut self, name: &str) -> io::Result<()>;

    /// Leaves the directory entered last.
    fn leave(&mut self) -> io::Result<()>;

    /// Begins a file.
    fn begin(&mut self, name: &str, executable: bool) -> io::Result<()>;

    /// The next bytes of the file begun last.
    fn content(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Ends the file begun last.
    fn end(&mut self) -> io::Result<()>;

    /// Makes a symbolic link.
    fn link(&mut self, name: &str, target: &LinkTarget) -> io::Result<()>;
}

/// The size of the archive that was read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub entries: u64,
    pub bytes: u64,
}

/// Reads an archive to its end. The output is NOT to be used unless this and the check of
/// the plaintext as a whole say `Ok`. `progress` gets the number of bytes of the archive
/// that are done.
pub fn read(
    source: &mut impl Plaintext,
    sink: &mut impl Sink,
    progress: Progress<'_>,
) -> Result<Summary, BundleError> {
    let total = source.remaining();
    let mut reader = Reader { source, sink, frames: vec![Frame::root()], summary: Summary::default() };
    let mut buffer = Zeroizing::new(vec![0; CHUNK]);
    while let Some(entry) = reader.header()? {
        reader.summary.entries += 1;
        if reader.summary.entries > MAXIMUM_ENTRIES {
            return Err(BundleError::TooManyEntries);
        }
        reader.place(&entry)?;
        let mut report = |remaining| progress(total - remaining).map_err(BundleError::Stopped);
        reader.make(&entry, &mut buffer, &mut report)?;
    }
    reader.end()
}

/// A directory that is open on the way from the root.
struct Frame {
    name: String,
    last: Option<(String, Last)>,
}

/// What the last entry of a directory was.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Directory,
    File,
    Link,
}

impl Frame {
    fn root() -> Self {
        Self { name: String::new(), last: None }
    }
}

struct Reader<'a, P, S> {
    source: &'a mut P,
    sink: &'a mut S,
    /// The root, and the directories to the one that the last entry is in. Never
    /// empty.
    frames: Vec<Frame>,
    summary: Summary,
}

impl<P: Plaintext, S: Sink> Reader<'_, P, S> {
    /// The next entry, or `None` at the end of the archive, after which there is
    /// nothing.
    fn header(&mut self) -> Result<Option<Entry>, BundleError> {
        let mut block = [0; BLOCK];
        self.block(&mut block)?;
        if block != [0; BLOCK] {
            return Ok(Some(Entry::from_header(&block)?));
        }
        self.block(&mut block)?;
        if block != [0; BLOCK] {
            return Err(BundleError::End);
        }
        match self.source.remaining() {
            0 => Ok(None),
            more => Err(BundleError::Trailing { bytes: more }),
        }
    }

    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<(), BundleError> {
        if self.source.remaining() < BLOCK as u64 {
            return Err(BundleError::Truncated);
        }
        Ok(self.source.fill(block)?)
    }

    /// Goes to the directory that the entry is in, if that may come now.
    fn place(&mut self, entry: &Entry) -> Result<(), BundleError> {
        let path = &entry.path;
        let mut depth = 1;
        for parent in path.parents() {
            match self.frames.get(depth) {
                Some(frame) if frame.name == parent => depth += 1,
                _ => return Err(self.misplaced(path, depth, parent)),
            }
        }
        while self.frames.len() > depth {
            self.frames.pop();
            self.sink.leave().map_err(|source| write(path, source))?;
        }
        let kind = match entry.kind {
            EntryKind::Directory => Last::Directory,
            EntryKind::File { .. } => Last::File,
            EntryKind::Link { .. } => Last::Link,
        };
        // `frames` is never empty: `depth` is at least 1.
        let Some(frame) = self.frames.last_mut() else { return Err(BundleError::Truncated) };
        if let Some((last, _)) = &frame.last {
            match path.name().as_bytes().cmp(last.as_bytes()) {
                Ordering::Greater => {}
                Ordering::Equal => return Err(BundleError::Duplicate { path: path.to_string() }),
                Ordering::Less => return Err(BundleError::Order { path: path.to_string() }),
            }
        }
        frame.last = Some((path.name().to_owned(), kind));
        Ok(())
    }

    /// Why an entry's directory is not open.
    fn misplaced(&self, path: &EntryPath, depth: usize, parent: &str) -> BundleError {
        let path = path.to_string();
        let last = self.frames.get(depth - 1).and_then(|frame| frame.last.as_ref());
        match last.filter(|(name, _)| name == parent).map(|(_, kind)| kind) {
            Some(Last::Link) => BundleError::BehindLink { path },
            Some(Last::File) => BundleError::BehindFile { path },
            _ => BundleError::ParentMissing { path },
        }
    }

    /// `report` gets the number of bytes left.
    fn make(
        &mut self,
        entry: &Entry,
        buffer: &mut [u8],
        report: &mut dyn FnMut(u64) -> Result<(), BundleError>,
    ) -> Result<(), BundleError> {
        let name = entry.path.name();
        let failed = |source| write(&entry.path, source);
        match &entry.kind {
            EntryKind::Directory => {
                self.sink.enter(name).map_err(failed)?;
                self.frames.push(Frame { name: name.to_owned(), last: None });
                Ok(())
            }
            EntryKind::Link { target } => self.sink.link(name, target).map_err(failed),
            EntryKind::File { executable, size } => {
                let padding = padding(*size);
                // Before anything is written: a size that lies fills no memory.
                if size.saturating_add(padding as u64) > self.source.remaining() {
                    let (path, size) = (entry.path.to_string(), *size);
                    return Err(BundleError::Overlong { path, size, remaining: self.source.remaining() });
                }
                self.sink.begin(name, *executable).map_err(failed)?;
                let mut left = *size;
                while left > 0 {
                    let length = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
                    self.source.fill(&mut buffer[..length])?;
                    self.sink.content(&buffer[..length]).map_err(failed)?;
                    left -= length as u64;
                    report(self.source.remaining())?;
                }
                let mut zeros = [0; BLOCK];
                self.source.fill(&mut zeros[..padding])?;
                if zeros[..padding].iter().any(|byte| *byte != 0) {
                    return Err(BundleError::Padding { path: entry.path.to_string() });
                }
                self.summary.bytes = self.summary.bytes.saturating_add(*size);
                self.sink.end().map_err(failed)
            }
        }
    }

    /// Leaves all directories.
    fn end(mut self) -> Result<Summary, BundleError> {
        while self.frames.len() > 1 {
            let name = self.frames.pop().map(|frame| frame.name).unwrap_or_default();
            self.sink.leave().map_err(|source| BundleError::Write { path: name, source })?;
        }
        Ok(self.summary)
    }
}

fn write(path: &EntryPath, source: io::Error) -> BundleError {
    BundleError::Write { path: path.to_string(), source }
}

/// How many zeros follow a file's content.
pub(super) fn padding(size: u64) -> usize {
    // A remainder of 512 fits.
    (BLOCK - (size % BLOCK as u64) as usize) % BLOCK
}

/// An archive in memory, for tests of what a reader does with it.
#[derive(Debug)]
pub struct SliceSource<'a> {
    rest: &'a [u8],
}

impl<'a> SliceSource<'a> {
    /// Reads from these bytes.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl Plaintext for SliceSource<'_> {
    fn remaining(&self) -> u64 {
        self.rest.len() as u64
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), UnsealError> {
        let (taken, rest) = self.rest.split_at_checked(buffer.len()).ok_or(UnsealError::Truncated)?;
        buffer.copy_from_slice(taken);
        self.rest = rest;
        Ok(())
    }
}
