//! Which plaintext may be loaded as a model.

use std::collections::BTreeSet;

use adytum_api::names::ModelName;
use adytum_evidence::measurement::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::signing::OwnerPublicKey;

/// Which plaintext may be loaded under this name: one whose digest is listed,
/// or one that a listed signer signed with a version not below the floor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelRule {
    /// The model's name.
    pub name: ModelName,
    /// Owners whose seal counts.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub signers: BTreeSet<OwnerPublicKey>,
    /// The rollback floor for signed versions.
    #[serde(default)]
    pub minimum_version: u64,
    /// Plaintext digests accepted whatever their version.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub digests: BTreeSet<Sha256Digest>,
}
