//! `adytum model retire`: versions below a floor are served no more.

use std::path::PathBuf;

use adytum_api::names::ModelName;

use crate::{key_file, output, owner_directory::OwnerDirectory};

/// Retire the versions of a model below one: sign a manifest that no longer allows them.
///
/// The manifest is that of the owner's directory, with the next version. Give it to the broker with
/// `adytum provision`. Replicas that have an older version unload it when they renew.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  adytum model retire --model iris --below 2 --owner-directory .adytum")]
pub(crate) struct Args {
    /// The model's name.
    #[arg(long, value_name = "NAME")]
    model: ModelName,
    /// The lowest version that may still be served.
    #[arg(long, value_name = "VERSION")]
    below: u64,
    /// The owner's directory.
    #[arg(long, value_name = "DIRECTORY", env = "ADYTUM_OWNER_DIRECTORY")]
    owner_directory: PathBuf,
}

pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let directory = OwnerDirectory::at(&args.owner_directory);
    let owner = key_file::owner_key(&directory.private("owner.pem"))?;
    let version = directory.raise_floor(&owner, &args.model, args.below)?;
    output::step(format_args!(
        "{}: version {version} allows {} from version {} on; give it to the broker with `adytum provision`",
        directory.public("manifest.toml").display(),
        args.model,
        args.below
    ))
}
