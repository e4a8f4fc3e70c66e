//! `adytum model`: what a model is, and how it becomes one that can be served.

mod batch;
pub(crate) mod check;
mod expected;
mod format;
pub(crate) mod import;
mod made_up;
mod memory;
pub(crate) mod place;
mod probe;
pub(crate) mod report;
pub(crate) mod source;
pub(crate) mod verdict;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    Check(check::Args),
    Import(import::Args),
}

pub(crate) fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Check(args) => check::run(args),
        Action::Import(args) => import::run(&args).map(|()| ExitCode::SUCCESS),
    }
}
