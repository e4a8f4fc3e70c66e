//! The lowest versions of models in the manifest of an owner's directory.

use std::collections::BTreeMap;

use adytum_api::names::ModelName;
use adytum_governance::manifest::document::Document;
use adytum_signing::OwnerSigningKey;
use anyhow::Context as _;

use super::{OwnerDirectory, read_if_there, replace};

/// The floors of all models that a manifest ever named: a model that is left out for a while
/// comes back with its own.
const FLOORS: &str = "floors.toml";

impl OwnerDirectory {
    /// The lowest version of each model that may be served: as the manifest has it; of a model
    /// that is not in the manifest now, as the last one had it that named it.
    pub(crate) fn floors(&self) -> anyhow::Result<BTreeMap<ModelName, u64>> {
        let file = self.public(FLOORS);
        let mut floors: BTreeMap<ModelName, u64> = match read_if_there(&file)? {
            Some(text) => toml::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?,
            None => BTreeMap::new(),
        };
        let rules = self.document()?.map(|document| document.models).unwrap_or_default();
        floors.extend(rules.into_iter().map(|rule| (rule.name, rule.minimum_version)));
        Ok(floors)
    }

    /// Signs a manifest in which no version of a model below this one may be served. Its version.
    pub(crate) fn raise_floor(
        &self,
        owner: &OwnerSigningKey,
        model: &ModelName,
        minimum: u64,
    ) -> anyhow::Result<u64> {
        let file = self.manifest()?;
        let mut document = self.document()?.with_context(|| format!("{} is gone", file.display()))?;
        let names: Vec<String> = document.models.iter().map(|rule| rule.name.to_string()).collect();
        let Some(rule) = document.models.iter_mut().find(|rule| rule.name == *model) else {
            bail_input!(
                "the manifest has no model {model}; give one of those that it has: {}",
                names.join(", ")
            );
        };
        if minimum < rule.minimum_version {
            bail_input!(
                "the versions below {} are retired already; a floor is never lowered: write a manifest by hand to allow \
                 them again",
                rule.minimum_version
            );
        }
        if minimum == rule.minimum_version {
            return Ok(document.version);
        }
        rule.minimum_version = minimum;
        document.version = document.version.saturating_add(1);
        self.sign(owner, &document)?;
        Ok(document.version)
    }

    /// Takes note of the floors of a manifest.
    pub(super) fn note_floors(&self, document: &Document) -> anyhow::Result<()> {
        let mut floors = self.floors()?;
        floors.extend(document.models.iter().map(|rule| (rule.name.clone(), rule.minimum_version)));
        replace(&self.public(FLOORS), toml::to_string(&floors)?.as_bytes(), 0o644)
    }
}
