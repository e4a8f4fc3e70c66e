//! Which client certificates are accepted: those of `custom_ca` itself, and those that an authority
//! of it has signed.

use std::sync::Arc;

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerMisbehaved, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::certificate::Certificate;

/// Verifies client certificates.
#[derive(Debug)]
pub(super) struct Clients {
    known: Vec<CertificateDer<'static>>,
    subjects: Vec<DistinguishedName>,
    /// For certificates that an authority has signed, if there is one.
    by_authorities: Option<Arc<dyn ClientCertVerifier>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Clients {
    /// With the certificates of `custom_ca`.
    pub(super) fn new(
        known: Vec<CertificateDer<'static>>,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let mut subjects = Vec::new();
        for certificate in &known {
            let read = Certificate::read(certificate).map_err(|error| error.to_string())?;
            subjects.push(DistinguishedName::from(read.subject().to_vec()));
            // The key of a certificate that is no authority's must not vouch for others.
            if read.is_authority() {
                roots.add(certificate.clone()).map_err(|error| error.to_string())?;
            }
        }
        let by_authorities = if roots.is_empty() {
            None
        } else {
            let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
            Some(builder.build().map_err(|error| error.to_string())?)
        };
        let algorithms = provider.signature_verification_algorithms;
        Ok(Self { known, subjects, by_authorities, algorithms })
    }

    /// A certificate of version 1, which webpki does not read: it must be signed by an authority
    /// itself, since it names no intermediate.
    fn verify_version_1(&self, certificate: &Certificate<'_>, now: UnixTime) -> Result<(), Error> {
        for authority in &self.known {
            let authority = Certificate::read(authority)?;
            if authority.is_authority() && certificate.is_signed_by(&authority, &self.algorithms) {
                return authority.check_validity(now);
            }
        }
        Err(CertificateError::UnknownIssuer.into())
    }
}

impl ClientCertVerifier for Clients {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let certificate = Certificate::read(end_entity)?;
        let is_known = self.known.iter().any(|known| known == end_entity);
        if is_known || certificate.is_version_1() {
            certificate.check_validity(now)?;
            if !is_known {
                self.verify_version_1(&certificate, now)?;
            }
            return Ok(ClientCertVerified::assertion());
        }
        match &self.by_authorities {
            Some(verifier) => verifier.verify_client_cert(end_entity, intermediates, now),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let read = Certificate::read(certificate)?;
        if !read.is_version_1() {
            return verify_tls12_signature(message, certificate, signature, &self.algorithms);
        }
        let scheme = self.algorithms.mapping.iter().find(|(scheme, _)| *scheme == signature.scheme);
        let (_, algorithms) = scheme.ok_or(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme)?;
        if read.has_signed(message, signature.signature(), algorithms) {
            return Ok(HandshakeSignatureValid::assertion());
        }
        Err(CertificateError::BadSignature.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let read = Certificate::read(certificate)?;
        if read.is_version_1() {
            return verify_tls13_signature_with_raw_key(
                message,
                &read.public_key(),
                signature,
                &self.algorithms,
            );
        }
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
