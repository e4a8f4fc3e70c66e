//! A client that isn't ours: Occlum's Python client and
//! benchmark, over grpcio, against a sealed ResNet-50.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_tests::{
    deployment::{Deployment, Replica, built_binaries},
    owner,
    process::run,
};
use anyhow::{Result, ensure};
use tokio::process::Command;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The Python of `tests/occlum_client/install.sh`, if it was run.
fn python() -> Option<PathBuf> {
    let python = here().join("../target/occlum-client/bin/python");
    python.is_file().then_some(python)
}

#[tokio::test]
async fn the_occlum_client_and_benchmark_get_their_answers() -> Result<()> {
    let Some(python) = python() else {
        println!("SKIPPED: no Python client; tests/occlum_client/install.sh installs it");
        return Ok(());
    };
    let binaries = built_binaries().await?;
    let xtask = binaries.join("xtask");
    if !xtask.is_file() {
        println!("SKIPPED: {} is not built; cargo test --workspace builds it", xtask.display());
        return Ok(());
    }
    let directory = tempfile::tempdir()?;
    let onnx = directory.path().join("resnet50.onnx");
    let mut generate = Command::new(&xtask);
    generate.args(["model", "resnet50", "--out"]).arg(&onnx);
    run(generate).await?;

    let mut deployment = Deployment::start(directory.path(), &binaries).await?;
    let mut broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let provisioned = owner::provision(&deployment, &broker, "resnet", &configuration.identity).await?;
    let models = directory.path().join("models");
    owner::seal(&deployment, &broker, &onnx, "resnet", 123, &provisioned.recipient, &models).await?;
    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "resnet",
        models: &models,
    };
    let (mut process, port) = deployment.start_replica("replica", &replica).await?;

    let image = fs::read_dir(here().join("../examples/digits/images"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "png"))
        .unwrap_or_default();
    let client = |script: &str| {
        let mut command = Command::new(&python);
        command
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(here().join("occlum_client").join(script))
            .arg(format!("--server=localhost:{port}"))
            .arg("--crt")
            .arg(&provisioned.server_crt)
            .arg("--image")
            .arg(&image);
        command
    };
    let printed = run(client("resnet_client_grpc.py")).await?;
    ensure!(printed.contains("Prediction class: ") && printed.contains("Probability: "), "{printed}");

    let mut benchmark = client("benchmark.py");
    benchmark.args(["--cnum", "2", "--loop", "2"]);
    let printed = run(benchmark).await?;
    ensure!(printed.matches("query: secure channel, task ").count() >= 4, "{printed}");
    ensure!(printed.contains("summary: cnum 2, e2e time(s) "), "{printed}");

    // Ours says the same.
    let ours = deployment
        .run_adytum([
            "predict".to_owned(),
            format!("--server=localhost:{port}"),
            "--crt".into(),
            provisioned.server_crt.display().to_string(),
            "--image".into(),
            image.display().to_string(),
        ])
        .await?;
    ensure!(ours.contains("Prediction class: ") && ours.contains("Probability: "), "{ours}");
    process.stop().await;
    broker.stop().await;
    deployment.stop().await;
    Ok(())
}
