//! `adytum man`: manual pages.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use serde_json::json;

use crate::output;

/// Write a manual page for each command into a directory, as adytum-model-check.1.
///
/// The directory is made if it is not there; pages that are there are written again.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    directory: PathBuf,
}

pub(crate) fn run(args: &Args, command: clap::Command) -> anyhow::Result<()> {
    let directory = &args.directory;
    fs::create_dir_all(directory).with_context(|| format!("{} can't be made", directory.display()))?;
    clap_mangen::generate_to(command, directory)
        .with_context(|| format!("{} can't be written to", directory.display()))?;
    let pages = fs::read_dir(directory)?.filter(|entry| {
        entry.as_ref().is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("adytum"))
    });
    let count = pages.count();
    output::result(
        &json!({ "directory": directory, "pages": count }),
        format_args!("{}: {count} pages; read one with man -l", directory.display()),
    )
}
