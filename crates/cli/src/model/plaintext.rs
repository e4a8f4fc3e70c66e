//! The bytes of a model that is sealed: one ONNX file, whatever was given.

use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use adytum_engine::onnx::{
    Limits,
    files::{Directory, NoFiles},
    one_file,
};
use anyhow::Context;

use super::{
    check::{Questions, check_bytes, check_found},
    import::import,
    place::{Place, find},
    report::Report,
    source::{SourceError, format_of, read_onnx},
    verdict::{CheckError, Verdict},
};
use crate::output;

/// The most bytes of a model with its weights: 64 GiB.
const LARGEST: u64 = 64 << 30;

/// A model's bytes and their number, 0 if that is not known.
pub(crate) struct Plaintext {
    pub(crate) length: u64,
    pub(crate) reader: Box<dyn Read>,
}

impl Plaintext {
    fn of_bytes(bytes: Vec<u8>) -> Self {
        Self { length: bytes.len() as u64, reader: Box::new(Cursor::new(bytes)) }
    }

    fn of_file(path: &Path) -> anyhow::Result<Self> {
        let failed = || format!("the model {} can't be read", path.display());
        let file = File::open(path).with_context(failed)?;
        let length = file.metadata().with_context(failed)?.len();
        Ok(Self { length, reader: Box::new(file) })
    }
}

/// The model at a path, checked unless that is not wanted.
pub(crate) fn plaintext(path: &Path, unchecked: bool) -> anyhow::Result<Plaintext> {
    if unchecked && !path.is_dir() {
        // Whatever it is: it may come from a pipe.
        return match format_of(path) {
            Ok(None) => folded(path).or_else(|_| Plaintext::of_file(path)),
            _ => Plaintext::of_file(path),
        };
    }
    let found = find(path).map_err(|error| match error {
        SourceError::NoModel { .. } => anyhow::Error::new(error)
            .context("a directory for another program than a model server is sealed with --bundle NAME"),
        other => other.into(),
    })?;
    for note in &found.notes {
        output::note(format_args!("adytum: {note}"));
    }
    match &found.place {
        Place::Onnx(file) => {
            if !unchecked {
                let mut report = Report::new(file);
                let result = check_found(&found, &Questions::default(), &mut report);
                judge(result)?;
            }
            folded(file)
        }
        Place::SavedModel(directory) => {
            let imported = import(directory)?.onnx;
            if !unchecked {
                let mut report = Report::new(directory);
                let result = check_bytes(imported.clone(), &NoFiles, &Questions::default(), &mut report);
                judge(result)?;
            }
            Ok(Plaintext::of_bytes(imported))
        }
    }
}

/// What a check's result means for sealing.
pub(super) fn judge(result: Result<(), CheckError>) -> anyhow::Result<()> {
    match result {
        // A replica serves each request alone.
        Err(error) if error.verdict() == Verdict::BatchDiffers => {
            output::note(format_args!("adytum: warning: {error}"));
            Ok(())
        }
        other => other.context("no replica could serve the model (--unchecked seals it)"),
    }
}

/// An ONNX file, with the data of its tensors that is in other files.
fn folded(path: &Path) -> anyhow::Result<Plaintext> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let files =
        Directory::new(directory).with_context(|| format!("{} can't be read", directory.display()))?;
    let bytes = read_onnx(path)?;
    match one_file(&bytes, &files, &Limits::default(), LARGEST)? {
        Some(whole) => Ok(Plaintext::of_bytes(whole)),
        None => Plaintext::of_file(path),
    }
}
