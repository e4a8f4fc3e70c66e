//! The manifest: which workloads exist and what each may have. Versioned, and
//! valid only with the signatures of as many owners as the genesis demands.
//!
//! [`document`] is the text as it is written, [`check`] turns it into a
//! [`Manifest`] that holds together, [`signed`] carries it with its signatures,
//! and [`admission`] decides whether it may follow the manifest in force.

pub mod admission;
mod check;
pub mod document;
mod error;
mod recovery;
pub mod signed;

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::{ModelName, SecretName, WorkloadName};
use adytum_evidence::{policy::Policy, trust::Vendor};
use adytum_ratls::claims::GenesisDigest;
use adytum_sealed::rule::ModelRule;

pub use self::{error::ManifestError, signed::SignedManifest};
use crate::{root_key::sharing::RecoveryRecipient, secrets::SecretKind};

/// The value of `format` in a manifest of this version.
pub const FORMAT: &str = "adytum manifest v1";
/// The longest manifest, in bytes: it fits a gRPC message of the usual limit
/// twice over.
pub const MAXIMUM_LENGTH: usize = 2 * 1024 * 1024;

/// A manifest that holds together: every name it uses is defined once, and
/// nothing in it is without effect. Whether owners signed it is another matter:
/// see [`admission`].
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The broker it is for.
    pub genesis: GenesisDigest,
    /// At least 1.
    pub version: u64,
    /// Whose evidence counts.
    pub trust: Trust,
    /// The workloads.
    pub workloads: BTreeMap<WorkloadName, Workload>,
    /// The secrets.
    pub secrets: BTreeMap<SecretName, SecretRule>,
    /// What may be loaded as each model.
    pub models: BTreeMap<ModelName, ModelRule>,
    /// What follows an unplanned restart.
    pub unplanned_restart: document::UnplannedRestart,
    /// How the root key comes back; `None` while that is not laid down.
    pub recovery: Option<RecoveryRule>,
}

/// How the root key comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryRule {
    /// Shares of a recovery key.
    Shares {
        /// How many must come together; 1 to the number of recipients.
        threshold: u8,
        /// Who has one each; distinct, at most
        /// [`MAXIMUM_RECIPIENTS`](crate::root_key::sharing::MAXIMUM_RECIPIENTS).
        recipients: Vec<RecoveryRecipient>,
    },
    /// Not at all: the owners have said so.
    Unrecoverable,
}

/// Whose evidence counts under a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Vendors of hardware, and simulation where it is named.
    pub vendors: BTreeSet<Vendor>,
    /// Root certificates of software platforms, in DER; empty unless `vendors`
    /// names simulation.
    pub simulation_roots: Vec<Vec<u8>>,
}

/// One workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which evidence shows it.
    pub policy: Policy,
    /// The models it may load.
    pub models: BTreeSet<ModelName>,
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRule {
    /// What its value is.
    pub kind: SecretKind,
    /// Who may have it; never empty.
    pub workloads: BTreeSet<WorkloadName>,
}

impl Manifest {
    /// Reads a manifest and checks that it holds together.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        check::check(text)
    }
}

#[cfg(test)]
mod tests;
