//! The model becomes a sealed version, if it is another than the one before.

use std::{
    fs,
    path::{Path, PathBuf},
    time::SystemTime,
};

use adytum_api::names::ModelName;

use super::example::Example;
use crate::owner_directory::{Keys, OwnerDirectory};

/// The newest version, and a request that it answers.
#[derive(Debug)]
pub(super) struct Release {
    pub(super) version: u64,
    /// Was it sealed now?
    pub(super) is_new: bool,
    pub(super) example: Example,
}

/// Seals the model with the next version, unless it is what it was at the last time.
pub(super) fn release(
    directory: &OwnerDirectory,
    keys: &Keys,
    name: &ModelName,
    source: &Path,
) -> anyhow::Result<Release> {
    let lowest = directory.floors()?.get(name).copied().unwrap_or(1);
    let sealed = directory.release(keys, name, source, lowest)?;
    let example = Example::of(&sealed.report)?;
    Ok(Release { version: sealed.version, is_new: sealed.is_new, example })
}

/// What a model's files look like from outside: two equal ones have the same content, as
/// far as times and sizes tell.
pub(super) type Look = Vec<(PathBuf, Option<SystemTime>, u64)>;

/// The most files of a model that are looked at.
const FILES: usize = 1000;
/// How deep a model's directory is.
const DEPTH: usize = 4;

/// Looks at a model's files: the file and those of its data next to it, or the directory.
pub(super) fn look(source: &Path) -> Look {
    let mut look = Vec::new();
    if source.is_dir() {
        gather(source, DEPTH, &mut look, &|_| true);
    } else {
        let name = source.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let parent = source.parent().filter(|parent| !parent.as_os_str().is_empty());
        gather(parent.unwrap_or(Path::new(".")), 0, &mut look, &|found| found.starts_with(&name));
    }
    look.sort();
    look
}

fn gather(directory: &Path, depth: usize, look: &mut Look, wanted: &dyn Fn(&str) -> bool) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for entry in entries.flatten() {
        // Links are followed.
        let Ok(metadata) = fs::metadata(entry.path()) else { continue };
        if look.len() >= FILES {
            return;
        } else if metadata.is_dir() && depth > 0 {
            gather(&entry.path(), depth - 1, look, wanted);
        } else if metadata.is_file() && wanted(&entry.file_name().to_string_lossy()) {
            look.push((entry.path(), metadata.modified().ok(), metadata.len()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_and_its_data_look_different() {
        let directory = tempfile::tempdir().unwrap();
        let model = directory.path().join("model.onnx");
        fs::write(&model, "one").unwrap();
        let first = look(&model);
        assert_eq!(look(&model), first);
        fs::write(directory.path().join("other.txt"), "").unwrap();
        assert_eq!(look(&model), first);
        fs::write(directory.path().join("model.onnx.data"), "").unwrap();
        let with_data = look(&model);
        assert_ne!(with_data, first);
        fs::write(&model, "another length").unwrap();
        assert_ne!(look(&model), with_data);
        assert_eq!(look(&directory.path().join("nothing")), Look::new());
        assert_eq!(look(directory.path()).len(), 3);
    }
}
