//! A service: what the owners sign for those who send data, so that these can tell a replica
//! of theirs from anything else. It is an extract of the manifest (which code, on which
//! platforms, which models) with an expiry, and brings along all that shows who the owners
//! are. Its user compares one thing: the digest of the genesis.
//!
//! [`document`] is the text, [`signed`] the file with the owners' signatures, [`pin`] what is
//! held against a replica, [`memory`] what was seen before.

pub mod document;
mod error;
pub mod memory;
pub mod pin;
pub mod signed;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use adytum_api::names::{ModelName, WorkloadName};
use adytum_evidence::{clock::Day, measurement::Sha256Digest, policy::Policy, verifier::TrustRoot};
use adytum_sealed::rule::ModelRule;

pub use self::error::ServiceError;
use crate::genesis::GenesisDigest;

/// A service that holds together and that the owners agreed to. Only
/// [`signed::SignedService::verify`] makes one.
#[derive(Clone, Debug)]
pub struct Service {
    pub name: WorkloadName,
    pub genesis: GenesisDigest,
    pub edition: Edition,
    /// SHA-256 of the text of the manifest that it is an extract of.
    pub manifest_sha256: Sha256Digest,
    /// The last day on which it counts.
    pub expires: Day,
    /// The roots that evidence may chain to.
    pub roots: Vec<TrustRoot>,
    /// Which code may answer, by the names of the workloads.
    pub workloads: BTreeMap<WorkloadName, Policy>,
    /// The models that may answer.
    pub models: BTreeMap<ModelName, ModelRule>,
}

/// Which edition of a service it is. Later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edition {
    /// The manifest that changed the owners last; 0: they are those of the genesis.
    pub owners_since: u64,
    /// The manifest that it is an extract of.
    pub manifest_version: u64,
    /// Counts the extracts of one manifest, from 1.
    pub revision: u32,
    /// SHA-256 of its text: two that are the same but for this are at odds.
    pub text: Sha256Digest,
}
