//! The lock on a state directory: one process has it.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use super::{StoreError, tables::io_error};

const LOCK: &str = "lock";

/// A state directory that is this process's.
pub(super) struct DirectoryLock(File);

impl Drop for DirectoryLock {
    fn drop(&mut self) {
        // Closing alone is not enough: a program that is being started may hold a
        // copy of the descriptor for a moment more.
        let _ = self.0.unlock();
    }
}

/// Takes the directory for this process, and makes it first if need be.
pub(super) fn lock(directory: &Path) -> Result<DirectoryLock, StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|source| io_error(directory, "creating the directory", source))?;
    let path = directory.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|source| io_error(&path, "opening", source))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(StoreError::InUse { path: directory.to_owned() }),
        // A LibOS may have no locks; its file system has one user anyway.
        Err(TryLockError::Error(error)) => {
            tracing::debug!(%error, path = %path.display(), "the state directory can't be locked");
        }
    }
    Ok(DirectoryLock(lock))
}
