//! `cargo xtask image search`: is a secret in what is going to be shipped?

use std::path::PathBuf;

use adytum_tests::leaks::{Secrets, search_archive, search_directory};
use anyhow::{bail, ensure};

/// Look for an owner's secrets in image archives and directories.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    /// The owner's private directory: every file that others may not read is a secret.
    #[arg(long = "secrets", value_name = "DIRECTORY", required = true)]
    secrets: Vec<PathBuf>,
    /// A model that only sealed copies may be had of.
    #[arg(long = "model", value_name = "FILE")]
    models: Vec<PathBuf>,
    /// Image archives (docker save, OCI), or directories.
    #[arg(required = true, value_name = "FILE|DIRECTORY")]
    places: Vec<PathBuf>,
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    let mut secrets = Secrets::default();
    for directory in &arguments.secrets {
        secrets.add_directory(directory)?;
    }
    for model in &arguments.models {
        secrets.add_model(model)?;
    }
    ensure!(!secrets.is_empty(), "there are no secrets to look for; name the owner's private directory");
    let searcher = secrets.searcher()?;
    let mut findings = Vec::new();
    for place in &arguments.places {
        let found = match place.is_dir() {
            true => search_directory(place, &searcher)?,
            false => search_archive(place, &searcher)?,
        };
        println!("{}: {} files searched for {} values", place.display(), found.files, secrets.len());
        findings.extend(found.findings);
    }
    if findings.is_empty() {
        return Ok(());
    }
    for finding in &findings {
        println!("LEAK {finding}");
    }
    bail!("{} secret(s) found", findings.len())
}
