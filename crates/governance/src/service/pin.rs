//! The judgement of a replica, before anything is sent to it.

use adytum_api::names::ModelName;
use adytum_evidence::{
    claims::Claims,
    measurement::Sha256Digest,
    policy::{Policy, PolicyRefusal},
};
use adytum_sealed::rule::RuleRefusal;

use super::Service;
use crate::{
    announcement::{AnnouncementError, ServingAnnouncement},
    genesis::GenesisDigest,
};

/// Why a replica is none of the service's.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The replica has other code, or is on another platform.
    ///
    /// See: `PolicyRefusal`
    #[error("the replica is not one that the service accepts: {0}")]
    Policy(PolicyRefusal),
    /// Its announcement can't be read.
    #[error("the replica's announcement: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The replica is genuine, and got its keys from the broker of other owners.
    ///
    /// Do: check the address. Somebody may run the same code with keys and models of their own.
    #[error(
        "expected a replica with keys of the broker of genesis {expected}, found a genuine replica with keys of the \
         broker of genesis {found}, which has other owners; check the address"
    )]
    OtherGenesis { expected: GenesisDigest, found: GenesisDigest },
    /// The replica got its keys by an older manifest than the one that the service is of.
    ///
    /// Do: wait until it has renewed its lease; if the error stays, ask the owners of the
    /// service to see that the manifest is in force.
    ///
    /// Retry: later
    #[error(
        "the replica got its keys by manifest version {found}, and the service is of version {expected}; try again \
         when the replica has renewed its lease"
    )]
    OlderManifest { expected: u64, found: u64 },
    /// The replica got its keys by another manifest than the one that the service is of, and
    /// both have the same version.
    ///
    /// Do: ask the owners of the service which manifest is in force, and for a service file
    /// that was exported from it.
    #[error(
        "the replica got its keys by the manifest version {version} with the digest {found}, and the service is of one \
         of this version with the digest {expected}; ask the owners of the service for a file of the manifest in force"
    )]
    OtherManifest { version: u64, expected: Sha256Digest, found: Sha256Digest },
    /// The replica serves no model now.
    ///
    /// Do: try again when the replica has loaded its models.
    ///
    /// Retry: later
    #[error("the replica serves no model now; try again when it has loaded them")]
    NoModel,
    /// The replica serves a model that the service does not name.
    ///
    /// Do: ask the owners of the service for a newer service file, or check the address.
    #[error(
        "the replica serves the model {name}, which the service does not name; ask its owners for a newer file"
    )]
    UnknownModel { name: ModelName },
    /// A model of the replica is not one that the service accepts: another owner signed it, or
    /// its version is too old.
    ///
    /// Do: check the address, or ask the owners of the service for a newer service file; a
    /// replica that still serves an old version must load the new one first.
    ///
    /// Retry: later
    #[error(
        "the replica serves version {version} of the model {name}, which the service does not accept: {refusal}"
    )]
    Model { name: ModelName, version: u64, refusal: RuleRefusal },
}

impl ReplicaError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy-refused",
            Self::Announcement(error) => error.code(),
            Self::OtherGenesis { .. } => "replica-of-other-owners",
            Self::OlderManifest { .. } => "replica-manifest-older",
            Self::OtherManifest { .. } => "replica-manifest-other",
            Self::NoModel => "replica-without-model",
            Self::UnknownModel { .. } => "replica-model-unknown",
            Self::Model { .. } => "replica-model-refused",
        }
    }

    /// May the same replica be accepted later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::OlderManifest { .. } | Self::NoModel | Self::Model { .. })
    }
}

impl Service {
    /// Judges a replica by its verified claims and by its announcement, which is bound to
    /// them. All models that may answer in the session must be accepted. Gives the
    /// announcement.
    pub fn judge(&self, claims: &Claims, announcement: &[u8]) -> Result<ServingAnnouncement, ReplicaError> {
        let announced = ServingAnnouncement::decode(announcement)?;
        self.judge_code(&claims.clone().announcing(Some(announced.identity)))?;
        if announced.genesis != self.genesis {
            let (expected, found) = (self.genesis, announced.genesis);
            return Err(ReplicaError::OtherGenesis { expected, found });
        }
        let found = announced.manifest.map_or(0, |manifest| manifest.version);
        let expected = self.edition.manifest_version;
        if found < expected {
            return Err(ReplicaError::OlderManifest { expected, found });
        }
        if announced.models.is_empty() {
            return Err(ReplicaError::NoModel);
        }
        for statement in &announced.models {
            let name = statement.model.clone();
            let rule = self.models.get(&name);
            let rule = rule.ok_or_else(|| ReplicaError::UnknownModel { name: name.clone() })?;
            let version = statement.version;
            rule.judge(statement).map_err(|refusal| ReplicaError::Model { name, version, refusal })?;
        }
        // Last: the fault of a model says more.
        match announced.manifest {
            Some(found) if found.version == expected && found.digest != self.manifest_sha256 => {
                Err(ReplicaError::OtherManifest {
                    version: found.version,
                    expected: self.manifest_sha256,
                    found: found.digest,
                })
            }
            _ => Ok(announced),
        }
    }

    /// One workload's policy must hold whole. The refusal is the one of the policy that fails
    /// in the fewest rules: the others are of other workloads.
    fn judge_code(&self, claims: &Claims) -> Result<(), ReplicaError> {
        let fewest = |policy: &&Policy| policy.count_failures(claims);
        match self.workloads.values().min_by_key(fewest) {
            Some(closest) => closest.judge(claims).map_err(ReplicaError::Policy),
            None => Err(ReplicaError::Policy(PolicyRefusal { failures: Vec::new() })),
        }
    }
}
