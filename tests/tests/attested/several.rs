//! A replica of several models and versions. Its owners measured a configuration that lets it have
//! a file of models.

use std::{fs, path::PathBuf, process::Stdio};

use adytum_sealed::{
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_testkit::manifest::{Manifest, simulated_policy};
use adytum_tests::{deployment::hexadecimal_word, owner, process::Process};
use anyhow::{Result, ensure};
use tokio::process::Command;

use crate::fixture::Fixture;

/// A model, its versions, and the ONNX file of each.
pub(crate) struct Model {
    pub(crate) name: &'static str,
    pub(crate) versions: std::ops::RangeInclusive<u64>,
    pub(crate) onnx: Vec<u8>,
}

/// What such a replica needs.
pub(crate) struct Several {
    measured: PathBuf,
    models: PathBuf,
}

impl Several {
    /// Seals them, and puts a manifest in force that allows them.
    pub(crate) async fn prepare(fixture: &Fixture, models: &[Model]) -> Result<Self> {
        let directory = fixture.directory.path();
        let (deployment, broker) = (&fixture.deployment, &fixture.broker);
        let measured = directory.join("several-models.toml");
        let text = fs::read_to_string(&fixture.configuration.path)?;
        let more = "\"--model_config_file={path}\", \"--model_name={name}\"";
        let allowed = text.replace("\"--model_name={name}\"", more);
        ensure!(allowed != text, "the configuration has no such argument: {text}");
        fs::write(&measured, allowed)?;
        let words = [
            "measure".to_owned(),
            format!("--configuration={}", measured.display()),
            format!("--program={}", deployment.binary("adytum-serving").display()),
        ];
        let identity = hexadecimal_word(&deployment.run_adytum(words).await?)?;
        let names: Vec<&str> = models.iter().map(|model| model.name).collect();
        let root = fs::read_to_string(deployment.root_certificate())?;
        let mut manifest = Manifest::simulation(broker.genesis_digest(), 2, &[root])
            .recoverable_by(broker.recovery())
            .workload("digits", &simulated_policy(identity), &names)
            .secret("ssl_config", "opaque", &["digits"])
            .secret("model_key", "age-identity", &["digits"]);
        let (owner, recipient) = (fixture.owner()?, fixture.provisioned.recipient.parse()?);
        let mut served = String::new();
        for Model { name, versions, onnx } in models {
            manifest = manifest.model(name, broker.owner(), 1);
            let base = directory.join(name);
            for version in versions.clone() {
                let options =
                    SealOptions { model: name.parse()?, version, file_name: FileName::model_onnx() };
                seal_to_directory(onnx.as_slice(), &base, &recipient, &owner, &options, &mut |_| {})?;
            }
            let policy = "model_version_policy { all {} }";
            served += &format!("config {{ name: '{name}' base_path: '{}' {policy} }} ", base.display());
        }
        owner::apply_manifest(deployment, broker, &manifest.text()).await?;
        let models = directory.join("models.config");
        fs::write(&models, format!("model_config_list {{ {served} }}"))?;
        Ok(Self { measured, models })
    }

    /// Starts it; it is not awaited.
    pub(crate) async fn spawn(&self, fixture: &Fixture, name: &str, flags: &[&str]) -> Result<Process> {
        let deployment = &fixture.deployment;
        let mut command = Command::new(deployment.binary("adytum-serving"));
        command
            .env_clear()
            .args(["--port=0", "--ssl_config_file=/etc/tf_ssl.cfg"])
            .arg(format!("--model_config_file={}", self.models.display()))
            .arg(format!("--configuration={}", self.measured.display()))
            .arg(format!("--broker={}", fixture.broker.address()))
            .args(deployment.attestation_arguments())
            .args(flags)
            .stdin(Stdio::null());
        Process::start(name, command, deployment.directory()).await
    }
}

/// The port of one that is ready.
pub(crate) async fn port(process: &mut Process) -> Result<u16> {
    let rest = process.wait_for("Running gRPC ModelServer at 0.0.0.0:", crate::fixture::SOON).await?;
    Ok(rest.split_whitespace().next().unwrap_or_default().parse()?)
}
