//! Cargo builds what a deployment runs, in the profile of the program that asks: then
//! both share what they depend on.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use anyhow::{Context, Result, bail, ensure};
use tokio::process::Command;

use crate::deployment::BINARIES;

/// All that a demo and a benchmark need: `adytum model pull` is left out, which would take
/// a newcomer another minute to compile.
const FEATURES: &str = "adytum/simulation,adytum-broker/simulation,adytum-init/simulation,adytum-serving/simulation,adytum-sim/service";

/// The checkout in which `cargo run` started this program. A target directory may
/// be shared by many, so the place where it was compiled says nothing.
pub fn workspace_root() -> Result<PathBuf> {
    let package =
        std::env::var_os("CARGO_MANIFEST_DIR").context("start this with `cargo demo` or `cargo xtask`")?;
    Path::new(&package).parent().map(Path::to_owned).context("the package lies in the workspace")
}

/// Builds [`BINARIES`] and gives the directory that they are in.
pub async fn binaries(root: &Path) -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let directory = this.parent().context("a program lies in a directory")?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.current_dir(root).args(["build", "--profile", profile(directory)?, "--locked", "--bins"]);
    command.args(["--no-default-features", "--features", FEATURES]);
    for package in BINARIES {
        command.args(["--package", package]);
    }
    // Cargo says what it does: the first time it takes minutes.
    let status = command.stdin(Stdio::null()).kill_on_drop(true).status().await.context("run cargo build")?;
    ensure!(status.success(), "cargo build ended with {status}");
    Ok(directory.to_owned())
}

/// The profile whose programs cargo puts into this directory.
fn profile(directory: &Path) -> Result<&str> {
    match directory.file_name().and_then(|name| name.to_str()) {
        // Cargo's one exception.
        Some("debug") => Ok("dev"),
        Some(name) => Ok(name),
        None => bail!("{} is not one of cargo's directories", directory.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_names_its_profile() {
        for (directory, expected) in
            [("target/debug", "dev"), ("target/release", "release"), ("t/demo", "demo")]
        {
            assert_eq!(profile(Path::new(directory)).unwrap(), expected);
        }
        assert!(profile(Path::new("/")).is_err());
    }
}
