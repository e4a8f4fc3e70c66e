//! The manifest as it is written (TOML). Owners' tools build one from these
//! types; reading goes through [`super::Manifest::parse`].

use std::{collections::BTreeSet, net::IpAddr, num::NonZeroUsize};

use adytum_api::{
    names::{ModelName, SecretName, WorkloadName},
    resource::ResourcePath,
};
use adytum_evidence::{claims::TcbStatus, clock::Day, policy::Policy, trust::Vendor};
use adytum_sealed::rule::ModelRule;
use adytum_signing::OwnerPublicKey;
use serde::{Deserialize, Serialize};

use super::{
    DEFAULT_LEASE, FORMAT, ManifestError,
    certificate::{CertificateUsage, DnsName},
    duration::WrittenDuration,
};
use crate::{genesis::GenesisDigest, secrets::SecretKind};

/// The whole document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// [`FORMAT`].
    pub format: String,
    /// The broker it is for.
    pub genesis: GenesisDigest,
    /// At least 1, and higher than that of the manifest it replaces.
    pub version: u64,
    /// `[trust]`.
    pub trust: TrustTable,
    /// `[owners]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owners: Option<OwnersTable>,
    /// `[leases]`.
    #[serde(default, skip_serializing_if = "LeasesTable::is_default")]
    pub leases: LeasesTable,
    /// `[[workload]]`.
    #[serde(default, rename = "workload", skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadTable>,
    /// `[[secret]]`.
    #[serde(default, rename = "secret", skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretTable>,
    /// `[[model]]`.
    #[serde(default, rename = "model", skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelRule>,
    /// `[restart]`.
    #[serde(default, skip_serializing_if = "RestartTable::is_default")]
    pub restart: RestartTable,
    /// `[recovery]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<RecoveryTable>,
}

/// `[recovery]`: who brings the root key back when the machine that has it sealed
/// is lost. Either shares, or the word that there are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RecoveryTable {
    /// How many recipients must come together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u8>,
    /// age X25519 recipients (`age1..`), each of whom gets one share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recipients: Vec<String>,
    /// A lost machine means lost secrets.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrecoverable: bool,
}

impl RecoveryTable {
    /// The number of recipients that must come together.
    pub fn shares(threshold: u8, recipients: impl IntoIterator<Item = impl ToString>) -> Self {
        let recipients = recipients.into_iter().map(|recipient| recipient.to_string()).collect();
        Self { threshold: Some(threshold), recipients, unrecoverable: false }
    }

    /// Nobody can.
    pub fn unrecoverable() -> Self {
        Self { unrecoverable: true, ..Self::default() }
    }
}

/// `[restart]`: what the broker does after it ended: in good order; or otherwise, or
/// when it was restored from a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestartTable {
    #[serde(default)]
    pub unplanned: UnplannedRestart,
    #[serde(default, skip_serializing_if = "PlannedRestart::is_default")]
    pub planned: PlannedRestart,
    /// How many owners confirm the state, if fewer than must agree to a change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_by: Option<NonZeroUsize>,
}

impl RestartTable {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The rule for an unplanned restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnplannedRestart {
    /// Nothing is released until the owners confirm that the state is the newest.
    #[default]
    Wait,
    /// Secrets are released at once: a host that puts an older state back and
    /// restarts the broker makes it release by that state.
    Serve,
}

/// The rule for a planned restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlannedRestart {
    /// Secrets are released at once: a host that kept a copy of the state from a shutdown
    /// in good order can put that back.
    #[default]
    Serve,
    /// Nothing is released until the owners confirm that the state is the newest.
    Wait,
}

impl PlannedRestart {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[owners]`: the owners and the auditors of the broker, from this version on. A
/// manifest without it leaves both as they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnersTable {
    /// How many owners must agree to a change. Not without `keys`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// The owners. Without them and without a threshold they stay the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keys: Vec<OwnerPublicKey>,
    /// Keys that may read the audit log, the manifests and the list of secrets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub auditors: Vec<OwnerPublicKey>,
}

/// `[leases]`: how long a workload may use what it got, where a secret does not say
/// so itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasesTable {
    #[serde(default = "default_lease")]
    pub duration: WrittenDuration,
    /// How much longer while no broker can be reached.
    #[serde(default)]
    pub grace: WrittenDuration,
}

fn default_lease() -> WrittenDuration {
    DEFAULT_LEASE.duration
}

impl Default for LeasesTable {
    fn default() -> Self {
        Self { duration: DEFAULT_LEASE.duration, grace: DEFAULT_LEASE.grace }
    }
}

impl LeasesTable {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// `[trust]`: the roots that evidence may chain to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrustTable {
    pub vendors: Vec<Vendor>,
    /// Root certificates of software platforms (PEM); needed if, and allowed
    /// only if, `vendors` names simulation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub simulation_roots: Vec<String>,
    /// Attestation services of Azure; needed if, and allowed only if, `vendors` names azure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub azure: Vec<AzureTable>,
}

/// `[[trust.azure]]`: an attestation service of Azure, pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AzureTable {
    /// Its name, as its tokens have it: `https://NAME.REGION.attest.azure.net`.
    pub issuer: String,
    /// Its JWK set, as it answers at `/certs`.
    pub keys: String,
}

/// `[[workload]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkloadTable {
    pub name: WorkloadName,
    /// The models it may load.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<ModelName>,
    /// Which evidence shows it.
    pub policy: Policy,
    /// `[workload.tcb_grace]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb_grace: Option<TcbGraceTable>,
}

/// `[workload.tcb_grace]`: platforms that the policy refuses only because their firmware is
/// out of date are accepted for this time. It also ends when so much time has passed on the
/// broker's monotonic clock: a stopped clock prolongs nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcbGraceTable {
    /// The first day on which it lasts.
    pub from: Day,
    /// The last day on which it lasts.
    pub until: Day,
    /// The only security advisories that may apply to such a platform, besides those that
    /// the policy accepts.
    pub advisories: BTreeSet<String>,
    /// The TCB statuses that are accepted besides those of the policy.
    #[serde(default = "only_out_of_date")]
    pub tcb_status: BTreeSet<TcbStatus>,
}

fn only_out_of_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::OutOfDate])
}

/// `[[secret]]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretTable {
    pub name: SecretName,
    /// What its value is.
    pub kind: SecretKind,
    /// The workloads that get it.
    pub workloads: Vec<WorkloadName>,
    /// Of the kind "random": how many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub length: Option<usize>,
    /// Another lease than that of `[leases]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease: Option<WrittenDuration>,
    /// Another grace than that of `[leases]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace: Option<WrittenDuration>,
    /// Workloads may fetch it over the protocol of Occlum's own init, too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub occlum: bool,
    /// Workloads may fetch it over the KBS protocol, too, at this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kbs_resource: Option<ResourcePath>,
    /// `[secret.certificate]`: of the kinds "tls-certificate" and "ssl-config".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<CertificateTable>,
}

impl SecretTable {
    /// A secret with all else left to the defaults.
    pub fn new(name: SecretName, kind: SecretKind, workloads: Vec<WorkloadName>) -> Self {
        Self {
            name,
            kind,
            workloads,
            length: None,
            lease: None,
            grace: None,
            occlum: false,
            kbs_resource: None,
            certificate: None,
        }
    }
}

/// `[secret.certificate]`: the fields of the certificates that the broker issues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateTable {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dns_names: Vec<DnsName>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ip_addresses: Vec<IpAddr>,
    pub usages: Vec<CertificateUsage>,
    /// How long each is valid.
    pub lifetime: WrittenDuration,
    /// Of the kind "ssl-config": must clients show a certificate?
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub client_verify: bool,
    /// Of the kind "ssl-config": whose (PEM), if not the broker's own authority's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub custom_ca: Option<String>,
}

impl Document {
    /// An empty manifest of this version for this broker, to be filled.
    pub fn new(genesis: GenesisDigest, version: u64) -> Self {
        Self {
            format: FORMAT.to_owned(),
            genesis,
            version,
            trust: TrustTable::default(),
            owners: None,
            leases: LeasesTable::default(),
            workloads: Vec::new(),
            secrets: Vec::new(),
            models: Vec::new(),
            restart: RestartTable::default(),
            recovery: None,
        }
    }

    /// The document as text.
    pub fn to_toml(&self) -> Result<String, ManifestError> {
        toml::to_string_pretty(self).map_err(|error| ManifestError::Syntax { reason: error.to_string() })
    }
}
