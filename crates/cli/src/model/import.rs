//! `adytum model import`: a TensorFlow SavedModel becomes an ONNX file.

use std::{
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use adytum_import::{limits::Limits, saved_model, saved_model::Imported};
use anyhow::Context;

use super::place::{Place, find};
use crate::{output, progress};

/// Write a TensorFlow SavedModel as ONNX.
///
/// Neither Python nor TensorFlow is needed. The file keeps the model's signatures and their names.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory that holds saved_model.pb.
    directory: PathBuf,
    /// The ONNX file; never overwritten.
    #[arg(long, value_name = "FILE", default_value = "model.onnx")]
    out: PathBuf,
}

pub(crate) fn run(args: &Args) -> anyhow::Result<()> {
    let found = find(&args.directory)?;
    for note in &found.notes {
        output::note(format_args!("adytum: {note}"));
    }
    let directory = match &found.place {
        Place::SavedModel(directory) => directory,
        Place::Onnx(file) => bail_input!(
            "{} is an ONNX file, which needs no import; check it with `adytum model check`",
            file.display()
        ),
    };
    let imported = import(directory)?;
    write_new(&args.out, &imported.onnx)
        .with_context(|| format!("{} can't be written", args.out.display()))?;
    let names: Vec<&str> = imported.signatures.iter().map(|signature| signature.name.as_str()).collect();
    output::result(
        &serde_json::json!({ "model": args.out, "bytes": imported.onnx.len(), "signatures": names }),
        format_args!(
            "{}: {} bytes, signatures {}",
            args.out.display(),
            imported.onnx.len(),
            names.join(", ")
        ),
    )
}

/// Imports a SavedModel. The error lists each operator that can't be converted.
pub(crate) fn import(directory: &Path) -> anyhow::Result<Imported> {
    let working = progress::working("importing");
    let imported = saved_model::import(directory, Limits::default());
    drop(working);
    imported.with_context(|| format!("the SavedModel {} can't be imported", directory.display()))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    if written.is_err() {
        // Half a model is worse than none.
        drop(std::fs::remove_file(path));
    }
    written
}
