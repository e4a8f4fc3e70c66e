//! A TLS handshake that believes nothing: it takes whatever certificate the server shows, and
//! checks that the server has its key.
//!
//! The certificate may be one that no browser takes: of X.509 version 1 with extensions,
//! self-signed, with SHA-1. So the key is read from it here, and the handshake's signature is
//! verified with that key alone.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::{
    ClientConfig, DigitallySignedStruct, Error, PeerMisbehaved, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    version::{TLS12, TLS13},
};
use x509_parser::{
    asn1_rs::{Any, FromDer},
    certificate::X509Certificate,
    x509::SubjectPublicKeyInfo,
};

/// What the server has shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// Its certificate in DER.
    pub(super) certificate: Option<Vec<u8>>,
    /// It has signed this handshake with the certificate's key.
    pub(super) signed: bool,
}

/// Takes any certificate, and requires the handshake to be signed with its key.
#[derive(Debug)]
pub(super) struct Witness {
    provider: Arc<CryptoProvider>,
    shown: Mutex<Shown>,
}

impl Witness {
    /// A witness, and a client's configuration that has it, with these ALPN protocols.
    pub(super) fn new(protocols: &[&[u8]]) -> Result<(Arc<Self>, ClientConfig), Error> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let witness = Arc::new(Self { provider: provider.clone(), shown: Mutex::default() });
        let mut configuration = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])?
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_no_client_auth();
        configuration.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        configuration.resumption = Resumption::disabled();
        // A compressed certificate would be another parser of untrusted bytes.
        configuration.cert_decompressors = Vec::new();
        Ok((witness, configuration))
    }

    pub(super) fn shown(&self) -> Shown {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Shown)) {
        change(&mut self.shown.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn signed(&self) -> HandshakeSignatureValid {
        self.update(|shown| shown.signed = true);
        HandshakeSignatureValid::assertion()
    }
}

fn malformed(reason: impl ToString) -> Error {
    Error::General(format!("its certificate can't be read: {}", reason.to_string()))
}

fn key<'a>(certificate: &'a CertificateDer<'_>) -> Result<SubjectPublicKeyInfo<'a>, Error> {
    let (_, certificate) = X509Certificate::from_der(certificate).map_err(malformed)?;
    Ok(certificate.tbs_certificate.subject_pki)
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.update(|shown| shown.certificate = Some(end_entity.to_vec()));
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = key(certificate)?;
        // A SubjectPublicKeyInfo is a SEQUENCE that begins with the algorithm's identifier.
        let (_, info) = Any::from_der(key.raw).map_err(malformed)?;
        let (_, identifier) = Any::from_der(info.data).map_err(malformed)?;
        let supported = self.provider.signature_verification_algorithms.mapping;
        let fitting = supported.iter().filter(|(scheme, _)| *scheme == signed.scheme);
        let mut algorithms = fitting
            .flat_map(|(_, algorithms)| algorithms.iter())
            .filter(|algorithm| algorithm.public_key_alg_id().as_ref() == identifier.data);
        let bits = &key.subject_public_key.data;
        match algorithms
            .any(|algorithm| algorithm.verify_signature(bits, message, signed.signature()).is_ok())
        {
            true => Ok(self.signed()),
            false => Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into()),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let key = SubjectPublicKeyInfoDer::from(key(certificate)?.raw);
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)?;
        Ok(self.signed())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
