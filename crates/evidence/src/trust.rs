//! Whose signatures count: the roots that evidence may chain to.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};
use x509_parser::prelude::{FromDer, X509Certificate};

#[cfg(feature = "simulation")]
use crate::verifier::VerificationError;
use crate::{certificate_name::printable, measurement::RootKeyId, snp::SnpProduct};

/// Who stands behind a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Vendor {
    /// Intel's SGX root CA: SGX and TDX.
    Intel,
    /// AMD's root keys: SEV-SNP.
    Amd,
    /// A software platform that protects nothing.
    Simulation,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Simulation => "simulation",
        })
    }
}

impl FromStr for Vendor {
    type Err = UnknownVendor;

    fn from_str(text: &str) -> Result<Self, UnknownVendor> {
        match text {
            "intel" => Ok(Self::Intel),
            "amd" => Ok(Self::Amd),
            "simulation" => Ok(Self::Simulation),
            _ => Err(UnknownVendor(text.to_owned())),
        }
    }
}

/// A text that names no vendor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown vendor {0:?}; known are \"intel\", \"amd\" and \"simulation\"")]
pub struct UnknownVendor(pub String);

/// A root that evidence may chain to: a vendor's certificate and the key in it.
///
/// Without the feature `simulation` there is no way to make one from a
/// certificate that this crate does not carry.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustRoot {
    vendor: Vendor,
    root_key_id: RootKeyId,
    /// In DER; AMD's come with collateral and are known by their keys.
    certificate: Option<Arc<[u8]>>,
}

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

impl TrustRoot {
    /// Intel's SGX root CA (SGX and TDX).
    pub fn intel() -> Self {
        Self { vendor: Vendor::Intel, root_key_id: INTEL_ROOT_KEY_ID, certificate: Some(INTEL_ROOT.into()) }
    }

    /// AMD's roots, one for each family of processors (SEV-SNP).
    pub fn amd() -> impl Iterator<Item = Self> {
        SnpProduct::ALL.into_iter().map(|product| Self {
            vendor: Vendor::Amd,
            root_key_id: product.root_key_id(),
            certificate: None,
        })
    }

    /// The roots of a vendor that this crate knows; none of simulated platforms.
    pub fn of_vendor(vendor: Vendor) -> Vec<Self> {
        match vendor {
            Vendor::Intel => vec![Self::intel()],
            Vendor::Amd => Self::amd().collect(),
            Vendor::Simulation => Vec::new(),
        }
    }

    /// The root of a software platform, from its certificate in DER. It must be
    /// marked as one ([`is_simulation`]).
    #[cfg(feature = "simulation")]
    pub fn simulation(root_certificate_der: &[u8]) -> Result<Self, VerificationError> {
        let malformed = |reason: String| VerificationError::TrustRoot { reason };
        let certificate = RootCertificate::parse(root_certificate_der).map_err(malformed)?;
        if !is_simulation(&certificate.subject) {
            return Err(malformed(format!(
                "its subject is {:?}, and a simulated platform's says \"simulation\"",
                certificate.subject
            )));
        }
        Ok(Self {
            vendor: Vendor::Simulation,
            root_key_id: certificate.key_id,
            certificate: Some(root_certificate_der.into()),
        })
    }

    /// Who stands behind it.
    pub fn vendor(&self) -> Vendor {
        self.vendor
    }

    /// Its key.
    pub fn root_key_id(&self) -> RootKeyId {
        self.root_key_id
    }

    /// Its certificate in DER; none of AMD's, which is known by its key.
    pub fn certificate_der(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }

    pub(crate) fn certificate(&self) -> Option<&Arc<[u8]>> {
        self.certificate.as_ref()
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TrustRoot({self})")
    }
}

impl fmt::Display for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.vendor, self.root_key_id)
    }
}

/// Does this subject name say that the platform is a simulated one?
pub fn is_simulation(subject: &str) -> bool {
    subject.to_ascii_lowercase().contains("simulat")
}

/// What a self-issued certificate says of itself; nothing verified.
pub(crate) struct RootCertificate {
    pub(crate) subject: String,
    pub(crate) key_id: RootKeyId,
}

impl RootCertificate {
    pub(crate) fn parse(der: &[u8]) -> Result<Self, String> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|error| format!("not a certificate: {error}"))?;
        if !rest.is_empty() {
            return Err(format!("{} bytes follow the certificate", rest.len()));
        }
        if certificate.subject().as_raw() != certificate.issuer().as_raw() {
            return Err(format!(
                "the certificate of {} is issued by {}, so it is not a root",
                printable(certificate.subject()),
                printable(certificate.issuer())
            ));
        }
        Ok(Self {
            subject: printable(certificate.subject()),
            key_id: RootKeyId(Sha384::digest(&certificate.public_key().subject_public_key.data).into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intels_root_is_the_one_named() {
        let parsed = RootCertificate::parse(INTEL_ROOT).unwrap();
        assert_eq!(parsed.key_id, INTEL_ROOT_KEY_ID);
        assert!(parsed.subject.contains("Intel SGX Root CA"), "{}", parsed.subject);
        assert!(!is_simulation(&parsed.subject));
    }
}
