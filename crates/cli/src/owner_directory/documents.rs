//! The documents that are computed from the programs and the keys: the broker's policy,
//! the measured configuration, the signed manifest.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use adytum_api::names::{ModelName, SecretName, WorkloadName};
use adytum_evidence::{policy::Policy, trust::Vendor};
use adytum_governance::{
    genesis::GenesisDigest,
    manifest::{
        Manifest,
        document::{Document, RecoveryTable, SecretTable, TrustTable, WorkloadTable},
    },
    secrets::SecretKind,
};
use adytum_init::configuration::FORMAT;
use adytum_sealed::rule::ModelRule;
use anyhow::Context as _;
use serde::Serialize;

use super::{Keys, OwnerDirectory, remove, replace};

/// Where the model server takes its certificate from. It is no file: the secret of this
/// path is used from memory.
const SSL_CONFIG_PATH: &str = "/etc/tf_ssl.cfg";

/// The flags of the model server that the measured configuration leaves to the host: those of
/// the reference, and what a deployment sets (docs/measured-configuration.md). Which models
/// may be loaded, the manifest says.
const HOST_FLAGS: [&str; 13] = [
    "--model_name={name}",
    "--model_base_path={path}",
    "--model_config_file={path}",
    "--port={number}",
    "--rest_api_port={number}",
    "--health_port={number}",
    "--monitoring_config_file={path}",
    "--file_system_poll_wait_seconds={number}",
    "--model_config_file_poll_wait_seconds={number}",
    "--max_connection_age={number}",
    "--drain_delay={number}",
    "--model_memory_bytes={number}",
    "--max_connections={number}",
];

/// One workload that serves models, and the broker that it gets its secrets from.
pub(crate) struct Service<'a> {
    pub(crate) workload: &'a WorkloadName,
    pub(crate) models: &'a [ModelName],
    /// What identifies the broker.
    pub(crate) broker: &'a Policy,
    /// The root certificate of the simulated platform, in PEM; none on hardware.
    pub(crate) simulation_root: Option<&'a str>,
    /// The tables of the measured configuration that pin ONNX Runtime, which then runs the
    /// models.
    pub(crate) engine: Option<&'a toml::Table>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    simulation_root: Option<&'a str>,
    policy: &'a Policy,
}

#[derive(Serialize)]
struct SecretPin<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<&'a str>,
}

impl OwnerDirectory {
    /// Writes the broker's policy and the measured configuration, as far as they changed. The
    /// path of the configuration.
    pub(crate) fn write_configuration(&self, keys: &Keys, service: &Service<'_>) -> anyhow::Result<PathBuf> {
        if let Some(root) = service.simulation_root {
            replace(&self.public("simulation-root.pem"), root.as_bytes(), 0o644)?;
        }
        let text = toml::to_string(service.broker).context("the broker's policy")?;
        replace(&self.public("broker-policy.toml"), text.as_bytes(), 0o644)?;
        let configuration = self.public("workload.toml");
        let text = configuration_text(keys.genesis.digest(), service)?;
        replace(&configuration, text.as_bytes(), 0o644)?;
        Ok(configuration)
    }

    /// Removes what was written for another broker.
    pub(crate) fn remove_configuration(&self) -> anyhow::Result<()> {
        remove(&self.public("broker-policy.toml"))?;
        remove(&self.public("workload.toml"))
    }

    /// Signs a manifest with a higher version if it says anything else than before: it allows
    /// evidence that meets this policy the workload's secrets and models. Its version.
    pub(crate) fn write_manifest(
        &self,
        keys: &Keys,
        service: &Service<'_>,
        policy: &Policy,
    ) -> anyhow::Result<u64> {
        let before = self.document()?;
        let is_signed = self.has_signed_manifest();
        // A floor that was raised stays.
        let floors = self.floors()?;
        let mut document = manifest(keys, service, policy)?;
        self.more()?.add_to(&mut document);
        complete(&mut document, &floors);
        match before {
            Some(before) => {
                document.version = before.version;
                if is_signed && document == before {
                    return Ok(before.version);
                }
                document.version = before.version.saturating_add(1);
            }
            None => document.version = 1,
        }
        // What a person added may not fit.
        Manifest::parse(&document.to_toml()?)
            .context("the manifest, with manifest-more.toml if there is one")?;
        self.sign(&keys.owner, &document)?;
        Ok(document.version)
    }
}

/// The text of the measured configuration.
fn configuration_text(genesis: GenesisDigest, service: &Service<'_>) -> anyhow::Result<String> {
    let mut required_arguments = vec![format!("--ssl_config_file={SSL_CONFIG_PATH}")];
    if service.engine.is_some() {
        required_arguments.push("--engine=onnxruntime".to_owned());
    }
    let document = WorkloadDocument {
        format: FORMAT,
        program: ProgramTable { required_arguments, arguments: &HOST_FLAGS },
        broker: BrokerTable { genesis, simulation_root: service.simulation_root, policy: service.broker },
        secret: [
            SecretPin { name: "ssl_config", path: Some(SSL_CONFIG_PATH) },
            SecretPin { name: "model_key", path: None },
        ],
    };
    let mut table = toml::Table::try_from(&document).context("the measured configuration")?;
    for (name, value) in service.engine.into_iter().flatten() {
        table.insert(name.clone(), value.clone());
    }
    toml::to_string(&table).context("the measured configuration")
}

/// The manifest of a service, without a version yet.
fn manifest(keys: &Keys, service: &Service<'_>, policy: &Policy) -> anyhow::Result<Document> {
    let secret = |name: &str, kind| -> anyhow::Result<SecretTable> {
        let name: SecretName = name.parse()?;
        Ok(SecretTable::new(name, kind, vec![service.workload.clone()]))
    };
    let mut document = Document::new(keys.genesis.digest(), 1);
    document.trust = TrustTable {
        vendors: Vec::new(),
        simulation_roots: service.simulation_root.map(str::to_owned).into_iter().collect(),
        ..TrustTable::default()
    };
    document.recovery = Some(RecoveryTable::shares(1, [keys.recovery.as_str()]));
    document.secrets =
        vec![secret("ssl_config", SecretKind::Opaque)?, secret("model_key", SecretKind::AgeIdentity)?];
    document.models = service
        .models
        .iter()
        .map(|name| ModelRule {
            name: name.clone(),
            signers: BTreeSet::from([keys.owner.public_key()]),
            minimum_version: 1,
            digests: BTreeSet::new(),
        })
        .collect();
    document.workloads = vec![WorkloadTable {
        name: service.workload.clone(),
        models: service.models.to_vec(),
        policy: policy.clone(),
        tcb_grace: None,
    }];
    Ok(document)
}

/// Fills in what depends on all tables: the vendors of all workloads, and the floors.
fn complete(document: &mut Document, floors: &BTreeMap<ModelName, u64>) {
    let vendors: BTreeSet<Vendor> =
        document.workloads.iter().flat_map(|workload| workload.policy.vendors.iter().copied()).collect();
    document.trust.vendors = vendors.into_iter().collect();
    for rule in &mut document.models {
        let floor = floors.get(&rule.name).copied().unwrap_or_default();
        rule.minimum_version = rule.minimum_version.max(floor);
    }
}
