//! A replica that runs on, with the real binaries: a rotated certificate, a
//! revocation, an outage. The lease is the shortest there is, so each takes some
//! seconds.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_tests::{
    deployment::{Broker, Deployment, Replica, built_binaries, word_with},
    owner,
    process::Process,
};
use anyhow::{Context, Result, ensure};

/// Leases and their ends are seconds; a loaded machine may be slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

struct Fixture {
    _directory: tempfile::TempDir,
    deployment: Arc<Deployment>,
    broker: Broker,
    replica: Process,
    port: u16,
    authority: PathBuf,
}

impl Fixture {
    /// A replica that serves with a certificate that the broker issued, as a secret of
    /// this kind.
    async fn start(kind: &str) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
        let broker = deployment.create_broker("broker").await?;
        let configuration = deployment.configure_replica("replica", &broker).await?;
        let key = broker.directory().join("model.key");
        let printed =
            deployment.run_adytum(["model-key", "new", "--out", &key.display().to_string()]).await?;
        let recipient = word_with(&printed, "age1")?;
        owner::apply_manifest(
            &deployment,
            &broker,
            &manifest(&deployment, &broker, &configuration.identity, kind)?,
        )
        .await?;
        owner::put_secret(&deployment, &broker, "model_key", &key).await?;
        let models = directory.path().join("models");
        let onnx = digits().join("model.onnx");
        owner::seal(&deployment, &broker, &onnx, "digits", 1, &recipient, &models).await?;
        let authority = directory.path().join("server.crt");
        fs::write(&authority, deployment.certificate_authority(&broker).await?)?;
        let binary = deployment.binary("adytum-serving");
        let replica = Replica {
            binary: &binary,
            configuration: &configuration.path,
            broker: broker.address(),
            model: "digits",
            models: &models,
        };
        let (replica, port) = deployment.start_replica("replica", &replica).await?;
        Ok(Self { _directory: directory, deployment: Arc::new(deployment), broker, replica, port, authority })
    }

    fn prediction(&self) -> Prediction {
        Prediction {
            deployment: Arc::clone(&self.deployment),
            port: self.port,
            authority: self.authority.clone(),
        }
    }

    async fn predict(&self) -> Result<()> {
        self.prediction().run().await
    }

    async fn order(&self, words: &[&str]) -> Result<()> {
        let owner = self.broker.owner_key().display().to_string();
        let words: Vec<&str> = words.iter().copied().chain(["--owner", &owner]).collect();
        self.deployment.run_adytum(self.deployment.with_broker(&self.broker, &words)).await?;
        Ok(())
    }

    /// The replica must end by itself, with this code and for this reason.
    async fn ends(&mut self, code: i32, reason: &str) -> Result<()> {
        let (status, lines) = self.replica.wait_for_end(PATIENCE).await?;
        let output = lines.join("\n");
        ensure!(status.code() == Some(code) && output.contains(reason), "{status}:\n{output}");
        ensure!(output.contains("drained"), "requests in progress are answered:\n{output}");
        Ok(())
    }
}

/// What a client asks.
struct Prediction {
    deployment: Arc<Deployment>,
    port: u16,
    authority: PathBuf,
}

impl Prediction {
    /// Once, on a connection of its own, whose certificate must be of the broker's
    /// authority.
    async fn run(&self) -> Result<()> {
        let mut images: Vec<PathBuf> = fs::read_dir(digits().join("images"))?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.extension().is_some_and(|end| end == "png"))
            .collect();
        images.sort();
        let arguments = [
            "predict".to_owned(),
            "--model=digits".to_owned(),
            "--json".to_owned(),
            format!("--server=localhost:{}", self.port),
            format!("--crt={}", self.authority.display()),
            format!("--image={}", images.first().context("no image")?.display()),
        ];
        self.deployment.run_adytum(arguments).await?;
        Ok(())
    }
}

/// One after the other, until `stop` is set or one fails.
async fn ask_all_the_time(
    prediction: Prediction,
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
) -> Result<()> {
    while !stop.load(Ordering::SeqCst) {
        prediction.run().await?;
        answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok(())
}

fn manifest(deployment: &Deployment, broker: &Broker, identity: &str, kind: &str) -> Result<String> {
    let text = owner::manifest(deployment, broker, "digits", identity, 1, 1)?;
    let opaque = "name = \"ssl_config\"\nkind = \"opaque\"\nworkloads = [\"digits\"]\n";
    ensure!(text.contains(opaque), "the manifest has changed: {text}");
    let issued = format!(
        "name = \"ssl_config\"\nkind = \"{kind}\"\nworkloads = [\"digits\"]\n[secret.certificate]\n\
         dns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"1h\"\n"
    );
    let text = text.replace(opaque, &issued);
    Ok(text.replace("[trust]\n", "[leases]\nduration = \"10s\"\n\n[trust]\n"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_certificate_reaches_the_replica_without_a_failed_request() -> Result<()> {
    let mut fixture = Fixture::start("ssl-config").await?;
    // New connections all the time; each must show a certificate of the authority.
    let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    fixture.predict().await?;
    let asking =
        tokio::spawn(ask_all_the_time(fixture.prediction(), Arc::clone(&stop), Arc::clone(&answered)));
    let rotated = Instant::now();
    fixture.order(&["secret", "rotate", "ssl_config"]).await?;
    fixture.replica.wait_for("new connections get the new certificate", PATIENCE).await?;
    // A third of ten seconds, and what an answer takes on a machine that is busy.
    ensure!(rotated.elapsed() < Duration::from_secs(10), "{:?}", rotated.elapsed());
    let before = answered.load(Ordering::SeqCst);
    let patience = Instant::now() + PATIENCE;
    while answered.load(Ordering::SeqCst) < before + 2 && !asking.is_finished() {
        ensure!(Instant::now() < patience, "no more answers");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.store(true, Ordering::SeqCst);
    asking.await??;
    fixture.replica.stop().await;
    fixture.broker.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_loses_a_secret_drains_and_ends() -> Result<()> {
    let mut fixture = Fixture::start("tls-certificate").await?;
    fixture.predict().await?;
    fixture.order(&["secret", "rm", "model_key"]).await?;
    fixture.ends(77, "lease-revoked").await?;
    fixture.broker.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_it_serves_until_the_lease_is_over() -> Result<()> {
    let mut fixture = Fixture::start("ssl-config").await?;
    fixture.broker.stop().await;
    fixture.replica.wait_for("the lease was not renewed", PATIENCE).await?;
    fixture.predict().await?;
    fixture.ends(69, "lease-expired").await
}
