//! The storage under the database: a file, or memory.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use redb::{Database, DatabaseError, StorageBackend, backends::InMemoryBackend};

/// Bytes of the file kept in memory: little more than what is read again and
/// again, since the broker holds its state itself.
const CACHE: usize = 4 * 1024 * 1024;
/// A file up to this length is checked whole each time it is opened. In a longer
/// one, nearly all is the audit log, whose records are checked when they are read.
const CHECKED_WHOLE: u64 = 32 * 1024 * 1024;

/// Opens the database, again and again if it fails in between.
pub(super) trait Storage: Send + Sync {
    /// For errors.
    fn path(&self) -> &Path;

    /// Does it outlive the process?
    fn durable(&self) -> bool;

    /// Opens the database. A former one, if any is left, writes no more.
    fn open(&self) -> Result<Database, DatabaseError>;
}

/// A database on this backend.
pub(super) fn database(backend: impl StorageBackend, length: u64) -> Result<Database, DatabaseError> {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder.set_check_integrity_on_open(length > 0 && length <= CHECKED_WHOLE);
    builder.create_with_backend(backend)
}

/// Memory: for platforms without a sealing key.
pub(super) struct Memory;

impl Storage for Memory {
    fn path(&self) -> &Path {
        Path::new("(memory)")
    }

    fn durable(&self) -> bool {
        false
    }

    fn open(&self) -> Result<Database, DatabaseError> {
        database(InMemoryBackend::new(), 0)
    }
}

/// A file.
pub(super) struct StoreFile {
    path: PathBuf,
    fence: Mutex<Arc<AtomicBool>>,
}

impl StoreFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, fence: Mutex::default() }
    }
}

impl Storage for StoreFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn durable(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Database, DatabaseError> {
        let fence = Arc::new(AtomicBool::new(false));
        std::mem::replace(&mut *self.fence.lock().unwrap_or_else(PoisonError::into_inner), fence.clone())
            .store(true, Ordering::SeqCst);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path);
        let file = file.map_err(redb::StorageError::Io)?;
        let length = file.metadata().map_err(redb::StorageError::Io)?.len();
        database(FileBackend { file, superseded: fence }, length)
    }
}

/// Reads and writes a file. It takes no locks of its own: the directory has one
/// (see [`super::LockedStore`]), and a LibOS may know none.
#[derive(Debug)]
struct FileBackend {
    file: File,
    superseded: Arc<AtomicBool>,
}

impl FileBackend {
    /// A database that is left over after a failure must not write into the file
    /// that its successor has opened.
    fn writable(&self) -> io::Result<()> {
        if self.superseded.load(Ordering::SeqCst) {
            return Err(io::Error::other("the file was opened anew"));
        }
        Ok(())
    }
}

impl StorageBackend for FileBackend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.writable()?;
        let present = self.len()?;
        // Space is taken when the file grows: a full disk is noticed here, before
        // anything is half written.
        if length > present {
            let grown = i64::try_from(present).ok().zip(i64::try_from(length - present).ok());
            let Some((from, by)) = grown else { return Err(io::ErrorKind::FileTooLarge.into()) };
            match nix::fcntl::posix_fallocate(&self.file, from, by) {
                Ok(()) => {}
                Err(
                    nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS,
                ) => {}
                Err(error) => {
                    // The space that was taken before the end is given back.
                    let _ = self.file.set_len(present);
                    return Err(error.into());
                }
            }
        }
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.writable()?;
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.writable()?;
        self.file.write_all_at(data, offset)
    }
}
