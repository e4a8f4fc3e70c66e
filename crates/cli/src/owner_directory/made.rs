//! The parts of an owner's directory, and how files in it are read, replaced and removed.

use std::{
    fs::{self, DirBuilder, OpenOptions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::Path,
};

use anyhow::Context as _;

use super::OwnerDirectory;

impl OwnerDirectory {
    /// Makes what is missing of the directories. Nobody else on this machine can look
    /// into a directory that is made here.
    pub(crate) fn create(path: &Path) -> anyhow::Result<Self> {
        let made = |path: &Path| {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
            made.with_context(|| format!("the directory {} can't be made", path.display()))
        };
        made(path)?;
        let directory = Self(path.to_owned());
        for part in [directory.public(""), directory.private("secrets"), directory.models()] {
            made(&part)?;
        }
        Ok(directory)
    }
}

/// The text of a file; `None` if there is no such file.
pub(crate) fn read_if_there(path: &Path) -> anyhow::Result<Option<String>> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("{} can't be read", path.display())),
    }
}

/// Removes a file if it is there.
pub(crate) fn remove(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{} can't be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// Replaces a file as a whole: a reader sees the old text or the new one.
pub(crate) fn replace(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(());
    }
    let unfinished = path.with_extension("unfinished");
    let written = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&unfinished)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    written().with_context(|| format!("{} can't be written", path.display()))
}
