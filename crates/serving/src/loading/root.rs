//! The directory that all models must be in.

use std::path::{Component, Path, PathBuf};

/// A directory, and what is inside of it.
pub(super) struct Inside<'a> {
    root: &'a Path,
    real: Option<PathBuf>,
}

impl<'a> Inside<'a> {
    /// The inside of this directory.
    pub(super) fn of(root: &'a Path) -> Self {
        Self { root, real: root.canonicalize().ok() }
    }

    /// Whether a path is in it: by its words, and by where its links lead. One that is
    /// not there yet counts by its words; its versions are found only when it is, and are
    /// looked at again then.
    pub(super) fn holds(&self, path: &Path) -> bool {
        let plain = path.components().all(|part| !matches!(part, Component::ParentDir));
        if !plain || !path.starts_with(self.root) {
            return false;
        }
        match (path.canonicalize(), &self.real) {
            (Ok(path), Some(real)) => path.starts_with(real),
            (Ok(_), None) => false,
            (Err(_), _) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn nothing_leads_out() {
        let (outside, root) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let root = root.path();
        fs::create_dir(root.join("m")).unwrap();
        symlink(root.join("m"), root.join("inside")).unwrap();
        symlink(outside.path(), root.join("outside")).unwrap();
        let inside = Inside::of(root);
        for path in ["m", "inside", "not-yet", "m/deeper"] {
            assert!(inside.holds(&root.join(path)), "{path}");
        }
        for path in ["outside", "..", "m/../..", "outside/m"] {
            assert!(!inside.holds(&root.join(path)) || !root.join(path).exists(), "{path}");
        }
        assert!(!inside.holds(Path::new("/etc")) && !inside.holds(Path::new("m")));
    }
}
