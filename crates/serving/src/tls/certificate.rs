//! Certificates as people make them: X.509 v1, which `openssl x509 -req` writes without
//! extensions, and self-signed ones. webpki reads v3 only.

use rustls::{
    CertificateError, Error,
    crypto::WebPkiSupportedAlgorithms,
    pki_types::{CertificateDer, SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, UnixTime},
};
use x509_parser::{
    prelude::{FromDer, X509Certificate},
    x509::X509Version,
};

/// A certificate that was read, of any version.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl<'a> Certificate<'a> {
    pub(super) fn read(der: &'a CertificateDer<'_>) -> Result<Self, Error> {
        match X509Certificate::from_der(der) {
            Ok(([], certificate)) => Ok(Self(certificate)),
            _ => Err(CertificateError::BadEncoding.into()),
        }
    }

    /// Whether it is of version 1, which webpki does not read.
    pub(super) fn is_version_1(&self) -> bool {
        self.0.version() == X509Version::V1
    }

    /// Whether it may sign others. Version 1 has no word for that: one that signed itself may,
    /// as for OpenSSL.
    pub(super) fn is_authority(&self) -> bool {
        if self.is_version_1() { self.0.subject() == self.0.issuer() } else { self.0.is_ca() }
    }

    /// Its public key.
    pub(super) fn public_key(&self) -> SubjectPublicKeyInfoDer<'a> {
        SubjectPublicKeyInfoDer::from(self.0.subject_pki.raw)
    }

    /// Its subject, in DER.
    pub(super) fn subject(&self) -> &[u8] {
        self.0.subject().as_raw()
    }

    /// Whether it is valid at that time.
    pub(super) fn check_validity(&self, now: UnixTime) -> Result<(), Error> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = self.0.validity();
        if now < validity.not_before.timestamp() {
            return Err(CertificateError::NotValidYet.into());
        }
        if now > validity.not_after.timestamp() {
            return Err(CertificateError::Expired.into());
        }
        Ok(())
    }

    /// Whether `issuer` has signed it.
    pub(super) fn is_signed_by(
        &self,
        issuer: &Certificate<'_>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> bool {
        if self.0.issuer().as_raw() != issuer.subject() {
            return false;
        }
        // A Certificate has the algorithm after what is signed.
        let signature_algorithm = element(self.0.as_raw())
            .and_then(|(inner, _)| element(inner))
            .and_then(|(_, rest)| element(rest));
        let Some((signature_algorithm, _)) = signature_algorithm else { return false };
        let algorithms: Vec<_> = algorithms
            .all
            .iter()
            .copied()
            .filter(|algorithm| algorithm.signature_alg_id().as_ref() == signature_algorithm)
            .collect();
        issuer.has_signed(self.0.tbs_certificate.as_ref(), &self.0.signature_value.data, &algorithms)
    }

    /// Whether its key has signed `message` by one of these algorithms.
    pub(super) fn has_signed(
        &self,
        message: &[u8],
        signature: &[u8],
        algorithms: &[&dyn SignatureVerificationAlgorithm],
    ) -> bool {
        let key = &self.0.subject_pki;
        // SubjectPublicKeyInfo begins with the algorithm.
        let Some((key_algorithm, _)) = element(key.raw).and_then(|(inner, _)| element(inner)) else {
            return false;
        };
        algorithms.iter().any(|algorithm| {
            algorithm.public_key_alg_id().as_ref() == key_algorithm
                && algorithm.verify_signature(&key.subject_public_key.data, message, signature).is_ok()
        })
    }
}

/// The contents of the first element of DER, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short @ 0..=0x7f => (usize::from(*short), rest),
        long => {
            let (bytes, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
            let length = bytes
                .iter()
                .try_fold(0_usize, |length, byte| length.checked_mul(256)?.checked_add(usize::from(*byte)))?;
            (length, rest)
        }
    };
    rest.split_at_checked(length)
}
