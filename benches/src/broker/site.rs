//! A broker with a manifest and secrets, put there as its owner would.

use std::{fmt::Write as _, fs, path::Path, time::Duration};

use adytum_api::broker::{
    ApplyManifest, PutSecret, broker_administration_client::BrokerAdministrationClient, command::Command,
};
use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use adytum_governance::{approval::OwnerApproval, command::sign, manifest::SignedManifest};
use adytum_signing::OwnerSigningKey;
use adytum_tests::deployment::{Broker, Deployment};
use anyhow::{Context, Result};

use super::{
    kbs_workload::{KbsWorkload, RESOURCE},
    workload::{Machines, Workload, connector},
};

/// How much a broker holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) workloads: usize,
    pub(super) secrets: usize,
}

pub(super) const SMALL: Size = Size { workloads: 1, secrets: 1 };
pub(super) const FULL: Size = Size { workloads: 1000, secrets: 10_000 };

pub(super) struct Site {
    deployment: Deployment,
    broker: Broker,
    size: Size,
    latency: Duration,
    workload: Workload,
}

impl Site {
    /// Creates a broker and fills it.
    pub(super) async fn start(place: &Path, binaries: &Path, latency: Duration, size: Size) -> Result<Self> {
        let mut deployment = Deployment::start(place, binaries).await?;
        if !latency.is_zero() {
            deployment.set_quote_latency(latency);
        }
        let broker = deployment.create_broker("broker").await?;
        fill(&deployment, &broker, size).await?;
        let workload = workload(&deployment, &broker, size, latency)?;
        Ok(Self { deployment, broker, size, latency, workload })
    }

    /// The workload that asks: the last of the manifest, for the last secret.
    pub(super) fn workload(&self) -> &Workload {
        &self.workload
    }

    /// The same workload on machines that the broker has not seen.
    pub(super) fn machines(&self, number: usize) -> Result<Machines> {
        let (identity, secret) = (identity(self.size.workloads - 1), secret_name(self.size.secrets - 1));
        Workload::on_machines(number, &self.deployment, &self.broker, identity, &secret)
    }

    /// Of the broker.
    pub(super) fn process_id(&mut self) -> Result<u32> {
        self.broker.process().and_then(|process| process.id()).context("the broker has ended")
    }

    /// Starts the broker again with a port for the KBS protocol, and gives a client of it: the
    /// same workload.
    pub(super) async fn listen_for_kbs(&mut self) -> Result<KbsWorkload> {
        self.broker.stop().await;
        let flag = "--kbs-listen=127.0.0.1:0";
        let deployment = &self.deployment;
        let port = deployment.start_broker_listening(&mut self.broker, flag, "KBS listening on ").await?;
        self.workload = workload(deployment, &self.broker, self.size, self.latency)?;
        KbsWorkload::new(deployment, port.parse()?, identity(self.size.workloads - 1))
    }

    /// Ends the broker in good order.
    pub(super) async fn stop_broker(&mut self) {
        self.broker.stop().await;
    }

    /// Starts it again; returns when it is ready.
    pub(super) async fn start_broker(&mut self) -> Result<()> {
        self.deployment.start_broker(&mut self.broker).await?;
        self.workload = workload(&self.deployment, &self.broker, self.size, self.latency)?;
        Ok(())
    }

    pub(super) async fn stop(mut self) {
        self.broker.stop().await;
        self.deployment.stop().await;
    }
}

fn workload(deployment: &Deployment, broker: &Broker, size: Size, latency: Duration) -> Result<Workload> {
    let secret = secret_name(size.secrets - 1);
    Workload::new(deployment, broker, identity(size.workloads - 1), &secret, latency)
}

fn identity(number: usize) -> WorkloadIdentity {
    let digest = Sha256Digest::of_bytes(format!("workload {number}").as_bytes());
    WorkloadIdentity::of(digest, digest, b"benchmark")
}

fn secret_name(number: usize) -> String {
    format!("secret-{number}")
}

fn manifest(deployment: &Deployment, broker: &Broker, size: Size) -> Result<String> {
    let root = fs::read_to_string(deployment.root_certificate())?;
    let genesis = broker.genesis_digest();
    let mut text = format!(
        "format = \"adytum manifest v1\"\ngenesis = \"{genesis}\"\nversion = 1\n\n[trust]\nvendors = \
         [\"simulation\"]\nsimulation_roots = [\"\"\"\n{root}\"\"\"]\n\n[recovery]\nunrecoverable = true\n\n"
    );
    for number in 0..size.workloads {
        write!(
            text,
            "[[workload]]\nname = \"w{number}\"\n[workload.policy]\nvendors = [\"simulation\"]\ntee = \
             [\"sgx\"]\nidentity = [\"{}\"]\n\n",
            identity(number)
        )?;
    }
    for number in 0..size.secrets {
        let name = secret_name(number);
        // The last of both belong together.
        let workload = size.workloads - 1 - (size.secrets - 1 - number) % size.workloads;
        write!(text, "[[secret]]\nname = \"{name}\"\nkind = \"opaque\"\nworkloads = [\"w{workload}\"]\n")?;
        if number + 1 == size.secrets {
            writeln!(text, "kbs_resource = \"{RESOURCE}\"")?;
        }
        text.push('\n');
    }
    Ok(text)
}

/// Applies the manifest and puts every secret, on one session.
async fn fill(deployment: &Deployment, broker: &Broker, size: Size) -> Result<()> {
    let owner = OwnerSigningKey::from_pem(&fs::read_to_string(broker.owner_key())?)?;
    let session = connector(deployment, broker, None)?.session(broker.address()).await?;
    let genesis = broker.genesis_digest().parse()?;
    let mut client = BrokerAdministrationClient::new(session.channel.clone());
    let mut signed = SignedManifest::unsigned(manifest(deployment, broker, size)?);
    signed.sign(&owner)?;
    let apply = Command::ApplyManifest(ApplyManifest {
        manifest: signed.text.clone().into_bytes(),
        signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
    });
    let binding = &session.info.request_binding;
    client.execute(sign(binding, genesis, 0, apply, &[&owner])).await?;
    for number in 0..size.secrets {
        let value = format!("the value of secret number {number:08}, which is 64 bytes long...");
        let put = Command::PutSecret(PutSecret { name: secret_name(number), value: value.into_bytes() });
        client.execute(sign(binding, genesis, 1, put, &[&owner])).await?;
    }
    Ok(())
}
