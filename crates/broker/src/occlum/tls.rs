//! TLS as clients with Occlum's own init speak it: TLS 1.3, certificates on both sides, whose names, dates
//! and signatures prove nothing. Here it counts only that the client's key signed this handshake;
//! its evidence is verified afterwards.

use std::sync::Arc;

use adytum_evidence::ra_tls::{
    AcceptedForms, BoundCertificate, CertificateForm, RaTlsCertificate, RaTlsError,
};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, PeerIncompatible,
    ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key},
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime},
    server::{
        NoServerSessionStorage,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};

/// HTTP/2, as gRPC names it (RFC 9113 section 3.2).
const ALPN: &[u8] = b"h2";
/// What RSA keys sign in TLS 1.3.
const SCHEMES: [SignatureScheme; 3] =
    [SignatureScheme::RSA_PSS_SHA256, SignatureScheme::RSA_PSS_SHA384, SignatureScheme::RSA_PSS_SHA512];

/// The server's side with this key: no resumption, no tickets, no early data.
pub(super) fn server_config(identity: Arc<CertifiedKey>) -> Result<ServerConfig, Error> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = Arc::new(OcclumCertificate(Arc::clone(&provider)));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.cert_decompressors = Vec::new();
    config.cert_compressors = Vec::new();
    Ok(config)
}

/// The client's certificate, if its evidence names its key.
pub(super) fn bound(certificate: &CertificateDer<'_>) -> Result<BoundCertificate, RaTlsError> {
    RaTlsCertificate::parse(certificate, &AcceptedForms::only(CertificateForm::Occlum))?.bound()
}

/// Accepts one certificate of Occlum's form and requires that its key signed this TLS
/// handshake. The certificates are of X.509 version 1 with an extension, which other parsers refuse.
#[derive(Debug)]
struct OcclumCertificate(Arc<CryptoProvider>);

fn refused(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

#[derive(Debug, thiserror::Error)]
#[error("expected one certificate, found {0}")]
struct Chain(usize);

impl ClientCertVerifier for OcclumCertificate {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !intermediates.is_empty() {
            return Err(refused(Chain(1 + intermediates.len())));
        }
        bound(end_entity).map_err(refused)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(PeerIncompatible::Tls12NotOfferedOrEnabled))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let bound = bound(certificate).map_err(refused)?;
        let key = SubjectPublicKeyInfoDer::from(bound.public_key_info());
        verify_tls13_signature_with_raw_key(message, &key, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
