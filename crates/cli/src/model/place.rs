//! Finds the model at a path: a file, a SavedModel, a directory of versions, a directory one level off.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::source::{SourceError, format_of};

/// How many levels below a directory versions are looked for.
const DEPTH: usize = 2;

/// How many entries of a directory are looked at.
const ENTRIES: usize = 10_000;

/// How many directories below one that holds no model are looked into.
const DIRECTORIES: usize = 100;

/// How many names a message lists.
const LISTED: usize = 12;

/// A model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An ONNX file; the data of its tensors may be in other files of its directory.
    Onnx(PathBuf),
    /// The directory of a TensorFlow SavedModel.
    SavedModel(PathBuf),
}

/// A model, and what a reader should know of how it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) place: Place,
    pub(crate) notes: Vec<String>,
}

impl Found {
    fn new(place: Place) -> Self {
        Self { place, notes: Vec::new() }
    }

    fn with(mut self, note: String) -> Self {
        self.notes.insert(0, note);
        self
    }
}

/// The model at a path.
pub(crate) fn find(path: &Path) -> Result<Found, SourceError> {
    let metadata =
        fs::metadata(path).map_err(|source| SourceError::Unreadable { path: path.to_owned(), source })?;
    if metadata.is_dir() {
        return in_directory(path, 0);
    }
    if path.file_name().is_some_and(|name| name == "saved_model.pb") {
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let note =
            format!("saved_model.pb is a part of the SavedModel {}, which is used", directory.display());
        return Ok(Found::new(Place::SavedModel(directory.to_owned())).with(note));
    }
    Ok(Found::new(Place::Onnx(path.to_owned())))
}

/// What a directory holds: names, sorted.
struct Listing {
    files: Vec<String>,
    directories: Vec<String>,
}

fn list(path: &Path) -> Result<Listing, SourceError> {
    let unreadable = |source| SourceError::Unreadable { path: path.to_owned(), source };
    let mut listing = Listing { files: Vec::new(), directories: Vec::new() };
    for entry in fs::read_dir(path).map_err(unreadable)?.take(ENTRIES) {
        let entry = entry.map_err(unreadable)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // Links are followed: some tools keep models behind them.
        match fs::metadata(entry.path()) {
            Ok(metadata) if metadata.is_dir() => listing.directories.push(name),
            Ok(_) => listing.files.push(name),
            Err(_) => {}
        }
    }
    listing.files.sort();
    listing.directories.sort();
    Ok(listing)
}

fn in_directory(path: &Path, depth: usize) -> Result<Found, SourceError> {
    let listing = list(path)?;
    let has = |name: &str| listing.files.iter().any(|file| file == name);
    if has("saved_model.pb") {
        return Ok(Found::new(Place::SavedModel(path.to_owned())));
    }
    let onnx: Vec<&String> = listing.files.iter().filter(|name| name.ends_with(".onnx")).collect();
    match onnx.as_slice() {
        _ if has("model.onnx") => {
            let found = Found::new(Place::Onnx(path.join("model.onnx")));
            return Ok(if onnx.len() == 1 {
                found
            } else {
                found.with(format!("of the ONNX files in {} model.onnx is used", path.display()))
            });
        }
        [] => {}
        [single] => {
            let found = Found::new(Place::Onnx(path.join(single)));
            return Ok(found.with(format!("the model in {} is {single}", path.display())));
        }
        several => return Err(several_models(path, several.iter().map(|name| (*name).clone()))),
    }
    let mut versions: Vec<(u64, &String)> =
        listing.directories.iter().filter_map(|name| Some((version(name)?, name))).collect();
    versions.sort_unstable();
    if let (Some((number, name)), true) = (versions.last(), depth < DEPTH) {
        let found = in_directory(&path.join(name), depth + 1)?;
        let note = if versions.len() == 1 {
            format!("{} is a directory of versions; its version {number} is used", path.display())
        } else {
            let names: Vec<&str> = versions.iter().map(|(_, name)| name.as_str()).collect();
            format!(
                "{} is a directory of versions; the highest of {} is used",
                path.display(),
                shortened(&names)
            )
        };
        return Ok(found.with(note));
    }
    below(path, &listing, depth)
}

/// The one model in the directories below one that holds none itself.
fn below(path: &Path, listing: &Listing, depth: usize) -> Result<Found, SourceError> {
    let mut candidates = Vec::new();
    if depth == 0 {
        let visible = listing.directories.iter().filter(|name| !name.starts_with('.'));
        for name in visible.take(DIRECTORIES) {
            if let Ok(found) = in_directory(&path.join(name), depth + 1) {
                candidates.push((name, found));
            }
        }
    }
    if candidates.len() > 1 {
        return Err(several_models(path, candidates.into_iter().map(|(name, _)| name.clone())));
    }
    if let Some((name, found)) = candidates.pop() {
        let note = format!("{} holds no model itself; {name} in it is used", path.display());
        return Ok(found.with(note));
    }
    Err(no_model(path, listing))
}

/// A directory's name as a version: a canonical decimal number.
fn version(name: &str) -> Option<u64> {
    name.parse().ok().filter(|number: &u64| number.to_string() == name)
}

fn shortened(names: &[&str]) -> String {
    let mut text = names.iter().take(LISTED).copied().collect::<Vec<_>>().join(", ");
    if names.len() > LISTED {
        text.push_str(&format!(" and {} more", names.len() - LISTED));
    }
    text
}

fn several_models(path: &Path, names: impl Iterator<Item = String>) -> SourceError {
    SourceError::SeveralModels { path: path.to_owned(), names: names.take(LISTED).collect() }
}

/// What a directory without a model may be.
fn no_model(path: &Path, listing: &Listing) -> SourceError {
    let has = |test: &dyn Fn(&str) -> bool| listing.files.iter().any(|name| test(name));
    let no_model = |found: &str| SourceError::NoModel { path: path.to_owned(), found: found.to_owned() };
    if listing.files.is_empty() && listing.directories.is_empty() {
        return no_model("it is empty");
    }
    if has(&|name| name.ends_with(".onnx.age")) {
        return no_model(
            "it holds a sealed model; give the plain one, or open this one with `adytum unseal`",
        );
    }
    let above = path.canonicalize().ok().and_then(|path| path.parent().map(Path::to_owned));
    if let Some(above) = above.filter(|above| above.join("saved_model.pb").is_file()) {
        let found = format!("it is a part of the SavedModel {}; give that directory", above.display());
        return no_model(&found);
    }
    if has(&|name| name == "saved_model.pbtxt" || name == "saved_model.cpb") {
        return no_model("its SavedModel is not in the binary form of one part; save the model again");
    }
    if has(&|name| name == "variables.index") || listing.directories.iter().any(|name| name == "variables") {
        return no_model("it has variables of a SavedModel and no saved_model.pb; copy the whole SavedModel");
    }
    if has(&|name| name == "checkpoint" || name.ends_with(".index")) {
        return no_model(
            "it holds checkpoints of TensorFlow, which have no graph; save the model with model.export",
        );
    }
    if has(&|name| name == "config.json") {
        return no_model(
            "it holds weights and a configuration, as transformers saves them; export the model: optimum-cli export \
             onnx --model DIRECTORY onnx/",
        );
    }
    // One file that is a model of another kind.
    let known =
        [".pt", ".pth", ".h5", ".keras", ".tflite", ".pb", ".pkl", ".joblib", ".safetensors", ".gguf"];
    let of_kind = |name: &&String| known.iter().any(|extension| name.to_lowercase().ends_with(extension));
    if let Some(name) = listing.files.iter().find(of_kind)
        && let Ok(Some(format)) = format_of(&path.join(name))
    {
        return no_model(&format!("{name} in it is {format}; {}", format.advice()));
    }
    let names: Vec<&str> = listing.files.iter().chain(&listing.directories).map(String::as_str).collect();
    no_model(&format!("it holds {}", shortened(&names)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
        folder
    }

    fn found(files: &[&str], at: &str) -> Result<(String, Vec<String>), SourceError> {
        let folder = tree(files);
        let found = find(&folder.path().join(at))?;
        let (Place::Onnx(path) | Place::SavedModel(path)) = &found.place;
        let place = path.strip_prefix(folder.path()).unwrap().display().to_string();
        Ok((place, found.notes))
    }

    #[test]
    fn models_are_found_where_people_keep_them() {
        for (files, at, expected, note) in [
            (&["m.onnx"][..], "m.onnx", "m.onnx", ""),
            (&["m.onnx", "m.onnx.data"], "", "m.onnx", "the model in"),
            (&["model.onnx", "other.onnx"], "", "model.onnx", "model.onnx is used"),
            (
                &["1/model.onnx", "2/model.onnx", "10/model.onnx"],
                "",
                "10/model.onnx",
                "the highest of 1, 2, 10",
            ),
            (&["1/saved_model.pb", "1/variables/variables.index"], "", "1", "its version 1 is used"),
            (&["saved_model.pb"], "saved_model.pb", "", "is used"),
            (&["net/1/model.onnx", "README.md"], "", "net/1/model.onnx", "net in it is used"),
            (&["export/saved_model.pb"], "", "export", "export in it is used"),
        ] {
            let (place, notes) = found(files, at).unwrap();
            assert_eq!(place, expected, "{files:?}");
            assert!(notes.join("; ").contains(note), "{files:?}: {notes:?}");
        }
    }

    #[test]
    fn what_is_no_model_is_named() {
        for (files, at, expected) in [
            (&["a.onnx", "b.onnx"][..], "", "a.onnx, b.onnx"),
            (&["a/model.onnx", "b/model.onnx"], "", "a, b"),
            (&["model.onnx.age", "model.seal"], "", "adytum unseal"),
            (&["saved_model.pb", "variables/variables.index"], "variables", "part of the SavedModel"),
            (&["variables/variables.index"], "", "no saved_model.pb"),
            (&["config.json", "model.safetensors"], "", "optimum-cli"),
            (&["README.md"], "", "it holds README.md"),
            (&["a/b"], "missing", "No such file"),
        ] {
            let error = found(files, at).unwrap_err().to_string();
            assert!(error.contains(expected), "{files:?}: {error}");
        }
        assert!(find(tempfile::tempdir().unwrap().path()).unwrap_err().to_string().contains("it is empty"));
    }
}
