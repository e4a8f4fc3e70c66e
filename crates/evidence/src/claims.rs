//! What verified evidence says, normalised over TEEs.

mod configuration;

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

pub use self::configuration::{
    EnclaveConfiguration, SgxPlatform, SnpEndorsement, SnpGuestClaims, TdConfiguration,
};
use crate::{
    clock::UnixSeconds,
    measurement::{
        Fmspc, HostData, MrEnclave, MrSigner, ReportData, RootKeyId, Sha256Digest, SnpMeasurement, SnpTcb,
        TdxMeasurement, WorkloadIdentity,
    },
    trust::Vendor,
};

impl std::fmt::Display for TeeKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Sgx => "sgx",
            Self::Tdx => "tdx",
            Self::Snp => "snp",
        })
    }
}

/// The kinds of TEE.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TeeKind {
    /// Intel SGX enclave.
    Sgx,
    /// Intel TDX guest.
    Tdx,
    /// AMD SEV-SNP guest.
    Snp,
}

/// How current a platform's trusted computing base is (Intel TCB Info v3,
/// `tcbStatus`, after the merge with the QE's). There is no value for "revoked":
/// revoked evidence does not become claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[allow(missing_docs, reason = "Intel's own names")]
pub enum TcbStatus {
    UpToDate,
    SWHardeningNeeded,
    ConfigurationNeeded,
    ConfigurationAndSWHardeningNeeded,
    OutOfDate,
    OutOfDateConfigurationNeeded,
    TDRelaunchAdvised,
    TDRelaunchAdvisedConfigurationNeeded,
}

impl TcbStatus {
    /// Every status, best first.
    pub const ALL: [Self; 8] = [
        Self::UpToDate,
        Self::SWHardeningNeeded,
        Self::ConfigurationNeeded,
        Self::ConfigurationAndSWHardeningNeeded,
        Self::TDRelaunchAdvised,
        Self::TDRelaunchAdvisedConfigurationNeeded,
        Self::OutOfDate,
        Self::OutOfDateConfigurationNeeded,
    ];
}

impl std::fmt::Display for TcbStatus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The variants bear Intel's names.
        write!(f, "{self:?}")
    }
}

impl std::str::FromStr for TcbStatus {
    type Err = UnknownTcbStatus;

    fn from_str(text: &str) -> Result<Self, UnknownTcbStatus> {
        Self::ALL
            .into_iter()
            .find(|status| status.to_string() == text)
            .ok_or_else(|| UnknownTcbStatus(text.to_owned()))
    }
}

/// A text that is no TCB status that evidence may have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown TCB status {0:?}; known are {known}", known = known_statuses())]
pub struct UnknownTcbStatus(pub String);

fn known_statuses() -> String {
    TcbStatus::ALL.map(|status| status.to_string()).join(", ")
}

/// What verified evidence says. Only [`crate::verifier::Verifier`] makes these
/// from evidence; nothing in here has been judged yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// The vendor of the root that the evidence chains to.
    pub vendor: Vendor,
    pub root_key_id: RootKeyId,
    /// The program may be read by a debugger (SGX: the DEBUG attribute; TDX: any
    /// bit of the group "TD under debug", profiling included; SEV-SNP: DEBUG in the
    /// guest's policy).
    pub debug: bool,
    /// How current the platform is, in Intel's words. AMD publishes no such verdict: a
    /// SEV-SNP guest's firmware is among what is measured, for a policy to judge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb_status: Option<TcbStatus>,
    /// Security advisories that apply to it.
    pub advisory_ids: BTreeSet<String>,
    pub platform: Platform,
    /// What the program bound into the evidence.
    pub report_data: ReportData,
    pub measured: Measured,
    /// The collateral that the evidence was verified with; none where nobody verified any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collateral: Option<CollateralClaims>,
    /// The workload identity that the program states in its announcement, to which the
    /// evidence is bound. It is worth what the program is worth: see
    /// [`crate::policy::Policy::identity`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub announced: Option<WorkloadIdentity>,
}

/// How old the collateral is that evidence was verified with. The host chooses the source
/// of collateral and the clock, and so an issue that still counted when it was served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CollateralClaims {
    /// SGX, TDX: the number of Intel's evaluation, which rises with each TCB recovery
    /// (Intel PCS API, `tcbEvaluationDataNumber`); the lower one of TCB info and QE
    /// identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcb_evaluation_data_number: Option<u32>,
    /// When the oldest of the documents was issued that the vendor issues again and again:
    /// SGX, TDX: TCB info, QE identity and the CRL of PCK certificates (the root's CRL comes
    /// once a year and ends by its own date); SEV-SNP: the CRL.
    pub issued: UnixSeconds,
}

/// Which machine it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// SGX, TDX: the PPID of the CPU package; SEV-SNP: the chip id. Lower-case
    /// hexadecimal.
    pub id: String,
    pub fmspc: Option<Fmspc>,
    /// SGX, TDX only: what Intel certifies of the platform's configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sgx: Option<SgxPlatform>,
}

/// The measurements of the TEE at hand.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "tee", rename_all = "kebab-case")]
#[allow(missing_docs, reason = "the field names are those of Intel's and AMD's manuals")]
pub enum Measured {
    Sgx {
        mr_enclave: MrEnclave,
        mr_signer: MrSigner,
        isv_prod_id: u16,
        isv_svn: u16,
        config_svn: u16,
        enclave: EnclaveConfiguration,
    },
    Tdx {
        mr_td: TdxMeasurement,
        mr_config_id: TdxMeasurement,
        rtmr: [TdxMeasurement; 4],
        td: TdConfiguration,
    },
    Snp {
        measurement: SnpMeasurement,
        host_data: HostData,
        vmpl: u32,
        tcb: SnpTcb,
        guest: SnpGuestClaims,
    },
}

/// The report data of evidence for a token that shall be bound to these bytes: their SHA-256 and
/// zeros (Azure Attestation, `runtimeData`).
pub fn report_data_of_token(runtime_data: &[u8]) -> ReportData {
    let mut report_data = ReportData([0; 64]);
    report_data.0[..32].copy_from_slice(&Sha256Digest::of_bytes(runtime_data).0);
    report_data
}

impl Claims {
    /// With what the program's announcement states. The announcement must be the one to
    /// which this evidence was bound.
    #[must_use]
    pub fn announcing(self, announced: Option<WorkloadIdentity>) -> Self {
        Self { announced, ..self }
    }

    /// The report data that this evidence has if it is of a session with these: a token is
    /// bound to them by their digest ([`report_data_of_token`]), a quote and a report have them
    /// as they are.
    pub fn report_data_of(&self, session: ReportData) -> ReportData {
        match self.vendor {
            Vendor::Azure => report_data_of_token(&session.0),
            _ => session,
        }
    }

    /// The kind of TEE.
    pub fn tee(&self) -> TeeKind {
        match self.measured {
            Measured::Sgx { .. } => TeeKind::Sgx,
            Measured::Tdx { .. } => TeeKind::Tdx,
            Measured::Snp { .. } => TeeKind::Snp,
        }
    }

    /// Does the evidence carry this workload identity where this TEE carries it?
    /// SGX: MRENCLAVE; TDX: MRCONFIGID, padded with zeros; SEV-SNP: HOST_DATA.
    pub fn carries(&self, identity: WorkloadIdentity) -> bool {
        match &self.measured {
            Measured::Sgx { mr_enclave, .. } => mr_enclave.0 == identity.0,
            Measured::Tdx { mr_config_id, .. } => {
                mr_config_id.0[..32] == identity.0 && mr_config_id.0[32..] == [0; 16]
            }
            Measured::Snp { host_data, .. } => host_data.0 == identity.0,
        }
    }
}
