//! Reference values: which claims are acceptable.

mod judgement;
mod platform;
mod validation;

use std::collections::BTreeSet;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use self::platform::is_default;
pub use self::{
    judgement::{Failure, PolicyRefusal},
    platform::{SgxPlatformRules, SnpGuestPolicyRules, SnpPlatformRules},
    validation::PolicyError,
};
use crate::{
    claims::{TcbStatus, TeeKind},
    measurement::{
        ConfigId, Endorser, FeatureMask, HostData, MrEnclave, MrSigner, SnpKeyDigest, SnpMeasurement, SnpTcb,
        TdxMeasurement, WorkloadIdentity,
    },
    trust::Vendor,
};

/// Which claims are acceptable. Every rule must hold; an empty set of a rule
/// that says so is not checked.
///
/// Rules about measurements apply to the kind of TEE that has them. For each
/// kind it accepts, a policy must pin code, or it does not parse
/// ([`PolicyError::PinsNothing`]) and refuses everything:
/// - SGX: `identity` or `mr_enclave`; or `mr_signer` with `allow_any_program`;
/// - TDX: `mr_td`, which is the guest's firmware, and register 0 of `rtmr`, in which that
///   firmware measures its configuration and the host's ACPI tables (or
///   `allow_any_acpi`), and registers 1 and 2, in which it measures kernel and command
///   line (or `allow_any_kernel`). `identity` is what the host passed in MRCONFIGID, and
///   means something only together with a guest that is pinned and enforces it;
/// - SEV-SNP: `snp_measurement`, and HOST_DATA is likewise the host's word. The launch
///   digest covers what the host put into memory at launch, and nothing that the guest
///   loads afterwards: a kernel and a command line only where the firmware holds their
///   digests (measured direct boot), and never ACPI tables, disks or the network. And
///   `minimum_snp_tcb`, the oldest firmware that is good enough, since AMD publishes no
///   verdict on it as Intel does (`tcb_status`).
///
/// No value may be all zeros ([`PolicyError::Zeros`]), as where nothing was measured.
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
// Not the traits, but functions of the type: the traits are below, where what was read is
// checked too.
#[serde(remote = "Self", deny_unknown_fields)]
pub struct Policy {
    /// Whose hardware; never empty.
    pub vendors: BTreeSet<Vendor>,
    /// Kinds of TEE; never empty.
    pub tee: BTreeSet<TeeKind>,
    /// Workload identities, wherever the TEE at hand carries them; empty is any. SGX: in
    /// MRENCLAVE (simulation), or in the announcement of code that `mr_enclave` pins;
    /// TDX: in MRCONFIGID; SEV-SNP: in HOST_DATA.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub identity: BTreeSet<WorkloadIdentity>,
    /// SGX; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_enclave: BTreeSet<MrEnclave>,
    /// SGX; empty is any. A signer alone pins its key's owner, not the code.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_signer: BTreeSet<MrSigner>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub isv_prod_id: Option<u16>,
    /// SGX: the lowest ISV SVN accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_isv_svn: Option<u16>,
    /// SGX: CONFIGID; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub config_id: BTreeSet<ConfigId>,
    /// SGX: XFRM, exactly; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub xfrm: BTreeSet<FeatureMask>,
    /// TDX; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub mr_td: BTreeSet<TdxMeasurement>,
    /// TDX: what each RTMR may be, in order; an empty set is any. Firmware measures its
    /// configuration into RTMR0, the kernel into RTMR1, its command line and initial
    /// file system into RTMR2 (TDX Virtual Firmware Design Guide, section 8.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rtmr: Option<[BTreeSet<TdxMeasurement>; 4]>,
    /// TDX: ATTRIBUTES, exactly; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub td_attributes: BTreeSet<FeatureMask>,
    /// TDX: XFAM, exactly; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub xfam: BTreeSet<FeatureMask>,
    /// SGX and TDX: the platform's configuration.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sgx_platform: SgxPlatformRules,
    /// SEV-SNP; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub snp_measurement: BTreeSet<SnpMeasurement>,
    /// SEV-SNP; empty is any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub host_data: BTreeSet<HostData>,
    /// SEV-SNP: the lowest levels of the processor's firmware that are accepted, of the
    /// firmware that runs, that it reports, and under which the guest was launched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_snp_tcb: Option<SnpTcb>,
    /// SEV-SNP: which keys may sign; by default only the chip's own; never empty.
    #[serde(default = "only_vcek", skip_serializing_if = "is_only_vcek")]
    pub endorser: BTreeSet<Endorser>,
    /// SEV-SNP: the cloud providers whose VLEK may sign, as AMD certifies them; empty is
    /// any.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub csp_id: BTreeSet<String>,
    /// SEV-SNP: of the key that signed the guest's ID block; empty is any, or no block.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub id_key_digest: BTreeSet<SnpKeyDigest>,
    /// SEV-SNP: of the key that signed that key; empty is any, or nobody.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub author_key_digest: BTreeSet<SnpKeyDigest>,
    /// SEV-SNP: the lowest security version of a guest, as its ID block states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minimum_guest_svn: Option<u32>,
    /// SEV-SNP: the guest's own policy.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snp_guest_policy: SnpGuestPolicyRules,
    /// SEV-SNP: the platform's configuration.
    #[serde(default, skip_serializing_if = "is_default")]
    pub snp_platform: SnpPlatformRules,
    /// SGX and TDX: TCB statuses accepted; by default only `UpToDate`; never empty.
    #[serde(default = "only_up_to_date")]
    pub tcb_status: BTreeSet<TcbStatus>,
    /// SGX and TDX: the only security advisories that may apply to a platform; absent is
    /// any, empty is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advisories: Option<BTreeSet<String>>,
    /// Accept programs that a debugger can read. They have no secrets.
    #[serde(default)]
    pub allow_debug: bool,
    /// Accept any program that `mr_signer` signed, whatever it does.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any_program: bool,
    /// TDX: accept whatever firmware configuration and ACPI tables the host gives. The
    /// guest's kernel runs the code in these tables.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any_acpi: bool,
    /// TDX: accept whatever kernel and command line `mr_td`'s firmware loads. For guests
    /// whose `mr_td` covers those itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allow_any_kernel: bool,
    /// Machines, by [`crate::claims::Platform::id`]; empty is any, also one whose keys
    /// somebody has extracted.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub platforms: BTreeSet<String>,
}

fn only_up_to_date() -> BTreeSet<TcbStatus> {
    BTreeSet::from([TcbStatus::UpToDate])
}

fn only_vcek() -> BTreeSet<Endorser> {
    BTreeSet::from([Endorser::Vcek])
}

fn is_only_vcek(endorsers: &BTreeSet<Endorser>) -> bool {
    *endorsers == only_vcek()
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize(deserializer)?.validated().map_err(D::Error::custom)
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Self::serialize(self, serializer)
    }
}

impl Policy {
    /// The policy for one workload identity on one kind of TEE: debug
    /// forbidden, TCB up to date, any machine. Complete for SGX; on TDX and
    /// SEV-SNP it refuses everything until `mr_td` or `snp_measurement` pins
    /// the guest that carries the identity.
    pub fn for_identity(vendor: Vendor, tee: TeeKind, identity: WorkloadIdentity) -> Self {
        Self { identity: BTreeSet::from([identity]), ..Self::without_code(vendor, tee) }
    }

    /// Debug forbidden, TCB up to date, any machine, and no code yet: it refuses
    /// everything until a rule pins some.
    pub fn without_code(vendor: Vendor, tee: TeeKind) -> Self {
        Self {
            vendors: BTreeSet::from([vendor]),
            tee: BTreeSet::from([tee]),
            identity: BTreeSet::new(),
            mr_enclave: BTreeSet::new(),
            mr_signer: BTreeSet::new(),
            isv_prod_id: None,
            minimum_isv_svn: None,
            config_id: BTreeSet::new(),
            xfrm: BTreeSet::new(),
            mr_td: BTreeSet::new(),
            rtmr: None,
            td_attributes: BTreeSet::new(),
            xfam: BTreeSet::new(),
            sgx_platform: SgxPlatformRules::default(),
            snp_measurement: BTreeSet::new(),
            host_data: BTreeSet::new(),
            minimum_snp_tcb: None,
            endorser: only_vcek(),
            csp_id: BTreeSet::new(),
            id_key_digest: BTreeSet::new(),
            author_key_digest: BTreeSet::new(),
            minimum_guest_svn: None,
            snp_guest_policy: SnpGuestPolicyRules::default(),
            snp_platform: SnpPlatformRules::default(),
            tcb_status: only_up_to_date(),
            advisories: None,
            allow_debug: false,
            allow_any_program: false,
            allow_any_acpi: false,
            allow_any_kernel: false,
            platforms: BTreeSet::new(),
        }
    }
}
