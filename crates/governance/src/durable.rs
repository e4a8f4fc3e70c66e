//! A small file that several programs change: each change is whole, and outlives a loss of
//! power.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The operation that failed, and the system's reason.
pub(crate) type Failed = (&'static str, io::Error);

/// The file's bytes; `None` where there is no file yet. One that has more than `maximum`
/// bytes is read so far that its reader sees that.
pub(crate) fn read(path: &Path, maximum: u64) -> Result<Option<Vec<u8>>, Failed> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(("reading", error)),
    };
    let mut bytes = Vec::new();
    file.take(maximum + 1).read_to_end(&mut bytes).map_err(|error| ("reading", error))?;
    Ok(Some(bytes))
}

/// Replaces the file by what `change` makes; nobody else changes it meanwhile. Directories
/// that are missing are made.
pub(crate) fn update<E>(
    path: &Path,
    failed: impl Fn(Failed) -> E,
    change: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<(), E> {
    let step = |operation| {
        let failed = &failed;
        move |error: io::Error| failed((operation, error))
    };
    if let Some(directory) = path.parent().filter(|directory| *directory != Path::new("")) {
        make_directory(directory).map_err(step("making its directory"))?;
    }
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(with_suffix(path, ".lock"))
        .map_err(step("opening its lock"))?;
    lock.lock().map_err(step("locking"))?;
    let text = change()?;
    let new = with_suffix(path, ".new");
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)
        .map_err(step("writing"))?;
    file.write_all(&text).and_then(|()| file.sync_all()).map_err(step("writing"))?;
    fs::rename(&new, path).and_then(|()| sync_parent(path)).map_err(step("writing"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(suffix);
    path.with_file_name(name)
}

/// Makes a directory and those above it, durably.
fn make_directory(directory: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    missing.into_iter().try_for_each(sync_parent)
}

/// A name outlives a loss of power once its directory is on the disk.
fn sync_parent(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())
}
