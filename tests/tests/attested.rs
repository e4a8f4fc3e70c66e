//! The data owner: she verifies a replica before she sends anything, and attackers who would
//! like her data. All with the real binaries.

mod attackers;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_tests::{
    deployment::{Broker, Deployment, Replica, ReplicaConfiguration, built_binaries},
    owner::{self, ProvisionedModel},
    process::{Process, run, run_refused},
};
use anyhow::{Context, Result, ensure};
use attackers::{Attacker, Relay, Switch};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// How long a server takes to say something.
const SOON: Duration = Duration::from_secs(60);

fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

fn image() -> Result<PathBuf> {
    let mut images: Vec<_> = fs::read_dir(digits().join("images"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .collect();
    images.sort();
    images.into_iter().next().context("there is no image")
}

/// A provisioned broker, a sealed model, a replica, and the owners' service file.
struct Fixture {
    directory: tempfile::TempDir,
    deployment: Deployment,
    broker: Broker,
    configuration: ReplicaConfiguration,
    provisioned: ProvisionedModel,
    models: PathBuf,
    service: PathBuf,
}

impl Fixture {
    async fn prepare() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let deployment = Deployment::start(directory.path(), &built_binaries().await?).await?;
        let broker = deployment.create_broker("broker").await?;
        let configuration = deployment.configure_replica("replica", &broker).await?;
        let provisioned = owner::provision(&deployment, &broker, "digits", &configuration.identity).await?;
        let models = directory.path().join("models");
        let service = directory.path().join("service.toml");
        let fixture = Self { directory, deployment, broker, configuration, provisioned, models, service };
        fixture.seal(3).await?;
        fixture.export(&fixture.service, &[]).await?;
        Ok(fixture)
    }

    async fn seal(&self, version: u64) -> Result<()> {
        let (onnx, recipient) = (digits().join("model.onnx"), &self.provisioned.recipient);
        owner::seal(&self.deployment, &self.broker, &onnx, "digits", version, recipient, &self.models).await
    }

    /// The owners extract a service from the manifest in force.
    async fn export(&self, out: &Path, flags: &[&str]) -> Result<String> {
        let mut words = vec![
            "service".to_owned(),
            "export".to_owned(),
            self.broker.directory().join("manifest.toml").display().to_string(),
            format!("--genesis={}", self.broker.genesis().display()),
            format!("--owner={}", self.broker.owner_key().display()),
            format!("--out={}", out.display()),
        ];
        words.extend(flags.iter().map(|flag| (*flag).to_owned()));
        self.deployment.run_adytum(words).await
    }

    async fn start(&self, name: &str, flags: &[&str]) -> Result<(Process, u16)> {
        let binary = self.deployment.binary("adytum-serving");
        let replica = Replica {
            binary: &binary,
            configuration: &self.configuration.path,
            broker: self.broker.address(),
            model: "digits",
            models: &self.models,
        };
        let mut process = self.deployment.spawn_replica_with(name, &replica, flags).await?;
        let rest = process.wait_for("Running gRPC ModelServer at 0.0.0.0:", SOON).await?;
        let port = rest.split_whitespace().next().unwrap_or_default();
        Ok((process, port.parse()?))
    }

    /// A replica of other owners: the same program, with a broker of its own.
    async fn replica_of(&self, others: &Broker) -> Result<(Process, u16)> {
        let configuration = self.deployment.configure_replica("theirs", others).await?;
        let provisioned =
            owner::provision(&self.deployment, others, "digits", &configuration.identity).await?;
        let models = self.directory.path().join("their-models");
        let (onnx, recipient) = (digits().join("model.onnx"), &provisioned.recipient);
        owner::seal(&self.deployment, others, &onnx, "digits", 3, recipient, &models).await?;
        let binary = self.deployment.binary("adytum-serving");
        let theirs = Replica {
            binary: &binary,
            configuration: &configuration.path,
            broker: others.address(),
            model: "digits",
            models: &models,
        };
        self.deployment.start_replica("theirs", &theirs).await
    }

    /// What a data owner gives on every call.
    fn flags(&self, server: &str, service: &Path) -> Vec<String> {
        vec![
            format!("--server={server}"),
            format!("--attest={}", service.display()),
            format!("--services={}", self.directory.path().join("services.json").display()),
            format!("--trust-simulation={}", self.deployment.root_certificate().display()),
        ]
    }

    fn confirmed(&self) -> String {
        format!("--genesis={}", self.broker.genesis_digest())
    }

    fn predict(&self, server: &str, service: &Path, more: &[String]) -> Result<tokio::process::Command> {
        let mut words = vec!["predict".to_owned(), "--model=digits".into(), "--json".into()];
        words.push(format!("--image={}", image()?.display()));
        words.extend(self.flags(server, service));
        words.extend(more.iter().cloned());
        Ok(self.deployment.adytum(words))
    }

    /// What a refused prediction says.
    async fn refused(&self, server: &str, service: &Path, code: &str) -> Result<()> {
        let said = run_refused(self.predict(server, service, &[self.confirmed()])?).await?;
        ensure!(said.contains(code), "expected {code}: {said}");
        Ok(())
    }

    async fn stop(mut self, processes: impl IntoIterator<Item = Process>) {
        for mut process in processes {
            process.stop().await;
        }
        self.broker.stop().await;
        self.deployment.stop().await;
    }
}

#[tokio::test]
async fn the_data_owner_verifies_a_replica_and_gets_her_answer() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (process, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    // Nothing says yet that this genesis is the right one.
    let said = run_refused(fixture.predict(&server, &fixture.service, &[])?).await?;
    ensure!(said.contains("never confirmed here"), "{said}");
    ensure!(said.contains(fixture.broker.genesis_digest()), "{said}");
    let other = [format!("--genesis={}", "11".repeat(32))];
    let said = run_refused(fixture.predict(&server, &fixture.service, &other)?).await?;
    ensure!(said.contains("expected 1111"), "{said}");
    // Confirmed once, remembered then.
    for more in [vec![fixture.confirmed()], Vec::new()] {
        let printed = run(fixture.predict(&server, &fixture.service, &more)?).await?;
        let answer: serde_json::Value = serde_json::from_str(printed.trim())?;
        let verified = &answer["verified"];
        ensure!(verified["version"] == 3 && verified["model"] == "digits", "{printed}");
        ensure!(verified["identity"] == fixture.configuration.identity, "{printed}");
        ensure!(verified["signer"] == fixture.broker.owner(), "{printed}");
    }
    // A plain client of the same port, as before.
    let crt = format!("--crt={}", fixture.provisioned.server_crt.display());
    let words =
        ["predict", "--model=digits", "--json", &crt, &format!("--server={server}")].map(str::to_owned);
    let picture = format!("--image={}", image()?.display());
    let plain = fixture.deployment.run_adytum(words.into_iter().chain([picture])).await?;
    ensure!(!plain.contains("verified"), "{plain}");
    // Simulation where nobody asked for it.
    let command = fixture.deployment.adytum([
        "predict".to_owned(),
        format!("--image={}", image()?.display()),
        format!("--server={server}"),
        format!("--attest={}", fixture.service.display()),
        fixture.confirmed(),
        format!("--services={}", fixture.directory.path().join("other.json").display()),
    ]);
    let said = run_refused(command).await?;
    ensure!(said.contains("is of a simulated platform"), "{said}");
    fixture.stop([process]).await;
    Ok(())
}

#[tokio::test]
async fn an_older_service_file_and_an_altered_one_are_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (process, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    let newer = fixture.directory.path().join("newer.toml");
    fixture.export(&newer, &["--revision=2"]).await?;
    run(fixture.predict(&server, &newer, &[fixture.confirmed()])?).await?;
    fixture.refused(&server, &fixture.service, "was seen before").await?;
    let altered = fixture.directory.path().join("altered.toml");
    let text = fs::read_to_string(&newer)?;
    fs::write(&altered, text.replace("minimum_version = 1", "minimum_version = 0"))?;
    ensure!(fs::read_to_string(&altered)? != text, "nothing was altered");
    fixture.refused(&server, &altered, "is not over this document").await?;
    let expired = run_refused(fixture.deployment.adytum([
        "service",
        "export",
        "broker/manifest.toml",
        "--genesis=broker/genesis.toml",
        "--expires=2020-01-01",
        "--out=expired.toml",
    ]))
    .await?;
    ensure!(expired.contains("that day is over"), "{expired}");
    fixture.stop([process]).await;
    Ok(())
}

/// A request of a client that knows HTTP/1.1 only.
async fn post(port: u16, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: \
         close\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    tokio::time::timeout(SOON, stream.read_to_string(&mut answer)).await??;
    Ok(answer)
}

async fn proxy(fixture: &Fixture, server: &str) -> Result<(Process, u16)> {
    let mut words = vec!["proxy".to_owned(), "--listen=127.0.0.1:0".into(), fixture.confirmed()];
    words.extend(fixture.flags(server, &fixture.service));
    let command = fixture.deployment.adytum(words);
    let mut process = Process::start("proxy", command, fixture.deployment.directory()).await?;
    let rest = process.wait_for("Listening on 127.0.0.1:", SOON).await?;
    let port = rest.split_whitespace().next().unwrap_or_default().parse()?;
    Ok((process, port))
}

/// A body for REST: one black image of 8 by 8 grey values.
fn instances() -> String {
    let row = format!("[{}]", ["[0.0]"; 8].join(","));
    format!("{{\"instances\":[[{}]]}}", vec![row; 8].join(","))
}

#[tokio::test]
async fn unmodified_clients_ask_through_the_proxy_and_follow_a_new_version() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let flags = ["--file_system_poll_wait_seconds=1"];
    let (replica, port) = fixture.start("replica", &flags).await?;
    let (proxy, local) = proxy(&fixture, &format!("localhost:{port}")).await?;
    let grpc = async || {
        let words = ["predict", "--model=digits", "--json"].map(str::to_owned);
        let more = [format!("--server=127.0.0.1:{local}"), format!("--image={}", image()?.display())];
        fixture.deployment.run_adytum(words.into_iter().chain(more)).await
    };
    let answer: serde_json::Value = serde_json::from_str(grpc().await?.trim())?;
    ensure!(answer["class"].is_string(), "{answer}");
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    ensure!(answer.contains("adytum-model-version: 3"), "{answer}");
    // A model that the session does not name.
    let answer = post(local, "/v1/models/weather:predict", &instances()).await?;
    ensure!(answer.contains("model-not-in-session"), "{answer}");
    // Version 4 comes: the session ends, the proxy attests again, and no request fails.
    fixture.seal(4).await?;
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        if answer.contains("adytum-model-version: 4") {
            break;
        }
        ensure!(tokio::time::Instant::now() < deadline, "version 4 was not served: {answer}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    fixture.stop([proxy, replica]).await;
    Ok(())
}

#[tokio::test]
async fn an_attacker_gets_no_byte_of_a_request() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    // One who speaks TLS without attested sessions, one who agrees to the protocol and answers
    // nothing of it, and one in the middle with the genuine replica behind.
    let stripping = Attacker::stripping().await?;
    fixture.refused(&stripping.address(), &fixture.service, "protocol-mismatch").await?;
    ensure!(stripping.plaintext().is_empty(), "{:?}", stripping.plaintext());
    let relay = Relay::to(port).await?;
    fixture.refused(&relay.address(), &fixture.service, "evidence-not-bound").await?;
    let received = relay.plaintext_after_attestation();
    ensure!(relay.saw_evidence(), "the replica did not attest");
    ensure!(
        received.len() < 512 && !contains(&received, b"PRI *") && !contains(&received, b"digits"),
        "{received:?}"
    );
    // The same evidence in a later session.
    let replay = relay.replaying().await?;
    fixture.refused(&replay.address(), &fixture.service, "evidence-not-bound").await?;
    let received = replay.plaintext_after_attestation();
    ensure!(received.len() < 512 && !contains(&received, b"PRI *"), "{received:?}");
    // Through the proxy it is no different, and said in the client's protocol.
    let (process, local) = proxy(&fixture, &relay.address()).await?;
    let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
    ensure!(answer.starts_with("HTTP/1.1 403") && answer.contains("evidence-not-bound"), "{answer}");
    ensure!(!contains(&relay.plaintext_after_attestation(), b"instances"), "the relay got a request");
    fixture.stop([process, replica]).await;
    Ok(())
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn a_replica_that_is_none_of_the_service_is_refused() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    // Old models, after the owners raised the floor.
    let (replica, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    let manifest = |version, floor| {
        owner::manifest(
            &fixture.deployment,
            &fixture.broker,
            "digits",
            &fixture.configuration.identity,
            version,
            floor,
        )
    };
    let newer = fixture.directory.path().join("newer.toml");
    fs::write(fixture.broker.directory().join("manifest.toml"), manifest(1, 4)?)?;
    fixture.export(&newer, &[]).await?;
    fixture.refused(&server, &newer, "replica-model-refused").await?;
    // Another owner's replica: the same program, with a broker of its own.
    let mut others = fixture.deployment.create_broker("others").await?;
    let (theirs, their_port) = fixture.replica_of(&others).await?;
    fixture.refused(&format!("localhost:{their_port}"), &newer, "policy-refused").await?;
    // One that does not offer attested sessions: nothing falls back to plain TLS.
    let (silent, silent_port) = fixture.start("silent", &["--attested_sessions=false"]).await?;
    fixture.refused(&format!("localhost:{silent_port}"), &newer, "attested-tls-failed").await?;
    others.stop().await;
    fixture.stop([replica, theirs, silent]).await;
    Ok(())
}

/// Behind one name: a replica of the service, then one of other owners, then the first again.
#[tokio::test]
async fn a_replica_that_is_swapped_behind_the_proxy_gets_nothing() -> Result<()> {
    let fixture = Fixture::prepare().await?;
    let (replica, port) = fixture.start("replica", &[]).await?;
    let mut others = fixture.deployment.create_broker("others").await?;
    let (theirs, their_port) = fixture.replica_of(&others).await?;
    let switch = Switch::to(port).await?;
    let (process, local) = proxy(&fixture, &switch.address()).await?;
    for (behind, expected) in [(port, "HTTP/1.1 200"), (their_port, "HTTP/1.1 403"), (port, "HTTP/1.1 200")] {
        switch.turn(behind);
        let deadline = tokio::time::Instant::now() + SOON;
        // A request may be under way when the connection is cut, and a refused address is left
        // out for a second.
        let answer = loop {
            let answer = post(local, "/v1/models/digits:predict", &instances()).await?;
            if answer.starts_with(expected) || tokio::time::Instant::now() > deadline {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        ensure!(answer.starts_with(expected), "{answer}");
        ensure!(behind != their_port || answer.contains("policy-refused"), "{answer}");
    }
    others.stop().await;
    fixture.stop([process, replica, theirs]).await;
    Ok(())
}

#[tokio::test]
async fn plain_clients_are_served_while_strangers_ask_for_quotes() -> Result<()> {
    let mut fixture = Fixture::prepare().await?;
    fixture.deployment.set_quote_latency(Duration::from_millis(20));
    let (replica, port) = fixture.start("replica", &[]).await?;
    let server = format!("localhost:{port}");
    let flood = tokio::spawn(attackers::flood(port, 400));
    let crt = format!("--crt={}", fixture.provisioned.server_crt.display());
    let started = std::time::Instant::now();
    let mut answered = 0;
    while answered < 10 {
        let words = ["predict", "--model=digits", &crt, &format!("--server={server}")].map(str::to_owned);
        let picture = format!("--image={}", image()?.display());
        fixture.deployment.run_adytum(words.into_iter().chain([picture])).await?;
        answered += 1;
    }
    let took = started.elapsed();
    let (attested, refused) = flood.await??;
    // The bucket of an address holds 20 sessions, and 10 more come each second.
    ensure!(attested <= 20 + 10 * (1 + took.as_secs() + SOON.as_secs()), "{attested} quotes for one address");
    ensure!(refused > 200, "{refused} of 400 were refused");
    ensure!(took < SOON, "{took:?}");
    fixture.stop([replica]).await;
    Ok(())
}
