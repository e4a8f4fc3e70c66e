//! The broker as a certificate authority: it issues certificates for keys that were
//! made in replicas, and its own key never leaves it.
//!
//! A replica sends a PKCS#10 request over its attested session ([`request`]); nothing
//! but the public key is taken from it. The manifest has all other fields
//! ([`adytum_governance::manifest::certificate::CertificateRule`]). The authority is made
//! with the first manifest that has something to issue, and kept ([`record`]) like a secret.
//!
//! When its key is replaced, the previous key signs a certificate for the new one. It
//! goes along with the certificates that the new one issues: clients that know only the
//! previous authority keep working until it expires.

mod issue;
mod key;
mod record;
mod request;

use std::{fmt, time::Duration};

use adytum_evidence::{clock::UnixSeconds, measurement::Sha256Digest};
use adytum_governance::genesis::GenesisDigest;
use rcgen::{BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose};

pub use self::{
    issue::IssuedCertificate,
    request::{MAXIMUM_REQUEST_LENGTH, RequestError, RequestedKey},
};
use self::{
    issue::{date, serial_number},
    key::AuthorityKey,
};

/// The item of the store that has it.
pub(crate) const ITEM: &str = "certificate-authority/key";

/// How long an authority's certificate is valid: ten years.
const LIFETIME: Duration = Duration::from_secs(3650 * 86_400);
/// So much before its making it begins to be valid: clients' clocks are not alike.
const BACK: Duration = Duration::from_secs(86_400);
/// The most former authorities that are shown. A rotation beyond it drops the oldest.
const MAXIMUM_FORMER: usize = 8;

/// Why the authority fails.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorityError {
    /// The certificate authority in the broker's state can't be read.
    ///
    /// Do: start the version of the broker that wrote the state, or replace the authority with
    /// `adytum broker rotate-ca`.
    #[error(
        "the certificate authority in the broker's state can't be read: {reason}; start the version of the \
         broker that wrote it, or replace the authority with `adytum broker rotate-ca`"
    )]
    Record { reason: String },
    /// The certificate authority can't make a key or a certificate.
    ///
    /// Do: try again; if it fails again, look at the broker's log.
    ///
    /// Retry: yes
    #[error(
        "the certificate authority can't {what}: {reason}; try again, and look at the broker's log if it goes \
         on"
    )]
    Cryptography {
        /// The operation, as a verb with its object.
        what: &'static str,
        reason: String,
    },
    /// The certificate of the certificate authority has expired, by the broker's clock.
    ///
    /// Do: make another with `adytum broker rotate-ca`, and give clients the certificate that
    /// `adytum broker ca` prints.
    #[error(
        "the certificate authority expired at {not_after}; make another with `adytum broker rotate-ca` and \
         give its certificate to clients"
    )]
    Expired { not_after: UnixSeconds },
}

impl AuthorityError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Record { .. } => "certificate-authority-record",
            Self::Cryptography { .. } => "certificate-authority-failed",
            Self::Expired { .. } => "certificate-authority-expired",
        }
    }

    fn cryptography(what: &'static str) -> impl Fn(rcgen::Error) -> Self {
        move |error| Self::Cryptography { what, reason: error.to_string() }
    }
}

/// A certificate and when it ends.
#[derive(Clone, PartialEq, Eq)]
struct Dated {
    der: Vec<u8>,
    not_before: UnixSeconds,
    not_after: UnixSeconds,
}

impl Dated {
    fn pem(&self) -> String {
        let config = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
        pem::encode_config(&pem::Pem::new("CERTIFICATE", self.der.as_slice()), config)
    }
}

/// The authority: one key in use, and the certificates of former ones.
pub struct CertificateAuthority {
    issuer: Issuer<'static, AuthorityKey>,
    /// Self-signed: what clients trust.
    certificate: Dated,
    /// By the previous authority for this one's key, if there is one.
    cross: Option<Dated>,
    former: Vec<Dated>,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("id", &self.id()).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    /// Makes one, with a new key.
    pub fn found(genesis: GenesisDigest, now: UnixSeconds) -> Result<Self, AuthorityError> {
        Self::with_key(AuthorityKey::generate()?, genesis, now)
    }

    fn with_key(key: AuthorityKey, genesis: GenesisDigest, now: UnixSeconds) -> Result<Self, AuthorityError> {
        // The serial number in its name tells two authorities of one broker apart.
        let serial = serial_number()?;
        let common_name = format!("Adytum broker {} CA {}", short(&genesis.0.0), short(&serial));
        let mut parameters = parameters(&common_name, 1);
        let validity = (UnixSeconds(now.0.saturating_sub(BACK.as_secs())), now.plus(LIFETIME));
        let certificate =
            certify(&mut parameters, serial, validity, |parameters| parameters.self_signed(&key))?;
        Ok(Self { issuer: Issuer::new(parameters, key), certificate, cross: None, former: Vec::new() })
    }

    /// The authority that takes this one's place, with a new key.
    pub fn rotated(&self, genesis: GenesisDigest, now: UnixSeconds) -> Result<Self, AuthorityError> {
        let mut next = Self::with_key(AuthorityKey::generate()?, genesis, now)?;
        if self.certificate.not_after > now {
            let mut parameters = parameters(&subject(&next.certificate)?.0, 0);
            parameters.use_authority_key_identifier_extension = true;
            let validity = (
                next.certificate.not_before.max(self.certificate.not_before),
                next.certificate.not_after.min(self.certificate.not_after),
            );
            let sign = |parameters: &CertificateParams| parameters.signed_by(next.issuer.key(), &self.issuer);
            next.cross = Some(certify(&mut parameters, serial_number()?, validity, sign)?);
        }
        let former = std::iter::once(&self.certificate).chain(&self.former);
        let still = former.filter(|certificate| certificate.not_after > now);
        next.former = still.take(MAXIMUM_FORMER).cloned().collect();
        Ok(next)
    }

    /// Which authority this is: SHA-256 of its certificate.
    pub fn id(&self) -> Sha256Digest {
        Sha256Digest::of_bytes(&self.certificate.der)
    }

    /// The certificates (PEM) that a client of the broker's certificates needs: its own,
    /// then those of previous authorities that have not expired.
    pub fn bundle(&self, now: UnixSeconds) -> String {
        let former = self.former.iter().filter(|certificate| certificate.not_after > now);
        std::iter::once(&self.certificate).chain(former).map(Dated::pem).collect()
    }
}

/// The common name in a certificate and the public key that it is for.
fn subject(certificate: &Dated) -> Result<(String, Vec<u8>), AuthorityError> {
    let record = |reason: &str| AuthorityError::Record { reason: reason.to_owned() };
    let (_, certificate) = x509_parser::parse_x509_certificate(&certificate.der)
        .map_err(|_| record("a certificate in it is none"))?;
    let name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    let name = name.ok_or_else(|| record("its certificate has no common name"))?.to_owned();
    Ok((name, certificate.public_key().subject_public_key.data.to_vec()))
}

/// Of an authority below which there may be at most this number of others.
fn parameters(common_name: &str, below: u8) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, common_name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

fn certify(
    parameters: &mut CertificateParams,
    serial: [u8; 16],
    (not_before, not_after): (UnixSeconds, UnixSeconds),
    sign: impl FnOnce(&CertificateParams) -> Result<rcgen::Certificate, rcgen::Error>,
) -> Result<Dated, AuthorityError> {
    parameters.serial_number = Some(rcgen::SerialNumber::from_slice(&serial));
    parameters.not_before = date(not_before);
    parameters.not_after = date(not_after);
    let certificate = sign(parameters).map_err(AuthorityError::cryptography("certify a key"))?;
    Ok(Dated { der: certificate.der().to_vec(), not_before, not_after })
}

/// The first bytes, in hexadecimal: for people to tell things apart.
fn short(bytes: &[u8]) -> String {
    hex::encode(bytes.get(..6).unwrap_or(bytes))
}

#[cfg(test)]
mod tests;
