//! `adytum model`: what a model is, and how it becomes one that can be served.

mod batch;
pub(crate) mod check;
mod expected;
mod format;
pub(crate) mod import;
pub(crate) mod list;
mod made_up;
mod memory;
pub(crate) mod name;
pub(crate) mod next_version;
mod owned;
pub(crate) mod place;
pub(crate) mod plaintext;
mod probe;
#[cfg(feature = "object-stores")]
mod pull;
pub(crate) mod release;
pub(crate) mod report;
pub(crate) mod retire;
mod roll_out;
mod show;
mod signatures;
pub(crate) mod source;
pub(crate) mod verdict;

use std::process::ExitCode;

use clap::Subcommand;

/// What to do with a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    Check(check::Args),
    Import(import::Args),
    #[cfg(feature = "object-stores")]
    Pull(pull::Args),
    Release(release::Args),
    List(list::Args),
    Show(show::Args),
    Retire(retire::Args),
}

pub(crate) async fn run(action: Action) -> anyhow::Result<ExitCode> {
    match action {
        Action::Check(args) => check::run(args),
        Action::Import(args) => import::run(&args).map(|()| ExitCode::SUCCESS),
        #[cfg(feature = "object-stores")]
        Action::Pull(args) => pull::run(args).await,
        Action::Release(args) => release::run(args).await.map(|()| ExitCode::SUCCESS),
        Action::List(args) => list::run(args).await.map(|()| ExitCode::SUCCESS),
        Action::Show(args) => show::run(args).await.map(|()| ExitCode::SUCCESS),
        Action::Retire(args) => retire::run(args).await.map(|()| ExitCode::SUCCESS),
    }
}
