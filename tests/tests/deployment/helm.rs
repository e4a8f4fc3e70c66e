//! The same service as values for the chart.

use std::{fs, path::PathBuf};

use adytum_tests::{
    deployment::built_binaries,
    process::{run, run_refused},
};
use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use crate::fixture::{Fixture, root};

/// Runs Helm, if it can be run here without being compiled first.
async fn helm(arguments: &[&str]) -> Result<Option<String>> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    let script = root().join("deploy/helm/helm.sh");
    let is_compiled = cache.is_some_and(|cache| cache.join("adytum-helm").is_dir());
    let installed = std::process::Command::new("helm").arg("version").output().is_ok();
    if !is_compiled && !installed {
        println!("SKIPPED helm is not here");
        return Ok(None);
    }
    let mut command = Command::new(script);
    command.args(arguments);
    run(command).await.map(Some)
}

/// What `adytum up` and `adytum deployment` print for Helm makes the chart's objects for this
/// service, and the manifest fits to it.
#[tokio::test]
async fn the_values_for_helm_render_the_same_service() -> Result<()> {
    let fixture = Fixture { directory: tempfile::tempdir()?, binaries: built_binaries().await? };
    fs::copy(root().join("examples/digits/model.onnx"), fixture.directory.path().join("digits.onnx"))?;
    let up = |options: &[&str]| {
        let mut command = fixture.command("adytum");
        command.args(["up", "digits.onnx", "--name", "Digits_2", "--replicas", "3"]).args(options);
        command
    };
    let values = run(up(&["--print-helm"])).await?;
    let file = fixture.directory.path().join("values.yaml");
    fs::write(&file, &values)?;
    for line in ["tee: simulation", "  replicas: 3", "    - name: \"Digits_2\""] {
        ensure!(values.lines().any(|found| found == line), "{line}: {values}");
    }
    ensure!(
        values.contains("helm install digits-2 deploy/helm/adytum")
            && values.contains("-b digits-2-broker -s")
    );
    ensure!(run_refused(up(&["--print-helm", "--print-manifest"])).await?.contains("--print-manifest"));

    let manifest = fixture.directory.path().join("manifest.toml");
    fs::write(&manifest, run(up(&["--print-manifest"])).await?)?;
    let mut check = fixture.command("adytum");
    check.args(["manifest", "check"]).arg(&manifest);
    ensure!(run(check).await?.contains("workload  Digits_2: models Digits_2"));
    // The directory is one of `adytum deployment`.
    let mut status = fixture.command("adytum");
    status.args(["deployment", "status", "--owner-directory", ".adytum"]);
    let said = run(status).await?;
    ensure!(said.contains("complete") && said.contains("digits-2-serving"), "{said}");

    let chart = root().join("deploy/helm/adytum").display().to_string();
    let values = file.display().to_string();
    let Some(rendered) = helm(&[
        "template",
        "digits-2",
        &chart,
        "--values",
        &values,
        "--kube-version",
        "1.30.0",
        "--skip-tests",
    ])
    .await?
    else {
        return Ok(());
    };
    for line in [
        "            - --model_name=Digits_2",
        "            - --model_base_path=/models/Digits_2",
        "  replicas: 3",
        "  name: digits-2-serving",
        "  name: digits-2-broker",
        "  name: digits-2-genesis",
    ] {
        ensure!(rendered.lines().any(|found| found == line), "{line}: {rendered}");
    }
    let genesis = fs::read_to_string(fixture.directory.path().join(".adytum/public/genesis.toml"))?;
    let key = genesis.lines().find(|line| line.contains("ed25519:")).context("an owner")?;
    ensure!(rendered.contains(key.trim()), "{key}: {rendered}");
    // Each flag that the chart gives is one that the measured configuration leaves to it.
    let configuration = fs::read_to_string(fixture.directory.path().join(".adytum/public/workload.toml"))?;
    let flags = rendered
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- --")?.split_once('='))
        .map(|(flag, _)| flag);
    for flag in flags.filter(|flag| !["state-directory", "health-listen"].contains(flag)) {
        ensure!(configuration.contains(&format!("\"--{flag}=")), "--{flag}: {configuration}");
    }
    Ok(())
}
