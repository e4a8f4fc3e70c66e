//! What an owner adds to the manifest by hand: `manifest-more.toml`.

use adytum_governance::manifest::document::{
    Document, LeasesTable, OwnersTable, RecoveryTable, RestartTable, SecretTable, WorkloadTable,
};
use adytum_sealed::rule::ModelRule;
use anyhow::Context as _;
use serde::Deserialize;

use super::{OwnerDirectory, read_if_there};

/// Tables of a manifest that are not computed.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct More {
    owners: Option<OwnersTable>,
    leases: Option<LeasesTable>,
    restart: Option<RestartTable>,
    recovery: Option<RecoveryTable>,
    #[serde(default, rename = "workload")]
    workloads: Vec<WorkloadTable>,
    #[serde(default, rename = "secret")]
    secrets: Vec<SecretTable>,
    #[serde(default, rename = "model")]
    models: Vec<ModelRule>,
}

impl OwnerDirectory {
    /// The file, if there is one.
    pub(super) fn more(&self) -> anyhow::Result<More> {
        let file = self.path().join("manifest-more.toml");
        let Some(text) = read_if_there(&file)? else { return Ok(More::default()) };
        toml::from_str(&text).with_context(|| {
            format!("{}: give tables that a manifest has, other than [trust]", file.display())
        })
    }
}

impl More {
    /// Adds them to a manifest. A table that is there once replaces that of the manifest.
    pub(super) fn add_to(&self, document: &mut Document) {
        document.owners = self.owners.clone().or(document.owners.take());
        document.recovery = self.recovery.clone().or(document.recovery.take());
        document.leases = self.leases.unwrap_or(document.leases);
        document.restart = self.restart.unwrap_or(document.restart);
        document.workloads.extend(self.workloads.iter().cloned());
        document.secrets.extend(self.secrets.iter().cloned());
        document.models.extend(self.models.iter().cloned());
    }
}
