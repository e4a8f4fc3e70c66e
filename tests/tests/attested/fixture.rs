//! What the tests need: a deployment, the owners' service file, a data owner and her proxy.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use adytum_evidence::{
    collateral::Collateral,
    measurement::{Sha256Digest, WorkloadIdentity},
};
use adytum_governance::{announcement::ServingAnnouncement, manifest::ManifestInForce};
use adytum_sealed::statement::{FileName, Statement};
use adytum_signing::{OwnerSigningKey, Purpose};
use adytum_sim::{Platform, Program};
use adytum_tests::{
    deployment::{Broker, Deployment, Replica, ReplicaConfiguration, built_binaries},
    owner::{self, ProvisionedModel},
    process::{Process, run_refused},
};
use anyhow::{Context, Result, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::attackers::impostor::Proof;

/// How long a server takes to say something.
pub(crate) const SOON: Duration = Duration::from_secs(60);

pub(crate) fn digits() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/digits")
}

pub(crate) fn image() -> Result<PathBuf> {
    let mut images: Vec<_> = fs::read_dir(digits().join("images"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "png"))
        .collect();
    images.sort();
    images.into_iter().next().context("there is no image")
}

/// A provisioned broker, a sealed model, a replica, and the owners' service file.
pub(crate) struct Fixture {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) deployment: Deployment,
    pub(crate) broker: Broker,
    pub(crate) configuration: ReplicaConfiguration,
    pub(crate) provisioned: ProvisionedModel,
    pub(crate) models: PathBuf,
    pub(crate) service: PathBuf,
}

impl Fixture {
    pub(crate) async fn prepare() -> Result<Self> {
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

    pub(crate) async fn seal(&self, version: u64) -> Result<()> {
        let (onnx, recipient) = (digits().join("model.onnx"), &self.provisioned.recipient);
        owner::seal(&self.deployment, &self.broker, &onnx, "digits", version, recipient, &self.models).await
    }

    /// The owners extract a service from the manifest in force.
    pub(crate) async fn export(&self, out: &Path, flags: &[&str]) -> Result<String> {
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

    pub(crate) async fn start(&self, name: &str, flags: &[&str]) -> Result<(Process, u16)> {
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
    pub(crate) async fn replica_of(&self, others: &Broker) -> Result<(Process, u16)> {
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
    pub(crate) fn flags(&self, server: &str, service: &Path) -> Vec<String> {
        vec![
            format!("--server={server}"),
            format!("--attest={}", service.display()),
            format!("--services={}", self.directory.path().join("services.json").display()),
            format!("--trust-simulation={}", self.deployment.root_certificate().display()),
        ]
    }

    pub(crate) fn confirmed(&self) -> String {
        format!("--genesis={}", self.broker.genesis_digest())
    }

    pub(crate) fn predict(
        &self,
        server: &str,
        service: &Path,
        more: &[String],
    ) -> Result<tokio::process::Command> {
        let mut words = vec!["predict".to_owned(), "--model=digits".into(), "--json".into()];
        words.push(format!("--image={}", image()?.display()));
        words.extend(self.flags(server, service));
        words.extend(more.iter().cloned());
        Ok(self.deployment.adytum(words))
    }

    /// The manifest that is in force.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.broker.directory().join("manifest.toml")
    }

    pub(crate) fn owner(&self) -> Result<OwnerSigningKey> {
        Ok(OwnerSigningKey::from_pem(&fs::read_to_string(self.broker.owner_key())?)?)
    }

    /// What a genuine replica proves. Its platform is simulated, so that anybody who has the
    /// platform's keys can prove it, too.
    pub(crate) fn proof(&self) -> Result<Proof> {
        let platform = Platform::open(self.deployment.platform_directory())?;
        let identity: WorkloadIdentity = self.configuration.identity.parse()?;
        let digest = Sha256Digest::of_bytes(&fs::read(self.manifest())?);
        Ok(Proof {
            program: Program::of(identity),
            announced: ServingAnnouncement {
                identity,
                genesis: self.broker.genesis_digest().parse()?,
                manifest: Some(ManifestInForce { version: 1, digest }),
                models: vec![statement(&self.owner()?, "digits", 3)?],
            },
            collateral: Some(Collateral::Dcap(platform.collateral())),
            platform,
        })
    }

    /// What a refused prediction says.
    pub(crate) async fn refusal(&self, server: &str, service: &Path) -> Result<String> {
        run_refused(self.predict(server, service, &[self.confirmed()])?).await
    }

    pub(crate) async fn refused(&self, server: &str, service: &Path, code: &str) -> Result<()> {
        let said = self.refusal(server, service).await?;
        ensure!(said.contains(code), "expected {code}: {said}");
        Ok(())
    }

    pub(crate) async fn stop(mut self, processes: impl IntoIterator<Item = Process>) {
        for mut process in processes {
            process.stop().await;
        }
        self.broker.stop().await;
        self.deployment.stop().await;
    }
}

/// A request of a client that knows HTTP/1.1 only.
pub(crate) async fn post(port: u16, path: &str, body: &str) -> Result<String> {
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

/// A proxy by the fixture's service file, and its port.
pub(crate) async fn proxy(fixture: &Fixture, server: &str) -> Result<(Process, u16)> {
    proxy_by(fixture, server, &fixture.service).await
}

pub(crate) async fn proxy_by(fixture: &Fixture, server: &str, service: &Path) -> Result<(Process, u16)> {
    let mut words = vec!["proxy".to_owned(), "--listen=127.0.0.1:0".into(), fixture.confirmed()];
    words.extend(fixture.flags(server, service));
    let command = fixture.deployment.adytum(words);
    let mut process = Process::start("proxy", command, fixture.deployment.directory()).await?;
    let rest = process.wait_for("Listening on 127.0.0.1:", SOON).await?;
    let port = rest.split_whitespace().next().unwrap_or_default().parse()?;
    Ok((process, port))
}

/// A body for REST: one black image of 8 by 8 grey values.
pub(crate) fn instances() -> String {
    images(1)
}

/// A body that has much more bytes than a handshake.
pub(crate) fn many_instances() -> String {
    images(64)
}

pub(crate) fn images(number: usize) -> String {
    let row = format!("[{}]", ["[0.0]"; 8].join(","));
    let image = format!("[{}]", vec![row; 8].join(","));
    format!("{{\"instances\":[{}]}}", vec![image; number].join(","))
}

/// What an owner signs about a model. Nobody has its bytes.
pub(crate) fn statement(key: &OwnerSigningKey, model: &str, version: u64) -> Result<Statement> {
    let (sha256, size, signer) = (Sha256Digest([5; 32]), 1000, key.public_key());
    let file_name = FileName::model_onnx();
    let (version_bytes, size_bytes) = (version.to_be_bytes(), u64::to_be_bytes(size));
    let fields: [&[u8]; 6] =
        [model.as_bytes(), &version_bytes, file_name.as_str().as_bytes(), &size_bytes, &sha256.0, &signer.0];
    let signature = key.sign(Purpose::Seal, &fields);
    Ok(Statement { model: model.parse()?, version, file_name, size, sha256, signer, signature })
}
