//! The lowest versions of models in the manifest of an owner's directory.

use std::{collections::BTreeMap, fs};

use adytum_api::names::ModelName;
use adytum_governance::manifest::{SignedManifest, document::Document};
use adytum_signing::OwnerSigningKey;
use anyhow::Context as _;

use super::{OwnerDirectory, replace};
use crate::manifest::signatures_path;

/// The floors of all models that a manifest ever named: a model that is left out for a while
/// comes back with its own.
const FLOORS: &str = "floors.toml";

impl OwnerDirectory {
    /// The manifest as it was written last; `None` if there is none yet.
    pub(crate) fn document(&self) -> anyhow::Result<Option<Document>> {
        let file = self.public("manifest.toml");
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", file.display())),
        };
        let document = toml::from_str(&text).with_context(|| format!("{} is no manifest", file.display()))?;
        Ok(Some(document))
    }

    /// The lowest version of each model that may be served: as the manifest has it; of a model
    /// that is not in the manifest now, as the last one had it that named it.
    pub(crate) fn floors(&self) -> anyhow::Result<BTreeMap<ModelName, u64>> {
        let file = self.public(FLOORS);
        let mut floors: BTreeMap<ModelName, u64> = match fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).with_context(|| format!("{} is damaged", file.display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => BTreeMap::new(),
            Err(error) => return Err(error).with_context(|| format!("{} can't be read", file.display())),
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
        let Some(mut document) = self.document()? else {
            bail_input!("{} is not there yet; make a manifest first", self.public("manifest.toml").display());
        };
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

    /// Signs a manifest and puts both files into the directory.
    pub(super) fn sign(&self, owner: &OwnerSigningKey, document: &Document) -> anyhow::Result<()> {
        let mut floors = self.floors()?;
        floors.extend(document.models.iter().map(|rule| (rule.name.clone(), rule.minimum_version)));
        replace(&self.public(FLOORS), toml::to_string(&floors)?.as_bytes(), 0o644)?;
        let file = self.public("manifest.toml");
        let signatures = signatures_path(&file);
        let mut signed = SignedManifest::unsigned(document.to_toml()?);
        signed.sign(owner).context("the manifest")?;
        // Between the two files the manifest has no signatures, and not those of another.
        match fs::remove_file(&signatures) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| signatures.display().to_string());
            }
            _ => {}
        }
        replace(&file, signed.text.as_bytes(), 0o644)?;
        replace(&signatures, signed.signatures_to_text().as_bytes(), 0o644)
    }
}
