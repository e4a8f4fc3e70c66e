//! From an owner's key to an answer, and what those get who should get nothing,
//! with the real binaries.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_tests::{
    deployment::{
        Broker, Deployment, Replica, ReplicaConfiguration, built_binaries, copy_tree, tampered_copy,
        word_with,
    },
    owner::{self, ProvisionedModel},
    process::{Process, run_refused},
};
use anyhow::{Result, ensure};

/// How long a refused replica may take to say so and end.
const REFUSAL: Duration = Duration::from_secs(30);

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

/// A provisioned broker and a sealed model.
struct Fixture {
    _directory: tempfile::TempDir,
    deployment: Deployment,
    broker: Broker,
    configuration: ReplicaConfiguration,
    provisioned: ProvisionedModel,
    models: PathBuf,
}

impl Fixture {
    async fn prepare() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
        let broker = deployment.create_broker("broker").await?;
        let configuration = deployment.configure_replica("replica", &broker).await?;
        let provisioned = owner::provision(&deployment, &broker, "digits", &configuration.identity).await?;
        let models = directory.path().join("models");
        let onnx = digits().join("model.onnx");
        owner::seal(&deployment, &broker, &onnx, "digits", 3, &provisioned.recipient, &models).await?;
        Ok(Self { _directory: directory, deployment, broker, configuration, provisioned, models })
    }

    fn replica<'a>(&'a self, binary: &'a Path) -> Replica<'a> {
        Replica {
            binary,
            configuration: &self.configuration.path,
            broker: self.broker.address(),
            model: "digits",
            models: &self.models,
        }
    }

    async fn predict(&self, port: u16, image: &str) -> Result<serde_json::Value> {
        let printed = self
            .deployment
            .run_adytum([
                "predict".to_owned(),
                format!("--server=localhost:{port}"),
                format!("--crt={}", self.provisioned.server_crt.display()),
                "--model=digits".into(),
                "--json".into(),
                format!("--image={}", digits().join("images").join(image).display()),
            ])
            .await?;
        Ok(serde_json::from_str(printed.trim())?)
    }

    async fn stop(mut self, replicas: impl IntoIterator<Item = Process>) {
        for mut replica in replicas {
            replica.stop().await;
        }
        self.broker.stop().await;
        self.deployment.stop().await;
    }
}

/// The output of a replica that must end by itself without having served.
async fn refused(mut process: Process) -> Result<String> {
    let (status, lines) = process.wait_for_end(REFUSAL).await?;
    let output = lines.join("\n");
    ensure!(!status.success(), "the replica was expected to fail:\n{output}");
    ensure!(!output.contains("Running gRPC ModelServer"), "the replica served:\n{output}");
    Ok(output)
}

#[tokio::test]
async fn an_admitted_replica_serves_the_sealed_model() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let binary = fixture.deployment.binary("adytum-serving");
    let (replica, port) = fixture.deployment.start_replica("replica", &fixture.replica(&binary)).await?;
    let mut images: Vec<_> = fs::read_dir(digits().join("images"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(".png"))
        .collect();
    images.sort();
    ensure!(images.len() >= 10, "{images:?}");
    let mut right = 0;
    for image in &images {
        let answer = fixture.predict(port, image).await?;
        right += usize::from(answer["class"].as_str() == image.split('-').nth(1));
    }
    ensure!(right * 10 >= images.len() * 9, "{right} of {} right", images.len());
    fixture.stop([replica]).await;
    Ok(())
}

#[tokio::test]
async fn a_replica_with_one_changed_byte_is_refused_and_told_why() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let tampered = fixture.deployment.directory().join("tampered");
    tampered_copy(&fixture.deployment.binary("adytum-serving"), &tampered)?;
    let output =
        refused(fixture.deployment.spawn_replica("replica", &fixture.replica(&tampered)).await?).await?;
    ensure!(output.contains("policy-refused") && output.contains("identity (wanted"), "{output}");
    ensure!(output.contains(&fixture.configuration.identity), "{output}");
    fixture.stop([]).await;
    Ok(())
}

#[tokio::test]
async fn a_replica_with_another_configuration_is_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let changed = fixture.deployment.directory().join("changed.toml");
    let text = fs::read_to_string(&fixture.configuration.path)?;
    fs::write(&changed, format!("allow_plain_models = true\n{text}"))?;
    let binary = fixture.deployment.binary("adytum-serving");
    let replica = Replica { configuration: &changed, ..fixture.replica(&binary) };
    let output = refused(fixture.deployment.spawn_replica("replica", &replica).await?).await?;
    ensure!(output.contains("policy-refused") && output.contains("identity (wanted"), "{output}");
    fixture.stop([]).await;
    Ok(())
}

#[tokio::test]
async fn a_genuine_broker_of_another_genesis_is_refused_by_replica_and_owner() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let mut impostor = fixture.deployment.create_broker("impostor").await?;
    let binary = fixture.deployment.binary("adytum-serving");
    let replica = Replica { broker: impostor.address(), ..fixture.replica(&binary) };
    let output = refused(fixture.deployment.spawn_replica("replica", &replica).await?).await?;
    ensure!(output.contains("genesis-mismatch"), "{output}");

    // The owner's tool, led to the impostor's address.
    let arguments = fixture.deployment.verification_of(&fixture.broker, impostor.address());
    let output = run_refused(fixture.deployment.adytum(arguments)).await?;
    ensure!(output.contains("genesis-mismatch"), "{output}");
    impostor.stop().await;
    fixture.stop([]).await;
    Ok(())
}

#[tokio::test]
async fn models_that_the_host_made_are_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let binary = fixture.deployment.binary("adytum-serving");

    // Sealed by the host to the right recipient, with a higher number.
    let mut host = fixture.deployment.create_broker("host").await?;
    let models = fixture.deployment.directory().join("host-sealed");
    let onnx = digits().join("model.onnx");
    owner::seal(&fixture.deployment, &host, &onnx, "digits", 9, &fixture.provisioned.recipient, &models)
        .await?;
    let replica = Replica { models: &models, ..fixture.replica(&binary) };
    let output = refused(fixture.deployment.spawn_replica("host-sealed", &replica).await?).await?;
    ensure!(output.contains("not genuine") && output.contains("is none of the 1 in signers"), "{output}");
    ensure!(output.contains(host.owner()), "{output}");
    host.stop().await;

    // Plain, with a higher number, next to the genuine one: the genuine one is
    // served, and the log names the other.
    let models = fixture.deployment.directory().join("with-plain");
    copy_tree(&fixture.models, &models)?;
    fs::create_dir(models.join("99"))?;
    fs::copy(&onnx, models.join("99/model.onnx"))?;
    let replica = Replica { models: &models, ..fixture.replica(&binary) };
    let (process, port) = fixture.deployment.start_replica("with-plain", &replica).await?;
    let image = "digit-0";
    let image = fs::read_dir(digits().join("images"))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .find(|name| name.starts_with(image))
        .unwrap_or_default();
    fixture.predict(port, &image).await?;
    let log = fs::read_to_string(process.log())?;
    ensure!(log.contains("99"), "{log}");

    // An older genuine version below the floor.
    let floor = owner::manifest(
        &fixture.deployment,
        &fixture.broker,
        "digits",
        &fixture.configuration.identity,
        2,
        4,
    )?;
    owner::apply_manifest(&fixture.deployment, &fixture.broker, &floor).await?;
    let output =
        refused(fixture.deployment.spawn_replica("below-floor", &fixture.replica(&binary)).await?).await?;
    ensure!(output.contains('3') && output.contains('4'), "{output}");
    fixture.stop([process]).await;
    Ok(())
}

#[tokio::test]
async fn the_owner_of_another_broker_can_change_nothing() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let printed = fixture.deployment.run_adytum(["owner", "new", "--out", "stranger.pem"]).await?;
    word_with(&printed, "ed25519:")?;
    let secret = fixture.deployment.directory().join("secret");
    fs::write(&secret, "overwritten")?;
    let (secret, stranger) = (secret.display().to_string(), "stranger.pem");
    let words = ["secret", "put", "ssl_config", "--from-file", &secret, "--owner", stranger];
    let output =
        run_refused(fixture.deployment.adytum(fixture.deployment.with_broker(&fixture.broker, &words)))
            .await?;
    ensure!(output.contains("owner"), "{output}");
    fixture.stop([]).await;
    Ok(())
}

#[tokio::test]
async fn no_log_holds_a_secret() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
    let broker = deployment.create_broker("broker").await?;
    let configuration = deployment.configure_replica("replica", &broker).await?;
    let provisioned = owner::provision(&deployment, &broker, "digits", &configuration.identity).await?;
    // Replace the key by one whose text this test knows.
    let key = directory.path().join("known.key");
    let printed = deployment.run_adytum(["model-key", "new", "--out", &key.display().to_string()]).await?;
    let recipient = word_with(&printed, "age1")?;
    ensure!(recipient != provisioned.recipient, "two keys are equal");
    owner::put_secret(&deployment, &broker, "model_key", &key).await?;
    let models = directory.path().join("models");
    owner::seal(&deployment, &broker, &digits().join("model.onnx"), "digits", 1, &recipient, &models).await?;
    let binary = deployment.binary("adytum-serving");
    let replica = Replica {
        binary: &binary,
        configuration: &configuration.path,
        broker: broker.address(),
        model: "digits",
        models: &models,
    };
    let (process, _) = deployment.start_replica("replica", &replica).await?;
    let secret = fs::read_to_string(&key)?;
    let secret = word_with(&secret, "AGE-SECRET-KEY-")?;
    let fixture = (deployment, broker, process);
    let (mut deployment, mut broker, mut process) = fixture;
    process.stop().await;
    broker.stop().await;
    deployment.stop().await;
    let mut logs = 0;
    for entry in fs::read_dir(directory.path())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            logs += 1;
            let log = fs::read_to_string(&path)?;
            ensure!(
                !log.contains(&secret[16..]) && !log.contains("PRIVATE KEY"),
                "{} holds a key",
                path.display()
            );
        }
    }
    ensure!(logs >= 3, "{logs} logs were written");
    Ok(())
}
