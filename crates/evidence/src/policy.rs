//! Reference values: which claims are acceptable.

mod judgement;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::judgement::{Failure, PolicyRefusal};
use crate::{
    claims::{TcbStatus, TeeKind},
    measurement::{HostData, MrEnclave, MrSigner, SnpMeasurement, SnpTcb, TdxMeasurement, WorkloadIdentity},
    trust::Vendor,
};

/// Which claims are acceptable. Every rule must hold; an empty set of a rule
/// that says so is not checked.
///
/// Rules about measurements apply to the kind of TEE that has them. For each
/// kind it accepts, a policy must pin code, or it does not parse
/// ([`PolicyError::PinsNothing`]) and refuses everything:
/// - SGX: `identity` or `mr_enclave`; or `mr_signer` with `allow_any_program`;
/// - TDX: `mr_td`, which is the guest's firmware, and registers 1 and 2 of `rtmr`, in
///   which that firmware measures kernel and command line; or `mr_td` with
///   `allow_any_kernel`. `identity` is what the host passed in MRCONFIGID, and means
///   something only together with a guest that is pinned and enforces it;
/// - SEV-SNP: `snp_measurement`, and HOST_DATA is likewise the host's word; and
///   `minimum_snp_tcb`, the oldest firmware that is good enough, since AMD publishes no
///   verdict on it as Intel does (`tcb_status`).
///
/// In TOML:
/// ```toml
/// vendors = ["intel"]
/// tee = ["sgx"]
/// mr_enclave = ["0101010101010101010101010101010101010101010101010101010101010101"]
/// minimum_isv_svn = 3
/// tcb_status = ["UpToDate", "SWHardeningNeeded"]
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Unchecked")]
pub struct Policy {
    /// Whose hardware; never empty.
    pub vendors: BTreeSet<Vendor>,
    /// Kinds of TEE; never empty.
    pub tee: BTreeSet<TeeKind>,
    /// Workload identities, wherever the TEE at hand carries them; empty is any. SGX: in
    /// MRENCLAVE (simulation), or in the announcement of code that `mr_enclave` pins;
    /// TDX: in MRCONFIGID; SEV-SNP: in HOST_DATA.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub identity: BTreeSet<WorkloadIdentity>,
    /// SGX; empty is any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_enclave: BTreeSet<MrEnclave>,
    /// SGX; empty is any. A signer alone pins its key's owner, not the code.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_signer: BTreeSet<MrSigner>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub isv_prod_id: Option<u16>,
    /// SGX: the lowest ISV SVN accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_isv_svn: Option<u16>,
    /// TDX; empty is any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_td: BTreeSet<TdxMeasurement>,
    /// TDX: what each RTMR may be, in order; an empty set is any. Firmware measures its
    /// configuration into RTMR0, the kernel into RTMR1, its command line and initial
    /// file system into RTMR2 (TDX Virtual Firmware Design Guide, section 8.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtmr: Option<[BTreeSet<TdxMeasurement>; 4]>,
    /// SEV-SNP; empty is any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub snp_measurement: BTreeSet<SnpMeasurement>,
    /// SEV-SNP; empty is any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub host_data: BTreeSet<HostData>,
    /// SEV-SNP: the lowest levels of the processor's firmware that are accepted, of the
    /// firmware that runs, that it reports, and under which the guest was launched.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_snp_tcb: Option<SnpTcb>,
    /// SGX and TDX: TCB statuses accepted; by default only `UpToDate`; never empty.
    pub tcb_status: BTreeSet<TcbStatus>,
    /// Accept programs that a debugger can read. They have no secrets.
    pub allow_debug: bool,
    /// Accept any program that `mr_signer` signed, whatever it does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_any_program: bool,
    /// TDX: accept whatever kernel and command line `mr_td`'s firmware loads. For guests
    /// whose `mr_td` covers those itself.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_any_kernel: bool,
    /// Machines, by [`crate::claims::Platform::id`]; empty is any.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<String>,
}

/// A policy as written, before its rules are checked against each other.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Unchecked {
    vendors: BTreeSet<Vendor>,
    tee: BTreeSet<TeeKind>,
    #[serde(default)]
    identity: BTreeSet<WorkloadIdentity>,
    #[serde(default)]
    mr_enclave: BTreeSet<MrEnclave>,
    #[serde(default)]
    mr_signer: BTreeSet<MrSigner>,
    isv_prod_id: Option<u16>,
    minimum_isv_svn: Option<u16>,
    #[serde(default)]
    mr_td: BTreeSet<TdxMeasurement>,
    rtmr: Option<[BTreeSet<TdxMeasurement>; 4]>,
    #[serde(default)]
    snp_measurement: BTreeSet<SnpMeasurement>,
    #[serde(default)]
    host_data: BTreeSet<HostData>,
    minimum_snp_tcb: Option<SnpTcb>,
    #[serde(default = "only_up_to_date")]
    tcb_status: BTreeSet<TcbStatus>,
    #[serde(default)]
    allow_debug: bool,
    #[serde(default)]
    allow_any_program: bool,
    #[serde(default)]
    allow_any_kernel: bool,
    #[serde(default)]
    platforms: BTreeSet<String>,
}

fn only_up_to_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

impl TryFrom<Unchecked> for Policy {
    type Error = PolicyError;

    fn try_from(written: Unchecked) -> Result<Self, PolicyError> {
        Self {
            vendors: written.vendors,
            tee: written.tee,
            identity: written.identity,
            mr_enclave: written.mr_enclave,
            mr_signer: written.mr_signer,
            isv_prod_id: written.isv_prod_id,
            minimum_isv_svn: written.minimum_isv_svn,
            mr_td: written.mr_td,
            rtmr: written.rtmr,
            snp_measurement: written.snp_measurement,
            host_data: written.host_data,
            minimum_snp_tcb: written.minimum_snp_tcb,
            tcb_status: written.tcb_status,
            allow_debug: written.allow_debug,
            allow_any_program: written.allow_any_program,
            allow_any_kernel: written.allow_any_kernel,
            platforms: written.platforms,
        }
        .validated()
    }
}

/// Why a document is not a policy.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// No rule of the policy names the code that may run, so any program would pass.
    ///
    /// Do: pin the code in the policy: give the fields that the message names for this
    /// kind of TEE.
    #[error("the policy pins no code for {tee}: give {}", pins(*.tee))]
    PinsNothing {
        /// The kind of TEE that any program would pass on.
        tee: TeeKind,
    },
    /// A rule of the policy is an empty list, so nothing could pass.
    ///
    /// Do: give at least one value, or leave the rule out.
    #[error("the policy's {rule} is empty, so nothing could pass: give at least one")]
    Empty { rule: &'static str },
    /// An id in the policy's `platforms` is not hexadecimal.
    ///
    /// Do: give the PPID or chip id as `adytum evidence show` prints it.
    #[error("the policy's platforms: expected a PPID or chip id as hexadecimal digits, found {found:?}")]
    Platform { found: String },
    /// The policy accepts SEV-SNP with any firmware of the processor.
    ///
    /// Do: give `minimum_snp_tcb` with the levels of AMD's latest security bulletins.
    #[error(
        "the policy accepts snp whatever the processor's firmware: give minimum_snp_tcb = {{ bootloader = ..., tee = ..., \
         snp = ..., microcode = ... }}, the levels of AMD's latest security bulletins"
    )]
    AnySnpTcb,
    /// The policy has `allow_any_program` without a signer, which would accept anything.
    ///
    /// Do: name the signer of the programs in `mr_signer`.
    #[error("the policy's allow_any_program needs mr_signer: name the signer whose programs may run")]
    AnyProgramOfAnyone,
}

impl PolicyError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::PinsNothing { .. } => "policy-pins-nothing",
            Self::Empty { .. } => "policy-empty-rule",
            Self::Platform { .. } => "policy-platform",
            Self::AnySnpTcb => "policy-any-snp-tcb",
            Self::AnyProgramOfAnyone => "policy-any-program",
        }
    }
}

fn pins(tee: TeeKind) -> &'static str {
    match tee {
        TeeKind::Sgx => "identity or mr_enclave (or mr_signer with allow_any_program = true)",
        TeeKind::Tdx => {
            "mr_td, and rtmr with registers 1 and 2, the kernel's (or allow_any_kernel = true); MRCONFIGID, and so \
             identity, is the host's word without them"
        }
        TeeKind::Snp => "snp_measurement (HOST_DATA, and so identity, is the host's word without it)",
    }
}

impl Policy {
    /// The policy for one workload identity on one kind of TEE: debug
    /// forbidden, TCB up to date, any machine. Complete for SGX; on TDX and
    /// SEV-SNP it refuses everything until `mr_td` or `snp_measurement` pins
    /// the guest that carries the identity.
    pub fn for_identity(vendor: Vendor, tee: TeeKind, identity: WorkloadIdentity) -> Self {
        Self {
            vendors: BTreeSet::from([vendor]),
            tee: BTreeSet::from([tee]),
            identity: BTreeSet::from([identity]),
            mr_enclave: BTreeSet::new(),
            mr_signer: BTreeSet::new(),
            isv_prod_id: None,
            minimum_isv_svn: None,
            mr_td: BTreeSet::new(),
            rtmr: None,
            snp_measurement: BTreeSet::new(),
            host_data: BTreeSet::new(),
            minimum_snp_tcb: None,
            tcb_status: only_up_to_date(),
            allow_debug: false,
            allow_any_program: false,
            allow_any_kernel: false,
            platforms: BTreeSet::new(),
        }
    }

    /// This policy, if its rules make sense together: what parsing checks. For
    /// policies put together in code.
    pub fn validated(mut self) -> Result<Self, PolicyError> {
        for (rule, empty) in [
            ("vendors", self.vendors.is_empty()),
            ("tee", self.tee.is_empty()),
            ("tcb_status", self.tcb_status.is_empty()),
        ] {
            if empty {
                return Err(PolicyError::Empty { rule });
            }
        }
        if self.allow_any_program && self.mr_signer.is_empty() {
            return Err(PolicyError::AnyProgramOfAnyone);
        }
        if let Some(&tee) = self.tee.iter().find(|&&tee| !self.pins_code(tee)) {
            return Err(PolicyError::PinsNothing { tee });
        }
        if self.tee.contains(&TeeKind::Snp) && self.minimum_snp_tcb.is_none() {
            return Err(PolicyError::AnySnpTcb);
        }
        let not_hexadecimal =
            |id: &&String| id.is_empty() || !id.bytes().all(|digit| digit.is_ascii_hexdigit());
        if let Some(found) = self.platforms.iter().find(not_hexadecimal) {
            return Err(PolicyError::Platform { found: found.clone() });
        }
        self.platforms = self.platforms.iter().map(|id| id.to_ascii_lowercase()).collect();
        Ok(self)
    }

    /// Do the rules pin the code on this kind of TEE?
    fn pins_code(&self, tee: TeeKind) -> bool {
        match tee {
            TeeKind::Sgx => {
                let signer = self.allow_any_program && !self.mr_signer.is_empty();
                signer || !self.identity.is_empty() || !self.mr_enclave.is_empty()
            }
            TeeKind::Tdx => {
                let kernel = self.rtmr.as_ref().is_some_and(|[_, kernel, command_line, _]| {
                    !kernel.is_empty() && !command_line.is_empty()
                });
                !self.mr_td.is_empty() && (kernel || self.allow_any_kernel)
            }
            TeeKind::Snp => !self.snp_measurement.is_empty(),
        }
    }
}
