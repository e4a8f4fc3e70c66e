//! The manifest: which workloads exist and what each may have. Versioned, and
//! valid only with the signatures of as many owners as must agree.
//!
//! [`document`] is the text as it is written, [`check`] turns it into a
//! [`Manifest`] that holds together, [`signed`] carries it with its signatures,
//! and [`rules`](crate::rules) decides whether it may follow the manifest in force.
//! [`certificate`], [`duration`] and [`protocols`] are types of its fields.

pub mod azure;
pub mod certificate;
mod check;
pub mod document;
pub mod duration;
mod error;
mod in_force;
pub mod protocols;
mod recovery;
pub(crate) mod roots;
pub mod signed;
mod tcb_grace;

use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
};

use adytum_api::names::{ModelName, SecretName, WorkloadName};
use adytum_evidence::{
    claims::Claims,
    clock::{Day, UnixSeconds},
    policy::{Failure, Policy},
    trust::Vendor,
};
use adytum_sealed::rule::ModelRule;

use self::{
    azure::AzureService,
    certificate::{CertificateRule, SslConfigRule},
    duration::WrittenDuration,
    protocols::{OtherNames, OtherProtocols},
};
pub use self::{
    error::ManifestError, in_force::ManifestInForce, signed::SignedManifest, tcb_grace::TcbGrace,
};
use crate::{genesis::GenesisDigest, recovery::RecoveryRule, roles::RolesRule, secrets::SecretKind};

/// The value of `format` in a manifest of this version.
pub const FORMAT: &str = "adytum manifest v1";
/// The longest manifest, in bytes: it fits a gRPC message of the usual limit
/// twice over.
pub const MAXIMUM_LENGTH: usize = 2 * 1024 * 1024;
/// The most secrets.
pub const MAXIMUM_SECRETS: usize = 16 * 1024;
/// The most workloads, and the most models.
pub const MAXIMUM_WORKLOADS: usize = 4096;
/// The lease where a manifest says nothing.
pub const DEFAULT_LEASE: Lease =
    Lease { duration: WrittenDuration::from_seconds(3600), grace: WrittenDuration::from_seconds(0) };
/// How many bytes a random secret has where a manifest says nothing.
pub const DEFAULT_RANDOM_LENGTH: usize = 32;

/// A manifest that holds together: every name it uses is defined once, and
/// nothing in it is without effect. Whether owners signed it is another matter:
/// see [`rules`](crate::rules).
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The broker it is for.
    pub genesis: GenesisDigest,
    pub version: u64,
    pub trust: Trust,
    /// The owners and the auditors from now on; `None` leaves both as they are.
    pub roles: Option<RolesRule>,
    /// The lease of what no secret's own says.
    pub lease: Lease,
    pub workloads: BTreeMap<WorkloadName, Workload>,
    pub secrets: BTreeMap<SecretName, SecretRule>,
    /// The names of secrets in the protocols of others.
    pub other_names: OtherNames,
    /// The files that may be loaded as each model.
    pub models: BTreeMap<ModelName, ModelRule>,
    /// The rule for an unplanned restart.
    pub unplanned_restart: document::UnplannedRestart,
    /// The rule for a planned restart.
    pub planned_restart: document::PlannedRestart,
    /// How many owners confirm the state; `None`: as many as must agree to a change.
    pub confirm_by: Option<NonZeroUsize>,
    /// How the root key comes back; `None` while no manifest says that.
    pub recovery: Option<RecoveryRule>,
}

/// The roots that evidence may chain to under a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trust {
    /// Vendors of hardware, and simulation where it is named.
    pub vendors: BTreeSet<Vendor>,
    /// Root certificates of software platforms, in DER; empty unless `vendors`
    /// names simulation.
    pub simulation_roots: Vec<Vec<u8>>,
    /// Attestation services of Azure, each with its keys; empty unless `vendors` names azure.
    pub azure: Vec<AzureService>,
}

/// One workload.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Which evidence shows it.
    pub policy: Policy,
    /// The models it may load.
    pub models: BTreeSet<ModelName>,
    /// Platforms out of date that show it for a while.
    pub tcb_grace: Option<TcbGrace>,
}

/// That claims show a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// They meet its policy.
    ByPolicy,
    /// They meet it but for firmware that is out of date, and `tcb_grace` lasts.
    InGrace {
        /// The last day on which it does.
        until: Day,
    },
}

impl Workload {
    /// Do these claims show it at this time?
    pub fn admits(&self, claims: &Claims, time: UnixSeconds) -> Option<Admission> {
        if self.policy.count_failures(claims) == 0 {
            return Some(Admission::ByPolicy);
        }
        let grace = self.tcb_grace.as_ref().filter(|grace| grace.lasts_at(time) && grace.covers(claims))?;
        Some(Admission::InGrace { until: grace.until })
    }

    /// Every rule that says at this time why claims do not show it.
    pub fn failures(&self, claims: &Claims, time: UnixSeconds) -> Vec<Failure> {
        if self.admits(claims, time).is_some() {
            return Vec::new();
        }
        let mut failures =
            self.policy.judge(claims).err().map(|refusal| refusal.failures).unwrap_or_default();
        if let Some(grace) = self.tcb_grace.as_ref().filter(|grace| grace.covers(claims)) {
            let (wanted, got) = (format!("a time {}", grace.time()), time.to_string());
            failures.push(Failure { rule: "tcb_grace".to_owned(), wanted, got });
        }
        failures
    }
}

/// One secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretRule {
    /// What its value is and where it comes from.
    pub contents: Contents,
    /// The workloads that get it; never empty.
    pub workloads: BTreeSet<WorkloadName>,
    pub lease: Lease,
    /// The protocols of others over which workloads may fetch it, too.
    pub protocols: OtherProtocols,
}

impl SecretRule {
    /// What its value is.
    pub fn kind(&self) -> SecretKind {
        self.contents.kind()
    }
}

/// What a secret's value is and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contents {
    /// Bytes that an owner uploads.
    Opaque,
    /// An age identity that an owner uploads.
    AgeIdentity,
    /// Made in the broker.
    Random { length: usize },
    /// Issued by the broker.
    TlsCertificate(CertificateRule),
    /// Issued by the broker, for TensorFlow Serving's SSLConfig.
    SslConfig(CertificateRule, SslConfigRule),
}

impl Contents {
    /// What the value is.
    pub fn kind(&self) -> SecretKind {
        match self {
            Self::Opaque => SecretKind::Opaque,
            Self::AgeIdentity => SecretKind::AgeIdentity,
            Self::Random { .. } => SecretKind::Random,
            Self::TlsCertificate(_) => SecretKind::TlsCertificate,
            Self::SslConfig(..) => SecretKind::SslConfig,
        }
    }

    /// The fields of the certificates, if it is one of them.
    pub fn certificate(&self) -> Option<&CertificateRule> {
        match self {
            Self::TlsCertificate(rule) | Self::SslConfig(rule, _) => Some(rule),
            Self::Opaque | Self::AgeIdentity | Self::Random { .. } => None,
        }
    }
}

/// How long a workload may use what it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// From the answer on.
    pub duration: WrittenDuration,
    /// How much longer while no broker can be reached.
    pub grace: WrittenDuration,
}

impl Lease {
    /// The shorter of both, each by itself.
    #[must_use]
    pub fn least(self, other: Self) -> Self {
        Self { duration: self.duration.min(other.duration), grace: self.grace.min(other.grace) }
    }

    /// Shortened so that it ends by `end`, counted from `now`, its grace included; at least
    /// a second, the shortest lease there is.
    #[must_use]
    pub fn ending_by(self, now: UnixSeconds, end: UnixSeconds) -> Self {
        let left = u32::try_from(end.0.saturating_sub(now.0)).unwrap_or(u32::MAX).max(1);
        let duration = self.duration.min(WrittenDuration::from_seconds(left));
        let rest = WrittenDuration::from_seconds(left - duration.seconds());
        Self { duration, grace: self.grace.min(rest) }
    }
}

impl Manifest {
    /// Reads a manifest and checks that it holds together.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        check::check(text)
    }

    /// A date that the time can't be before: owners wrote it as a day on which collateral
    /// was issued (`collateral_not_before`).
    pub fn not_before(&self) -> Option<UnixSeconds> {
        let days = self.workloads.values().filter_map(|workload| workload.policy.collateral_not_before);
        days.max().map(Day::start)
    }

    /// Does it accept platforms out of date for a while?
    pub fn has_grace(&self) -> bool {
        self.workloads.values().any(|workload| workload.tcb_grace.is_some())
    }
}

#[cfg(test)]
mod tests;
