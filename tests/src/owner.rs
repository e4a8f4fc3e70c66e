//! What an owner does with the `adytum` command: manifest, secrets, sealed models.

use std::{
    fs,
    path::{Path, PathBuf},
};

use adytum_testkit::manifest::{Manifest, simulated_policy};
use anyhow::Result;

use crate::deployment::{Broker, Deployment, word_with};

/// What an owner gave out for one workload that serves one model.
pub struct ProvisionedModel {
    pub server_crt: PathBuf,
    /// Whom models are sealed to.
    pub recipient: String,
}

/// Signs and applies a manifest that lets the workload of this identity have
/// `ssl_config` and `model_key` and load `model`, and uploads both.
pub async fn provision(
    deployment: &Deployment,
    broker: &Broker,
    model: &str,
    identity: &str,
) -> Result<ProvisionedModel> {
    let file = |name: &str| broker.directory().join(name);
    let text = |path: &Path| path.display().to_string();
    let model_key = file("model.key");
    let printed = deployment.run_adytum(["model-key", "new", "--out", &text(&model_key)]).await?;
    let recipient = word_with(&printed, "age1")?;
    apply_manifest(deployment, broker, &manifest(deployment, broker, model, identity, 1, 1)?).await?;

    let ssl_config = file("ssl.cfg");
    let server_crt = file("server.crt");
    let new = [
        "ssl-config",
        "new",
        "--host",
        "localhost",
        "--crt",
        &text(&server_crt),
        "--out",
        &text(&ssl_config),
    ];
    deployment.run_adytum(new).await?;
    put_secret(deployment, broker, "ssl_config", &ssl_config).await?;
    put_secret(deployment, broker, "model_key", &model_key).await?;
    // The broker has them now; nobody else needs them.
    fs::remove_file(ssl_config)?;
    fs::remove_file(model_key)?;
    Ok(ProvisionedModel { server_crt, recipient })
}

/// Signs a manifest and applies it.
pub async fn apply_manifest(deployment: &Deployment, broker: &Broker, text: &str) -> Result<()> {
    let path = broker.directory().join("manifest.toml");
    fs::write(&path, text)?;
    let path = path.display().to_string();
    let owner = broker.owner_key().display().to_string();
    let signatures = format!("{path}.sig");
    if Path::new(&signatures).exists() {
        fs::remove_file(&signatures)?;
    }
    deployment.run_adytum(["manifest", "sign", &path, "--owner", &owner]).await?;
    deployment
        .run_adytum(deployment.with_broker(broker, &["manifest", "apply", &path, "--owner", &owner]))
        .await?;
    Ok(())
}

/// Uploads a secret from a file.
pub async fn put_secret(deployment: &Deployment, broker: &Broker, name: &str, file: &Path) -> Result<()> {
    let (file, owner) = (file.display().to_string(), broker.owner_key().display().to_string());
    let words = ["secret", "put", name, "--from-file", &file, "--owner", &owner];
    deployment.run_adytum(deployment.with_broker(broker, &words)).await?;
    Ok(())
}

/// Seals an ONNX model into `models/VERSION`.
pub async fn seal(
    deployment: &Deployment,
    broker: &Broker,
    onnx: &Path,
    model: &str,
    version: u64,
    recipient: &str,
    models: &Path,
) -> Result<()> {
    deployment
        .run_adytum([
            "seal".to_owned(),
            onnx.display().to_string(),
            format!("--model={model}"),
            format!("--version={version}"),
            format!("--recipient={recipient}"),
            format!("--owner={}", broker.owner_key().display()),
            format!("--out={}", models.display()),
        ])
        .await?;
    Ok(())
}

/// A manifest in which one workload has two secrets and may load one model.
pub fn manifest(
    deployment: &Deployment,
    broker: &Broker,
    model: &str,
    identity: &str,
    version: u64,
    minimum_model_version: u64,
) -> Result<String> {
    let root = fs::read_to_string(deployment.root_certificate())?;
    Ok(Manifest::simulation(broker.genesis_digest(), version, &[root])
        .recoverable_by(broker.recovery())
        .workload(model, &simulated_policy(identity), &[model])
        .secret("ssl_config", "opaque", &[model])
        .secret("model_key", "age-identity", &[model])
        .model(model, broker.owner(), minimum_model_version)
        .text())
}
