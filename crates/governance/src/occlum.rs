//! An Occlum deployment's configuration: Occlum's RA verify JSON and its
//! secrets JSON, for those who come from there.
//!
//! It loads only when it is asked for, it is part of the broker's measurement,
//! and it never weakens a manifest: a name that the manifest has is the
//! manifest's, and a workload of this configuration gets none of the manifest's
//! secrets.

mod entry;
mod json;

use std::collections::{BTreeMap, BTreeSet};

use adytum_api::names::{SecretName, WorkloadName};
use adytum_evidence::{
    claims::Claims, identity::LengthPrefixed, measurement::Sha256Digest, verifier::TrustRoot,
};
use sha2::Sha256;

pub use self::entry::Entry;
use crate::secrets::{SecretKind, SecretValue, StoredSecret, ValueError};

/// The most entries in `sgx_mrs`.
pub const MAXIMUM_ENTRIES: usize = 256;
/// The most secrets.
pub const MAXIMUM_SECRETS: usize = 1024;
/// The longest file of either kind, in bytes.
pub const MAXIMUM_LENGTH: usize = 8 * 1024 * 1024;

/// Weak entries of a configuration that are accepted by their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Entries that check the signer and not the code.
    pub signer_only: BTreeSet<WorkloadName>,
    /// Entries that let enclaves in debug mode pass.
    pub debug: BTreeSet<WorkloadName>,
}

/// A loaded Occlum configuration.
#[derive(Clone, Debug)]
pub struct OcclumConfiguration {
    /// One workload for each entry of `sgx_mrs`: "occlum-1", "occlum-2"...
    pub workloads: BTreeMap<WorkloadName, Entry>,
    /// Each is available to each of the workloads.
    pub secrets: BTreeMap<SecretName, StoredSecret>,
    /// The roots that the workloads' evidence may chain to.
    pub roots: Vec<TrustRoot>,
    digest: Sha256Digest,
}

/// Why an Occlum configuration does not load.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OcclumError {
    /// A file of the Occlum configuration has more than [`MAXIMUM_LENGTH`] bytes.
    ///
    /// Do: shorten the file, or move its contents to a manifest (docs/manifest.md).
    #[error("the {file} has {found} bytes; at most {MAXIMUM_LENGTH} are allowed")]
    TooLong { file: &'static str, found: usize },
    /// A file of the Occlum configuration is not JSON of the expected form.
    ///
    /// Do: correct the file of `--occlum-config` or `--occlum-secrets` that the message names.
    #[error("the {file} can't be read: {reason}")]
    Syntax {
        file: &'static str,
        /// What the reader said.
        reason: String,
    },
    /// The list `sgx_mrs` is empty, so no enclave could pass.
    ///
    /// Do: give `sgx_mrs` an entry with the measurement of the workload's enclave.
    #[error("`sgx_mrs` is empty, so no enclave could pass; give it an entry")]
    NoEntry,
    /// The Occlum configuration has more entries or secrets than it may have.
    ///
    /// Do: remove entries that are not used, or move to a manifest (docs/manifest.md).
    #[error("there are {found} {what}; at most {limit} are allowed")]
    TooMany { what: &'static str, found: usize, limit: usize },
    /// A value of an entry in `sgx_mrs` is not of its type.
    ///
    /// Do: correct the field that the message names in the file of `--occlum-config`.
    #[error("entry {workload}: `{field}`: {reason}")]
    Value { workload: String, field: &'static str, reason: String },
    /// An entry checks neither the enclave nor the signer, so every enclave would get the
    /// secrets.
    ///
    /// Do: set `verify_mr_enclave` to "on" and give the entry the measurement of the enclave.
    #[error(
        "entry {workload} checks neither mr_enclave nor mr_signer, so every enclave would get the secrets; set \
         verify_mr_enclave to \"on\" and name the measurement"
    )]
    PinsNothing { workload: WorkloadName },
    /// An entry checks the signer of the enclave and not its code.
    ///
    /// Do: set `verify_mr_enclave` to "on", or accept the entry by its name with
    /// `--accept-signer-only`.
    #[error(
        "entry {workload} does not check mr_enclave: every enclave that the holder of that signing key signs \
         gets the secrets, and the default signing key is public; set verify_mr_enclave to \"on\", or accept \
         this by name with --accept-signer-only {workload}"
    )]
    SignerOnly { workload: WorkloadName },
    /// An entry lets enclaves in debug mode pass, and the host can read their memory.
    ///
    /// Do: set `verify_enclave_debuggable` to "on" and `debuggable` to false, or accept the entry
    /// by its name with `--accept-debug`.
    #[error(
        "entry {workload} lets enclaves in debug mode pass, whose memory the host can read; set \
         verify_enclave_debuggable to \"on\" and debuggable to false, or accept this by name with \
         --accept-debug {workload}"
    )]
    Debug { workload: WorkloadName },
    /// A name that a flag accepts is not the name of an entry, or its entry does not need that.
    ///
    /// Do: remove the flag, or correct its name: entries are named occlum-1, occlum-2 and so on
    /// in their order.
    #[error("--{flag} {workload}: {reason}")]
    AcceptedInVain {
        flag: &'static str,
        workload: WorkloadName,
        /// Why it has no effect.
        reason: &'static str,
    },
    /// A secret in the file of secrets has no value that can be used.
    ///
    /// Do: correct the entry in the file of `--occlum-secrets`: base64 of 1 byte to 64 KiB.
    #[error("the secret {name}: {reason}")]
    Secret {
        name: String,
        /// The fault; never the value.
        reason: String,
    },
}

impl OcclumError {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "occlum-too-long",
            Self::Syntax { .. } => "occlum-syntax",
            Self::NoEntry => "occlum-no-entry",
            Self::TooMany { .. } => "occlum-too-many",
            Self::Value { .. } => "occlum-value",
            Self::PinsNothing { .. } => "occlum-pins-nothing",
            Self::SignerOnly { .. } => "occlum-signer-only",
            Self::Debug { .. } => "occlum-debug",
            Self::AcceptedInVain { .. } => "occlum-accepted-in-vain",
            Self::Secret { .. } => "occlum-secret",
        }
    }
}

impl OcclumConfiguration {
    /// Reads both files' texts. `roots` are those that the workloads' evidence
    /// may chain to: the files say nothing of them.
    pub fn parse(
        configuration: &str,
        secrets: &str,
        accepted: &Accepted,
        roots: Vec<TrustRoot>,
    ) -> Result<Self, OcclumError> {
        for (file, text) in [("Occlum configuration", configuration), ("Occlum secrets", secrets)] {
            if text.len() > MAXIMUM_LENGTH {
                return Err(OcclumError::TooLong { file, found: text.len() });
            }
        }
        let entries = json::entries(configuration)?;
        let mut workloads = BTreeMap::new();
        for (index, entry) in entries.into_iter().enumerate() {
            workloads.insert(workload_name(index)?, entry);
        }
        check_accepted(&workloads, accepted)?;
        let secrets = secret_values(secrets)?;
        let digest = digest(configuration, accepted, &roots);
        Ok(Self { workloads, secrets, roots, digest })
    }

    /// The digest that enters the broker's measurement: the configuration's text, what was
    /// accepted of it, and the roots. Not the secrets: a measurement is public.
    pub fn digest(&self) -> Sha256Digest {
        self.digest
    }

    /// The workloads whose entry these claims meet.
    pub fn matching<'a>(&'a self, claims: &'a Claims) -> impl Iterator<Item = &'a WorkloadName> {
        self.workloads.iter().filter(|(_, entry)| entry.failures(claims).is_empty()).map(|(name, _)| name)
    }
}

fn workload_name(index: usize) -> Result<WorkloadName, OcclumError> {
    format!("occlum-{}", index + 1)
        .parse()
        .map_err(|error| OcclumError::Syntax { file: "Occlum configuration", reason: format!("{error}") })
}

fn check_accepted(workloads: &BTreeMap<WorkloadName, Entry>, accepted: &Accepted) -> Result<(), OcclumError> {
    for (workload, entry) in workloads {
        if entry.pins_nothing() {
            return Err(OcclumError::PinsNothing { workload: workload.clone() });
        }
        if entry.signer_only() && !accepted.signer_only.contains(workload) {
            return Err(OcclumError::SignerOnly { workload: workload.clone() });
        }
        if entry.lets_debug_pass() && !accepted.debug.contains(workload) {
            return Err(OcclumError::Debug { workload: workload.clone() });
        }
    }
    accepted_in_vain("accept-signer-only", &accepted.signer_only, workloads, Entry::signer_only)?;
    accepted_in_vain("accept-debug", &accepted.debug, workloads, Entry::lets_debug_pass)
}

fn accepted_in_vain(
    flag: &'static str,
    names: &BTreeSet<WorkloadName>,
    workloads: &BTreeMap<WorkloadName, Entry>,
    weak: impl Fn(&Entry) -> bool,
) -> Result<(), OcclumError> {
    for workload in names {
        let reason = match workloads.get(workload) {
            None => "there is no such entry; entries are named occlum-1, occlum-2... in their order",
            Some(entry) if !weak(entry) => "this entry does not need it; remove the flag",
            Some(_) => continue,
        };
        return Err(OcclumError::AcceptedInVain { flag, workload: workload.clone(), reason });
    }
    Ok(())
}

fn secret_values(text: &str) -> Result<BTreeMap<SecretName, StoredSecret>, OcclumError> {
    let mut secrets = BTreeMap::new();
    for (name, bytes) in json::secrets(text)? {
        let value = SecretValue::parse(SecretKind::Opaque, bytes).map_err(|error: ValueError| {
            OcclumError::Secret { name: name.to_string(), reason: error.to_string() }
        })?;
        let stored =
            StoredSecret { kind: SecretKind::Opaque, value: Some(value), version: 1, changed_by: Vec::new() };
        secrets.insert(name, stored);
    }
    Ok(secrets)
}

fn digest(configuration: &str, accepted: &Accepted, roots: &[TrustRoot]) -> Sha256Digest {
    let mut hasher = LengthPrefixed::<Sha256>::new();
    hasher.field(configuration.as_bytes());
    for names in [&accepted.signer_only, &accepted.debug] {
        hasher.field(&(names.len() as u64).to_be_bytes());
        names.iter().for_each(|name| hasher.field(name.as_str().as_bytes()));
    }
    for root in roots {
        hasher.field(root.vendor().to_string().as_bytes());
        hasher.field(&root.root_key_id().0);
    }
    Sha256Digest(hasher.finish().into())
}

#[cfg(test)]
mod tests;
