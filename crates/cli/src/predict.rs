//! `adytum predict`.

/// Arguments of `adytum predict`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

/// Runs it.
pub(crate) async fn run(_args: Args) -> anyhow::Result<()> {
    anyhow::bail!("`adytum predict` is being written")
}
