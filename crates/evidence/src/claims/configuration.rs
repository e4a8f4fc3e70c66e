//! How a platform is configured and how a program was started on it, as far as evidence
//! says.

use serde::{Deserialize, Serialize};

use crate::measurement::{
    ConfigId, Endorser, FeatureMask, SgxType, SnpGuestPolicy, SnpKeyDigest, SnpPlatformInfo,
};

/// SGX, TDX: what Intel certifies of a platform (Intel, PCK Certificate and CRL Profile
/// Specification). The flags are in certificates of the Platform CA only, those of
/// servers with several packages. A machine with one package, whose certificate is of the
/// Processor CA, can't be added to and is not registered: both are false by nature. Whether
/// its SMT is on, nothing says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SgxPlatform {
    /// How it protects memory; none where the certificate has an unknown number.
    pub sgx_type: Option<SgxType>,
    /// Packages can be added later.
    pub dynamic_platform: Option<bool>,
    /// Intel's registration service has the platform's root keys.
    pub cached_keys: Option<bool>,
    /// Simultaneous multithreading is on.
    pub smt: Option<bool>,
}

/// SGX: how an enclave was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnclaveConfiguration {
    /// CONFIGID: 64 bytes that the host chose when it started the enclave.
    pub config_id: ConfigId,
    /// XFRM: which of the processor's states the enclave may use.
    pub xfrm: FeatureMask,
}

impl Default for EnclaveConfiguration {
    /// Nothing was given.
    fn default() -> Self {
        Self { config_id: ConfigId([0; ConfigId::LENGTH]), xfrm: FeatureMask(0) }
    }
}

/// TDX: how a TD was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TdConfiguration {
    /// ATTRIBUTES: the TD's properties, such as debugging, as 64 bits.
    pub attributes: FeatureMask,
    /// XFAM: which of the processor's states the TD may use.
    pub xfam: FeatureMask,
}

/// SEV-SNP: which key signed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "key", rename_all = "kebab-case")]
pub enum SnpEndorsement {
    /// The chip's own, so the chip id is certified.
    #[default]
    Vcek,
    /// A cloud provider's, so the chip id is only the report's word.
    Vlek {
        /// The provider, as AMD certifies it (CSP_ID).
        csp_id: String,
    },
}

impl SnpEndorsement {
    /// The kind of key.
    pub fn endorser(&self) -> Endorser {
        match self {
            Self::Vcek => Endorser::Vcek,
            Self::Vlek { .. } => Endorser::Vlek,
        }
    }
}

/// SEV-SNP: what a report says besides measurements and firmware.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnpGuestClaims {
    /// The kind of key that signed the report.
    pub endorsement: SnpEndorsement,
    /// How the platform is configured.
    pub platform: SnpPlatformInfo,
    /// What the guest was launched to allow and to require.
    pub policy: SnpGuestPolicy,
    /// The guest's security version, as its ID block states it; 0 without one.
    pub guest_svn: u32,
    /// Of the key that signed the ID block.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id_key_digest: Option<SnpKeyDigest>,
    /// Of the key that signed that key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author_key_digest: Option<SnpKeyDigest>,
}
