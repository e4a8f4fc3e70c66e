//! Which bundles are unpacked, with which secret, and where to.

use std::collections::BTreeMap;

use adytum_api::names::{ModelName, SecretName};
use adytum_sealed::bundle::DEFAULT_MAXIMUM_SIZE;
use serde::{Deserialize, Serialize};

use super::{
    AbsolutePath, ConfigurationError, MAXIMUM_BUNDLES, Owner, SecretDestination, SecretRule, error::invalid,
};

/// One bundle to unpack before the program starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BundleRule {
    /// Where the ciphertext lies, with its statement in the same directory. The host may
    /// put it anywhere: the plaintext is checked. Not measured.
    #[serde(skip)]
    pub file: AbsolutePath,
    /// The directory that it becomes, on a file system inside the TEE.
    pub path: AbsolutePath,
    /// The secret that opens it, of kind age-identity.
    pub secret: SecretName,
    /// Whose the files are; init's own by default.
    pub owner: Owner,
    /// The largest archive that is unpacked, in bytes.
    pub maximum_size: u64,
}

/// `[[bundle]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BundleTable {
    name: ModelName,
    file: AbsolutePath,
    path: AbsolutePath,
    /// As Occlum's example calls it.
    #[serde(default = "image_key")]
    secret: SecretName,
    user: Option<u32>,
    group: Option<u32>,
    #[serde(default = "default_maximum_size")]
    maximum_size: u64,
}

#[expect(clippy::expect_used, reason = "a fixed text that is a name")]
fn image_key() -> SecretName {
    "image_key".parse().expect("a name")
}

impl BundleTable {
    /// The secret that opens it.
    pub(super) fn secret(&self) -> &SecretName {
        &self.secret
    }
}

fn default_maximum_size() -> u64 {
    DEFAULT_MAXIMUM_SIZE
}

pub(super) fn bundles(
    tables: Vec<BundleTable>,
    secrets: &BTreeMap<SecretName, SecretRule>,
) -> Result<BTreeMap<ModelName, BundleRule>, ConfigurationError> {
    let mut bundles: BTreeMap<ModelName, BundleRule> = BTreeMap::new();
    for BundleTable { name, file, path, secret, user, group, maximum_size } in tables {
        let field = || format!("bundle {name}");
        if bundles.len() == MAXIMUM_BUNDLES {
            return Err(invalid(field(), format!("a workload may have at most {MAXIMUM_BUNDLES} bundles")));
        }
        if path.as_str() == "/" {
            return Err(invalid(field(), "its path is the root; name a directory that it is to become"));
        }
        if !secrets.contains_key(&secret) {
            return Err(invalid(
                field(),
                format!(
                    "the secret {secret} opens it, and no [[secret]] has that name; add one without a path"
                ),
            ));
        }
        let overlap = |other: &AbsolutePath| {
            path.as_path().starts_with(other.as_path()) || other.as_path().starts_with(path.as_path())
        };
        if let Some((other, rule)) = bundles.iter().find(|(_, rule)| overlap(&rule.path)) {
            return Err(invalid(
                field(),
                format!("its path and that of bundle {other}, {}, overlap", rule.path),
            ));
        }
        let is_within = |file: &AbsolutePath| file.as_path().starts_with(path.as_path());
        let within = secrets.iter().find(|(_, rule)| {
            let file = match &rule.destination {
                SecretDestination::File(file) => Some(file),
                _ => None,
            };
            file.into_iter().chain(&rule.key_path).any(is_within)
        });
        if let Some((other, _)) = within {
            return Err(invalid(
                field(),
                format!("the secret {other} has a path in it; put secrets next to bundles, not into them"),
            ));
        }
        let rule = BundleRule { file, path, secret, owner: Owner { user, group }, maximum_size };
        if bundles.insert(name.clone(), rule).is_some() {
            return Err(invalid(field(), "it is listed twice"));
        }
    }
    Ok(bundles)
}
