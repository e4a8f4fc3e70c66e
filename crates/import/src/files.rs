//! The files of a SavedModel, wherever they lie.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, ErrorKind, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use bytes::Bytes;

use crate::error::ImportError;

/// The files of one SavedModel directory. Names are relative, with `/`.
pub trait Files {
    /// The length of a file in bytes, or `None` if there is no such file.
    ///
    /// # Errors
    /// The file system's own.
    fn length(&self, name: &str) -> io::Result<Option<u64>>;

    /// `length` bytes of a file from `offset` on.
    ///
    /// # Errors
    /// The file system's own; [`ErrorKind::UnexpectedEof`] if the file is shorter.
    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Bytes>;
}

/// Reads a whole file of at most `limit` bytes.
pub(crate) fn read_whole(
    files: &dyn Files,
    name: &str,
    what: &'static str,
    limit: u64,
) -> Result<Option<Bytes>, ImportError> {
    let fault = |source| ImportError::File { file: name.to_owned(), source };
    let Some(length) = files.length(name).map_err(fault)? else { return Ok(None) };
    let size = usize::try_from(length).ok().filter(|_| length <= limit);
    let Some(size) = size else { return Err(ImportError::TooLarge { what, limit, needed: length }) };
    files.read(name, 0, size).map(Some).map_err(fault)
}

/// A SavedModel directory on a file system.
#[derive(Debug, Clone)]
pub struct Directory(PathBuf);

impl Directory {
    /// The directory at `path`. Nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Files for Directory {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        match std::fs::metadata(self.0.join(name)) {
            Ok(metadata) if metadata.is_file() => Ok(Some(metadata.len())),
            Ok(_) => Ok(None),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let mut file = File::open(self.0.join(name))?;
        // A length from the model's own index buys no memory that the file doesn't have.
        if file.metadata()?.len() < offset.saturating_add(length as u64) {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "the file is too short"));
        }
        file.seek(SeekFrom::Start(offset))?;
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        Ok(bytes.into())
    }
}

/// A SavedModel in memory, such as an unsealed bundle.
#[derive(Debug, Clone, Default)]
pub struct InMemory(pub BTreeMap<String, Bytes>);

impl Files for InMemory {
    fn length(&self, name: &str) -> io::Result<Option<u64>> {
        Ok(self.0.get(name).map(|bytes| bytes.len() as u64))
    }

    fn read(&self, name: &str, offset: u64, length: usize) -> io::Result<Bytes> {
        let bytes = self.0.get(name).ok_or(ErrorKind::NotFound)?;
        let start = usize::try_from(offset).ok().filter(|start| *start <= bytes.len());
        let end = start.and_then(|start| start.checked_add(length)).filter(|end| *end <= bytes.len());
        match (start, end) {
            (Some(start), Some(end)) => Ok(bytes.slice(start..end)),
            _ => Err(io::Error::new(ErrorKind::UnexpectedEof, "the file is too short")),
        }
    }
}
