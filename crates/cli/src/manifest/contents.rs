//! What a drafted workload may have: the secrets of its measured configuration, and models.

use std::collections::BTreeSet;

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::policy::Policy;
use adytum_governance::{
    manifest::document::{SecretTable, WorkloadTable},
    secrets::SecretKind,
};
use adytum_init::configuration::MeasuredConfiguration;
use adytum_sealed::rule::ModelRule;
use serde::Serialize;

use crate::key_file::OwnerReference;

/// The secret that opens sealed models in `adytum-serving`.
const MODEL_KEY: &str = "model_key";

/// Models, and who seals them.
#[derive(Debug, clap::Args)]
pub(crate) struct Contents {
    /// A model that it may load; may be given several times. Bundles of the
    /// configuration are among them.
    #[arg(long = "model", value_name = "NAME", requires = "signers")]
    models: Vec<ModelName>,
    /// Who seals its models and bundles: public key, or the file of the key; may be
    /// given several times.
    #[arg(long = "signer", value_name = "PUBLIC KEY")]
    signers: Vec<OwnerReference>,
}

/// A workload's tables of a manifest.
#[derive(Debug, Serialize)]
pub(crate) struct Tables {
    #[serde(rename = "workload")]
    pub(crate) workloads: Vec<WorkloadTable>,
    #[serde(rename = "secret", skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<SecretTable>,
    #[serde(rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub(crate) models: Vec<ModelRule>,
}

impl Contents {
    /// The tables of the workload with its models and secrets.
    pub(crate) fn tables(
        &self,
        workload: &WorkloadName,
        policy: Policy,
        configuration: Option<&MeasuredConfiguration>,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Tables> {
        let models = self.rules(configuration, notes)?;
        let table = WorkloadTable {
            name: workload.clone(),
            models: models.iter().map(|rule| rule.name.clone()).collect(),
            policy,
            tcb_grace: None,
        };
        let mut tables = Tables { workloads: vec![table], secrets: Vec::new(), models };
        let Some(configuration) = configuration else { return Ok(tables) };
        for name in configuration.secrets().keys() {
            // A key that opens a bundle, or the sealed models of adytum-serving, is an age identity.
            let kind = match configuration.opens_bundle(name) || name.as_str() == MODEL_KEY {
                true => SecretKind::AgeIdentity,
                false => {
                    notes.push(format!(
                        "The kind of secret {name} is a guess: see docs/manifest.md for the others."
                    ));
                    SecretKind::Opaque
                }
            };
            tables.secrets.push(SecretTable::new(name.clone(), kind, vec![workload.clone()]));
        }
        Ok(tables)
    }

    fn rules(
        &self,
        configuration: Option<&MeasuredConfiguration>,
        notes: &mut Vec<String>,
    ) -> anyhow::Result<Vec<ModelRule>> {
        let signers =
            self.signers.iter().map(OwnerReference::public_key).collect::<Result<BTreeSet<_>, _>>()?;
        let bundles = configuration.into_iter().flat_map(|configuration| configuration.bundles().keys());
        let names: BTreeSet<&ModelName> = self.models.iter().chain(bundles).collect();
        if signers.is_empty() {
            for name in names {
                notes.push(format!(
                    "Nobody is named who seals the bundle {name} (--signer), so no [[model]] accepts it."
                ));
            }
            return Ok(Vec::new());
        }
        let rule = |name: &ModelName| ModelRule {
            name: name.clone(),
            signers: signers.clone(),
            minimum_version: 0,
            digests: BTreeSet::new(),
        };
        Ok(names.into_iter().map(rule).collect())
    }
}

/// A title and notes as comments, and an empty line.
pub(crate) fn commented(title: &str, notes: &[String]) -> String {
    let mut text = format!("{title}\n");
    for note in notes {
        text.push_str(&format!("# {note}\n"));
    }
    text.push('\n');
    text
}
