//! The documents that are computed from the programs and the keys: the broker's policy,
//! the measured configuration, the signed manifest.

use std::{collections::BTreeSet, path::Path};

use adytum_api::names::{ModelName, SecretName, WorkloadName};
use adytum_evidence::{claims::TeeKind, measurement::WorkloadIdentity, policy::Policy, trust::Vendor};
use adytum_governance::{
    genesis::GenesisDigest,
    manifest::document::{Document, RecoveryTable, SecretTable, TrustTable, WorkloadTable},
    secrets::SecretKind,
};
use adytum_init::configuration::{FORMAT, measure};
use adytum_sealed::rule::ModelRule;
use anyhow::Context as _;
use serde::Serialize;

use super::{Keys, OwnerDirectory, replace};
use crate::{manifest::signatures_path, measure::broker_identity};

/// Where the model server takes its certificate from. It is no file: the secret of this
/// path is used from memory.
const SSL_CONFIG_PATH: &str = "/etc/tf_ssl.cfg";

/// The flags of the model server that the measured configuration leaves to the host.
const HOST_FLAGS: [&str; 9] = [
    "--port={number}",
    "--rest_api_port={number}",
    "--health_port={number}",
    "--monitoring_config_file={path}",
    "--file_system_poll_wait_seconds={number}",
    "--max_connection_age={number}",
    "--drain_delay={number}",
    "--model_memory_bytes={number}",
    "--max_connections={number}",
];

/// One model that one workload serves on a simulated platform, from the program that is
/// measured.
pub(crate) struct Service<'a> {
    /// The model, and the workload too.
    pub(crate) name: &'a ModelName,
    pub(crate) broker: &'a Path,
    pub(crate) serving: &'a Path,
    /// The root certificate of the simulated platform, in PEM.
    pub(crate) simulation_root: &'a str,
}

#[derive(Serialize)]
struct WorkloadDocument<'a> {
    format: &'a str,
    program: ProgramTable<'a>,
    broker: BrokerTable<'a>,
    secret: [SecretPin<'a>; 2],
}

#[derive(Serialize)]
struct ProgramTable<'a> {
    required_arguments: Vec<String>,
    arguments: &'a [&'a str],
}

#[derive(Serialize)]
struct BrokerTable<'a> {
    genesis: GenesisDigest,
    simulation_root: &'a str,
    policy: &'a Policy,
}

#[derive(Serialize)]
struct SecretPin<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

impl OwnerDirectory {
    /// Writes policy, measured configuration and manifest for these programs, as far as
    /// they changed, and signs the manifest. The manifest's version.
    pub(crate) fn documents(&self, keys: &Keys, service: &Service<'_>) -> anyhow::Result<u64> {
        replace(&self.public("simulation-root.pem"), service.simulation_root.as_bytes(), 0o644)?;
        let broker_policy = simulated(broker_identity(service.broker)?);
        let text = toml::to_string(&broker_policy).context("the broker's policy")?;
        replace(&self.public("broker-policy.toml"), text.as_bytes(), 0o644)?;
        let workload = workload(keys.genesis.digest(), &broker_policy, service)?;
        let configuration = self.public("workload.toml");
        replace(&configuration, workload.as_bytes(), 0o644)?;
        let identity = measure(&configuration, service.serving, service.serving)?.identity;
        // A floor that was raised stays.
        let minimum = self.floors()?.get(service.name).copied().unwrap_or(1);
        self.sign_manifest(keys, |version| manifest(keys, service, identity, minimum, version))
    }

    /// Signs a manifest with a higher version if it says anything else than before.
    fn sign_manifest(
        &self,
        keys: &Keys,
        make: impl Fn(u64) -> anyhow::Result<Document>,
    ) -> anyhow::Result<u64> {
        let is_signed = signatures_path(&self.public("manifest.toml")).is_file();
        let version = match self.document()? {
            Some(before) if is_signed && make(before.version)? == before => return Ok(before.version),
            Some(before) => before.version.saturating_add(1),
            None => 1,
        };
        self.sign(&keys.owner, &make(version)?)?;
        Ok(version)
    }
}

/// The policy that exactly this program on a simulated platform meets.
fn simulated(identity: WorkloadIdentity) -> Policy {
    Policy::for_identity(Vendor::Simulation, TeeKind::Sgx, identity)
}

/// The text of the measured configuration.
fn workload(genesis: GenesisDigest, broker: &Policy, service: &Service<'_>) -> anyhow::Result<String> {
    let document = WorkloadDocument {
        format: FORMAT,
        program: ProgramTable {
            required_arguments: vec![
                format!("--model_name={}", service.name),
                "--model_base_path={path}".to_owned(),
                format!("--ssl_config_file={SSL_CONFIG_PATH}"),
            ],
            arguments: &HOST_FLAGS,
        },
        broker: BrokerTable { genesis, simulation_root: service.simulation_root, policy: broker },
        secret: [
            SecretPin { name: "ssl_config", path: Some(SSL_CONFIG_PATH) },
            SecretPin { name: "model_key", path: None },
        ],
    };
    toml::to_string(&document).context("the measured configuration")
}

fn manifest(
    keys: &Keys,
    service: &Service<'_>,
    identity: WorkloadIdentity,
    minimum_version: u64,
    version: u64,
) -> anyhow::Result<Document> {
    let workload: WorkloadName = service.name.as_str().parse()?;
    let secret = |name: &str, kind| -> anyhow::Result<SecretTable> {
        let name: SecretName = name.parse()?;
        Ok(SecretTable::new(name, kind, vec![workload.clone()]))
    };
    let mut document = Document::new(keys.genesis.digest(), version);
    document.trust = TrustTable {
        vendors: vec![Vendor::Simulation],
        simulation_roots: vec![service.simulation_root.to_owned()],
    };
    document.recovery = Some(RecoveryTable::shares(1, [keys.recovery.as_str()]));
    document.secrets =
        vec![secret("ssl_config", SecretKind::Opaque)?, secret("model_key", SecretKind::AgeIdentity)?];
    document.models = vec![ModelRule {
        name: service.name.clone(),
        signers: BTreeSet::from([keys.owner.public_key()]),
        minimum_version,
        digests: BTreeSet::new(),
    }];
    document.workloads = vec![WorkloadTable {
        name: workload,
        models: vec![service.name.clone()],
        policy: simulated(identity),
        tcb_grace: None,
    }];
    Ok(document)
}
