//! Rules about how a platform is configured and how a guest was started on it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::measurement::{SgxType, SnpAbi};

/// SGX and TDX: what Intel's PCK certificate must say of the platform. Absent rules are
/// not checked. A rule that is given fails where the certificate does not say it. Those of
/// the Processor CA, for a single package, have no flags: there `dynamic_platform` and
/// `cached_keys` are false by nature, and a rule about `smt` fails.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SgxPlatformRules {
    /// How it protects memory; empty is any way.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub sgx_type: BTreeSet<SgxType>,
    /// May packages be added later?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dynamic_platform: Option<bool>,
    /// Does Intel's registration service have the platform's root keys?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_keys: Option<bool>,
    /// Is simultaneous multithreading on?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
}

/// SEV-SNP: what PLATFORM_INFO must say. Absent rules are not checked, except the check
/// for aliases.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpPlatformRules {
    /// Accept platforms whose firmware has not checked that no two addresses lead to the
    /// same memory: on them a memory module that lies about its size opens every guest
    /// (BadRAM, CVE-2024-21944).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_unchecked_aliases: bool,
    /// Is simultaneous multithreading on?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Is ciphertext hidden from the host?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ciphertext_hiding: Option<bool>,
    /// Is the measurement of power off?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rapl_disabled: Option<bool>,
    /// Is trusted I/O on?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tio: Option<bool>,
}

/// SEV-SNP: what the guest's own policy, given at launch, must say. Absent rules are not
/// checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SnpGuestPolicyRules {
    /// Is simultaneous multithreading allowed?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub smt: Option<bool>,
    /// Is the guest held to one socket?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub single_socket: Option<bool>,
    /// Is CXL (Compute Express Link) allowed to populate devices or memory?
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cxl: Option<bool>,
    /// The guest must ask for firmware with at least this interface.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_abi: Option<SnpAbi>,
}

/// Is it the same as where the table is absent?
pub(super) fn is_default<T: Default + PartialEq>(rules: &T) -> bool {
    *rules == T::default()
}
