//! `cargo xtask bench`: builds what is measured and runs the benchmarks.

use std::process::Stdio;

use adytum_tests::build;
use anyhow::{Context, Result, ensure};
use clap::Args;
use tokio::process::Command;

use crate::model;

/// Run the benchmarks, each against its baseline in the same run.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// What `adytum-benches` takes, such as a part of a benchmark's name.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) async fn run(arguments: Arguments) -> Result<()> {
    let root = build::workspace_root()?;
    let binaries = build::binaries(&root).await?;
    ensure!(
        binaries.ends_with("release"),
        "a benchmark takes an optimised build, found one in {}: start this with `cargo xtask bench`",
        binaries.display()
    );
    let resnet50 = root.join("target/bench/resnet50.onnx");
    if !resnet50.is_file() {
        model::write_resnet50(&resnet50)?;
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(&root)
        .args(["run", "--release", "--locked", "--quiet", "--package", "adytum-benches", "--"])
        .arg("--binaries")
        .arg(binaries)
        .arg("--report")
        .arg(root.join("target/bench/report.json"))
        .arg("--resnet50")
        .arg(&resnet50)
        .args(arguments.arguments)
        .stdin(Stdio::null())
        .status()
        .await
        .context("run cargo run")?;
    ensure!(status.success(), "the benchmarks ended with {status}");
    Ok(())
}
