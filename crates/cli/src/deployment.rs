//! `adytum deployment`: what an owner prepares before anything is deployed, in one directory.

pub(crate) mod build;
pub(crate) mod new;
pub(crate) mod plan;
#[cfg(feature = "simulation")]
pub(crate) mod platform_secret;
mod source;
pub(crate) mod status;
pub(crate) mod values;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    New(new::Args),
    Build(build::Args),
    Status(status::Args),
}

pub(crate) async fn run(action: Action) -> anyhow::Result<()> {
    match action {
        Action::New(args) => new::run(args),
        Action::Build(args) => tokio::task::block_in_place(|| build::run(args)),
        Action::Status(args) => tokio::task::block_in_place(|| status::run(&args)),
    }
}
