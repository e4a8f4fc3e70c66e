//! One process at a time changes an owner's directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::Write as _,
};

use anyhow::Context as _;

use super::OwnerDirectory;

impl OwnerDirectory {
    /// Keeps other processes from the directory, until this is dropped.
    pub(crate) fn lock(&self) -> anyhow::Result<File> {
        let path = self.path().join("lock");
        let failed = || format!("{} can't be locked", path.display());
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&path).with_context(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let process = fs::read_to_string(&path).unwrap_or_default();
                bail_later!(
                    "`adytum up` or `adytum deployment` runs in {} already (process {}): stop that one, or give another \
                     directory",
                    self.path().display(),
                    process.trim()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).with_context(failed),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).with_context(failed)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_has_a_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let directory = OwnerDirectory::create(&temporary.path().join("a")).unwrap();
        let held = directory.lock().unwrap();
        let error = directory.lock().unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        directory.lock().unwrap();
    }
}
