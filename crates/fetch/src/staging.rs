//! The hidden directory in which a version is put together, on the file system on which it
//! will be. The server does not take it for a version.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::error::PullError;

/// Its name below the directory of the versions.
const NAME: &str = ".adytum-pull";

/// A directory of versions that only this process changes.
#[derive(Debug)]
pub(crate) struct Staging {
    base: PathBuf,
    directory: PathBuf,
    /// Locked until it is closed.
    _lock: File,
}

pub(crate) fn write_error(path: &Path) -> impl FnOnce(io::Error) -> PullError {
    move |source| PullError::Write { path: path.to_owned(), source }
}

impl Staging {
    /// Takes hold of a directory of versions, and makes it if it is not there. What an
    /// interrupted process left is removed.
    pub(crate) fn open(base: &Path) -> Result<Self, PullError> {
        let directory = base.join(NAME);
        fs::create_dir_all(&directory).map_err(write_error(&directory))?;
        let path = directory.join("lock");
        let lock = File::options()
            .create(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(write_error(&path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(PullError::InUse { directory: base.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(write_error(&path)(error)),
        }
        for entry in fs::read_dir(&directory).map_err(write_error(&directory))?.flatten() {
            if entry.file_name() != "lock" {
                remove(&entry.path())?;
            }
        }
        Ok(Self { base: base.to_owned(), directory, _lock: lock })
    }

    /// A new version under a name that nobody reads.
    pub(crate) fn begin(&self, name: &str) -> Result<Unfinished, PullError> {
        let directory = self.directory.join(name);
        fs::create_dir(&directory).map_err(write_error(&directory))?;
        Ok(Unfinished { directory, finished: false })
    }

    /// Shows a version, whole and at once.
    pub(crate) fn finish(&self, mut version: Unfinished, name: &str) -> Result<(), PullError> {
        sync_directories(&version.directory)?;
        let shown = self.base.join(name);
        fs::rename(&version.directory, &shown).map_err(write_error(&shown))?;
        version.finished = true;
        sync(&self.base)
    }

    /// Takes a version away, at once.
    pub(crate) fn remove(&self, path: &Path) -> Result<(), PullError> {
        let hidden = self.directory.join("removed");
        fs::rename(path, &hidden).map_err(write_error(path))?;
        sync(&self.base)?;
        remove(&hidden)
    }
}

/// A version that is being put together. It is removed if it does not get finished.
#[derive(Debug)]
pub(crate) struct Unfinished {
    directory: PathBuf,
    finished: bool,
}

impl Unfinished {
    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.finished {
            // The next process removes what is left.
            drop(remove(&self.directory));
        }
    }
}

fn remove(path: &Path) -> Result<(), PullError> {
    let is_directory = path.symlink_metadata().map_err(write_error(path))?.is_dir();
    let removed = if is_directory { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.map_err(write_error(path))
}

/// Writes the entries of a directory to the disk, and those of the directories in it.
fn sync_directories(directory: &Path) -> Result<(), PullError> {
    for entry in fs::read_dir(directory).map_err(write_error(directory))?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            sync_directories(&entry.path())?;
        }
    }
    sync(directory)
}

fn sync(directory: &Path) -> Result<(), PullError> {
    File::open(directory).and_then(|file| file.sync_all()).map_err(write_error(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_hidden_until_it_is_finished() {
        let base = tempfile::tempdir().unwrap();
        let staging = Staging::open(base.path()).unwrap();
        let version = staging.begin("3").unwrap();
        fs::write(version.path().join("model.onnx"), "x").unwrap();
        assert!(!base.path().join("3").exists());
        assert!(adytum_sealed::directory::scan(base.path()).unwrap().candidates.is_empty());
        staging.finish(version, "3").unwrap();
        assert_eq!(fs::read(base.path().join("3/model.onnx")).unwrap(), b"x");
    }

    #[test]
    fn what_is_not_finished_is_removed() {
        let base = tempfile::tempdir().unwrap();
        let staging = Staging::open(base.path()).unwrap();
        let path = {
            let version = staging.begin("3").unwrap();
            fs::write(version.path().join("model.onnx"), "x").unwrap();
            version.path().to_owned()
        };
        assert!(!path.exists() && !base.path().join("3").exists());
        drop(staging);
        // As a process leaves it that was killed.
        fs::create_dir(&path).unwrap();
        Staging::open(base.path()).unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn two_do_not_fill_one_directory() {
        let base = tempfile::tempdir().unwrap();
        let first = Staging::open(base.path()).unwrap();
        assert_eq!(Staging::open(base.path()).unwrap_err().code(), "pull-directory-in-use");
        drop(first);
        Staging::open(base.path()).unwrap();
    }
}
