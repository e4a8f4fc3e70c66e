//! `cargo xtask image`: what `deploy/build.sh` needs in addition to a container engine.

mod picture;
pub(crate) mod sbom;
mod search;

/// The contents of container images.
#[derive(clap::Args, Debug)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand, Debug)]
enum Action {
    /// Write what a binary is made of (CycloneDX).
    Sbom(sbom::Arguments),
    /// Draw the sample picture.
    Picture(picture::Arguments),
    /// Look for an owner's secrets in image archives and directories.
    Search(search::Arguments),
}

pub(crate) fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.action {
        Action::Sbom(arguments) => sbom::run(arguments),
        Action::Picture(arguments) => picture::run(arguments),
        Action::Search(arguments) => search::run(arguments),
    }
}
