//! The root of Intel's attestation.

use crate::{
    measurement::RootKeyId,
    trust::{TrustRoot, Vendor},
};

/// Intel's SGX root CA, as published at
/// `certificates.trustedservices.intel.com`; `dcap-qvl` keeps its own copy
/// private.
const INTEL_ROOT: &[u8] = include_bytes!("intel-sgx-root-ca.der");

/// SHA-384 of the public key in [`INTEL_ROOT`], stated so that a changed file
/// does not pass unnoticed.
const INTEL_ROOT_KEY_ID: RootKeyId = RootKeyId([
    0x46, 0xe4, 0x03, 0xbd, 0x34, 0xf0, 0x5a, 0x3f, 0x28, 0x17, 0xab, 0x9b, 0xad, 0xca, 0xac, 0xc7, 0xff,
    0xc9, 0x8e, 0x0f, 0x26, 0x10, 0x08, 0xcd, 0x30, 0xda, 0xe9, 0x36, 0xca, 0xce, 0x18, 0xd5, 0xdc, 0xf5,
    0x8e, 0xef, 0x31, 0x46, 0x36, 0x13, 0xde, 0x15, 0x70, 0xd5, 0x16, 0x20, 0x09, 0x93,
]);

/// Intel's SGX root CA, for SGX and TDX.
pub(crate) fn intel() -> TrustRoot {
    TrustRoot::of_certificate(Vendor::Intel, INTEL_ROOT_KEY_ID, INTEL_ROOT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trust::{RootCertificate, is_simulation};

    #[test]
    fn intels_root_is_the_one_named() {
        let parsed = RootCertificate::parse(INTEL_ROOT).unwrap();
        assert_eq!(parsed.key_id, INTEL_ROOT_KEY_ID);
        assert!(parsed.subject.contains("Intel SGX Root CA"), "{}", parsed.subject);
        assert!(!is_simulation(&parsed.subject));
    }
}
