//! Trusted roots, which evidence may chain to.

use std::{collections::BTreeSet, fmt, str::FromStr, sync::Arc};

use crate::{
    certificate::{printable, x509},
    error::VerificationError,
    jwt::TokenKeys,
    measurement::RootKeyId,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha384};

/// The vendor of a root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Vendor {
    /// Intel's SGX root CA: SGX and TDX.
    Intel,
    /// AMD's root keys: SEV-SNP.
    Amd,
    /// Microsoft Azure Attestation, a service that verifies evidence for others and signs what
    /// it says ([`crate::maa`]). It has no root here: its keys are pinned one by one.
    Azure,
    /// A software platform that protects nothing.
    Simulation,
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Intel => "intel",
            Self::Amd => "amd",
            Self::Azure => "azure",
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
            "azure" => Ok(Self::Azure),
            "simulation" => Ok(Self::Simulation),
            _ => Err(UnknownVendor(text.to_owned())),
        }
    }
}

/// A text that names no vendor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown vendor {0:?}; known are \"intel\", \"amd\", \"azure\" and \"simulation\"")]
pub struct UnknownVendor(pub String);

/// A root that evidence may chain to: a vendor's certificate and the key in it, or a key with
/// which a service signs tokens.
///
/// Without the feature `simulation` there is no way to make one from a
/// certificate that this crate does not carry.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustRoot {
    vendor: Vendor,
    root_key_id: RootKeyId,
    /// In DER; AMD's come with collateral and are known by their keys.
    certificate: Option<Arc<[u8]>>,
    /// The service whose key it is.
    service: Option<Arc<TokenService>>,
}

/// A service that verifies evidence for others and signs tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TokenService {
    /// Its name, as its tokens have it.
    pub(crate) issuer: String,
    pub(crate) keys: TokenKeys,
}

impl TrustRoot {
    /// A root whose certificate this crate carries, in DER.
    pub(crate) fn of_certificate(
        vendor: Vendor,
        root_key_id: RootKeyId,
        certificate: impl Into<Arc<[u8]>>,
    ) -> Self {
        Self { vendor, root_key_id, certificate: Some(certificate.into()), service: None }
    }

    /// A root that is known by its key: its certificate comes with collateral.
    pub(crate) fn of_key(vendor: Vendor, root_key_id: RootKeyId) -> Self {
        Self { vendor, root_key_id, certificate: None, service: None }
    }

    /// The keys of an attestation service of Azure, each as a root: `issuer` is its name, as its
    /// tokens have it, `keys` its JWK set. Keys that can verify nothing are left out.
    pub fn azure(issuer: &str, keys: TokenKeys) -> Vec<Self> {
        let digests: Vec<RootKeyId> = keys.digests().collect();
        let service = Arc::new(TokenService { issuer: issuer.to_owned(), keys });
        digests
            .into_iter()
            .map(|root_key_id| Self {
                vendor: Vendor::Azure,
                root_key_id,
                certificate: None,
                service: Some(Arc::clone(&service)),
            })
            .collect()
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
        Ok(Self::of_certificate(Vendor::Simulation, certificate.key_id, root_certificate_der))
    }

    /// The vendor of the root.
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

    /// What it is called in messages: a vendor has few roots, and anyone can make a
    /// simulated one.
    fn name(&self) -> String {
        match self.vendor {
            Vendor::Simulation => format!("simulation {}", self.root_key_id.short()),
            Vendor::Azure => match &self.service {
                Some(service) => format!("azure ({})", service.issuer),
                None => Vendor::Azure.to_string(),
            },
            vendor => vendor.to_string(),
        }
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

/// The roots that one verifier trusts, and no others.
pub(crate) struct TrustedRoots(Vec<TrustRoot>);

impl TrustedRoots {
    pub(crate) fn new(roots: Vec<TrustRoot>) -> Self {
        Self(roots)
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, TrustRoot> {
        self.0.iter()
    }

    /// The attestation service of this name, if one is trusted.
    pub(crate) fn service(&self, issuer: &str) -> Option<&TokenService> {
        self.iter().filter_map(|root| root.service.as_deref()).find(|service| service.issuer == issuer)
    }

    /// Refuses all evidence where no root is trusted.
    pub(crate) fn any(&self) -> Result<(), VerificationError> {
        if self.0.is_empty() { Err(VerificationError::NothingTrusted) } else { Ok(()) }
    }

    /// The refusal of evidence that chains to a root with this key and this name.
    pub(crate) fn untrusted(&self, found: RootKeyId, subject: String) -> VerificationError {
        VerificationError::UntrustedRoot {
            found,
            simulated: is_simulation(&subject),
            subject,
            trusted: self.iter().map(TrustRoot::name).collect::<BTreeSet<_>>().into_iter().collect(),
        }
    }

    /// Does what verified under a root of this vendor say something about dates?
    /// Anyone can run a software platform and sign any date with it. That must not move
    /// the clock, or stand in the way of newer collateral, for those who trust hardware
    /// too.
    pub(crate) fn prove_dates(&self, vendor: Vendor) -> bool {
        vendor != Vendor::Simulation || self.iter().all(|root| root.vendor == Vendor::Simulation)
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
        let certificate = x509(der)?;
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
    fn the_refusal_of_a_root_is_short_and_names_what_to_do() {
        let vendors = [Vendor::Intel, Vendor::Amd].into_iter().flat_map(TrustRoot::of_vendor);
        let roots = TrustedRoots::new(vendors.collect());
        let key = RootKeyId([0xab; 48]);
        let subject = "CN=Adytum SIMULATION root CA - protects nothing, O=Adytum SIMULATION";
        let error = roots.untrusted(key, subject.to_owned()).to_string();
        assert!(error.contains("simulated platform (key abababababababab)"), "{error}");
        assert!(
            error.contains("--trust-simulation") && error.contains("trusted here: amd, intel."),
            "{error}"
        );
        assert!(error.len() < 350, "{} letters: {error}", error.len());
        let error = roots.untrusted(key, "CN=ARK-Naples".to_owned()).to_string();
        assert!(error.contains("CN=ARK-Naples") && error.contains("vendors"), "{error}");
        assert!(error.len() < 350, "{} letters: {error}", error.len());
    }
}
