//! `adytum bench`.

/// Arguments of `adytum bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`adytum bench` is being written")
}
