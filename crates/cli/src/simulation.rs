//! `adytum simulation`: software TEE platforms, for trying things out.

use std::path::PathBuf;

use adytum_sim::{Platform, ROOT_CERTIFICATE_FILE};
use anyhow::Context;
use clap::Subcommand;

use crate::output;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Make a platform. Prints the path of its root certificate.
    New {
        /// A directory that does not exist or is empty.
        directory: PathBuf,
    },
    /// Print the path of a platform's root certificate, for --trust-simulation.
    Root { directory: PathBuf },
}

pub(crate) fn run(action: Action) -> anyhow::Result<()> {
    let directory = match action {
        Action::New { directory } => {
            if directory.join(ROOT_CERTIFICATE_FILE).exists() {
                bail_input!("{} holds a platform already; name another directory", directory.display());
            }
            Platform::create(&directory)?;
            output::note("adytum: a simulated platform protects nothing");
            directory
        }
        Action::Root { directory } => {
            Platform::open(&directory).map_err(|error| input_error!("{error}"))?;
            directory
        }
    };
    let root = directory.join(ROOT_CERTIFICATE_FILE);
    let root = root.canonicalize().with_context(|| root.display().to_string())?;
    output::result(&serde_json::json!({ "root": root }), root.display())
}
