//! A service as it is written (TOML).

use std::collections::BTreeSet;

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::{clock::Day, measurement::Sha256Digest, policy::Policy, trust::Vendor};
use adytum_sealed::rule::ModelRule;
use serde::{Deserialize, Serialize};

use super::ServiceError;
use crate::{
    genesis::GenesisDigest,
    manifest::{Manifest, SignedManifest, document::TrustTable},
};

/// The value of `format` in a service of this version.
pub const FORMAT: &str = "adytum service v1";

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// What the service is called.
    pub name: WorkloadName,
    /// The broker whose owners sign it.
    pub genesis: GenesisDigest,
    /// The manifest that it is an extract of. A replica that got its keys by an earlier one
    /// is refused.
    pub manifest_version: u64,
    /// SHA-256 of that manifest's text. A replica that got its keys by another manifest of the
    /// same version is refused.
    pub manifest_sha256: Sha256Digest,
    /// Counts the extracts of one manifest, from 1.
    pub revision: u32,
    /// The last day on which it counts.
    pub expires: Day,
    /// `[trust]`.
    pub trust: TrustTable,
    /// `[[workload]]`: which code may answer.
    #[serde(rename = "workload")]
    pub workloads: Vec<WorkloadTable>,
    /// `[[model]]`: the models that may answer.
    #[serde(rename = "model")]
    pub models: Vec<ModelRule>,
}

/// `[[workload]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadTable {
    pub name: WorkloadName,
    /// Which evidence shows it.
    pub policy: Policy,
}

impl Document {
    /// What this manifest says of these workloads: of their code, and of all models that they
    /// may load. A grace for platforms out of date is the owners' own matter and left out.
    pub fn extract(
        (signed, manifest): (&SignedManifest, &Manifest),
        name: WorkloadName,
        workloads: &BTreeSet<WorkloadName>,
        revision: u32,
        expires: Day,
    ) -> Result<Self, ServiceError> {
        let (mut tables, mut vendors) = (Vec::new(), BTreeSet::new());
        let mut loaded: BTreeSet<&ModelName> = BTreeSet::new();
        for wanted in workloads {
            let workload = manifest.workloads.get(wanted).ok_or_else(|| ServiceError::NoWorkload {
                name: wanted.clone(),
                known: manifest.workloads.keys().map(ToString::to_string).collect(),
            })?;
            vendors.extend(workload.policy.vendors.iter().copied());
            loaded.extend(&workload.models);
            tables.push(WorkloadTable { name: wanted.clone(), policy: workload.policy.clone() });
        }
        let simulation_roots = if vendors.contains(&Vendor::Simulation) {
            let pem = |der: &Vec<u8>| pem::encode(&pem::Pem::new("CERTIFICATE", der.clone()));
            manifest.trust.simulation_roots.iter().map(pem).collect()
        } else {
            Vec::new()
        };
        let services = manifest.trust.azure.iter().filter(|_| vendors.contains(&Vendor::Azure));
        let azure = services.map(|service| service.table.clone()).collect();
        let models: Vec<ModelRule> =
            loaded.into_iter().filter_map(|name| manifest.models.get(name).cloned()).collect();
        if models.is_empty() {
            return Err(ServiceError::NoModel);
        }
        Ok(Self {
            format: FORMAT.to_owned(),
            name,
            genesis: manifest.genesis,
            manifest_version: manifest.version,
            manifest_sha256: signed.digest(),
            revision,
            expires,
            trust: TrustTable { vendors: vendors.into_iter().collect(), simulation_roots, azure },
            workloads: tables,
            models,
        })
    }

    /// The document as text.
    pub fn to_toml(&self) -> Result<String, ServiceError> {
        toml::to_string_pretty(self).map_err(|error| ServiceError::Syntax { reason: error.to_string() })
    }
}
