//! Which models may be loaded, where the key source has no say in that.

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_sealed::rule::ModelRule;
use adytum_signing::OwnerPublicKey;
use serde::Deserialize;

use super::{ConfigurationError, PinnedSource, error::invalid};

/// The most models that a configuration may name.
const MAXIMUM_MODELS: usize = 256;

/// `[[model]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ModelTable {
    name: ModelName,
    #[serde(default)]
    signers: BTreeSet<OwnerPublicKey>,
    minimum_version: Option<u64>,
    #[serde(default)]
    digests: BTreeSet<Sha256Digest>,
}

impl ModelTable {
    fn rule(self) -> Result<ModelRule, ConfigurationError> {
        let Self { name, signers, minimum_version, digests } = self;
        let wrong = |reason: &str| Err(invalid(format!("model {name}"), reason));
        match (signers.is_empty(), digests.is_empty(), minimum_version) {
            (true, true, _) => wrong("no signer and no digest is named, so nothing could be loaded"),
            (false, _, None) => wrong(
                "minimum_version is missing: an older version that the signers signed would be loaded, too",
            ),
            (true, false, Some(_)) => wrong("minimum_version is for models of signers, and there is none"),
            _ => {
                Ok(ModelRule { name, signers, minimum_version: minimum_version.unwrap_or_default(), digests })
            }
        }
    }
}

/// The broker's manifest has these rules; with any other source they are here.
pub(super) fn models(
    tables: Vec<ModelTable>,
    source: &PinnedSource,
) -> Result<BTreeMap<ModelName, ModelRule>, ConfigurationError> {
    if let (PinnedSource::Broker(_), Some(table)) = (source, tables.first()) {
        return Err(invalid(
            format!("model {}", table.name),
            "the broker's manifest says which models may be loaded; remove it",
        ));
    }
    if tables.len() > MAXIMUM_MODELS {
        return Err(invalid("model", format!("at most {MAXIMUM_MODELS} models may be named")));
    }
    let mut models = BTreeMap::new();
    for table in tables {
        let rule = table.rule()?;
        let name = rule.name.clone();
        if models.insert(name.clone(), rule).is_some() {
            return Err(invalid(format!("model {name}"), "it is listed twice"));
        }
    }
    Ok(models)
}
