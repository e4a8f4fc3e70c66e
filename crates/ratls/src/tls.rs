//! The TLS 1.3 layer under an attested session.
//!
//! Certificates are containers of a public key and nothing else: their names, dates and
//! signatures prove nothing and are not looked at. It counts that the peer signs the TLS
//! handshake with that key (CertificateVerify, RFC 8446 section 4.4.3) and that its
//! evidence is bound to that key's digest.

mod session_key;

use std::sync::{Arc, LazyLock};

use adytum_evidence::measurement::Sha256Digest;
use rcgen::{CertificateParams, DistinguishedName, DnType};
use rustls::{
    CertificateError, ClientConfig, ConnectionCommon, DigitallySignedStruct, DistinguishedName as RootHint,
    Error, OtherError, ProtocolVersion, ServerConfig, SignatureScheme,
    client::{
        Resumption,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{
        CryptoProvider,
        aws_lc_rs::{self, cipher_suite, kx_group},
        verify_tls13_signature,
    },
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        NoServerSessionStorage, ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
    sign::{CertifiedKey, SingleCertAndKey},
    version::TLS13,
};
use zeroize::Zeroizing;

use self::session_key::SessionKey;
use crate::{
    error::Refusal,
    protocol::{ALPN, REQUEST_LABEL, SESSION_LABEL},
};

/// The largest certificate accepted, in bytes. A self-signed P-256 certificate
/// has less than 512.
pub(crate) const MAXIMUM_CERTIFICATE_LENGTH: usize = 4096;

/// The peer speaks TLS, and not attested session v1: another TLS version, or another ALPN
/// protocol.
///
/// Do: check the port, and use the same release of Adytum on both sides.
///
/// Retry: no
const PROTOCOL_MISMATCH: &str = "protocol-mismatch";

/// Signature schemes of the two kinds of key that sessions use.
const SCHEMES: [SignatureScheme; 2] = [SignatureScheme::ECDSA_NISTP256_SHA256, SignatureScheme::ED25519];

/// Explicit, never the process's default: another library in the process can't
/// change what sessions run on.
static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    Arc::new(CryptoProvider {
        cipher_suites: vec![
            cipher_suite::TLS13_AES_256_GCM_SHA384,
            cipher_suite::TLS13_AES_128_GCM_SHA256,
            cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ],
        kx_groups: vec![kx_group::X25519MLKEM768, kx_group::X25519, kx_group::SECP256R1],
        ..aws_lc_rs::default_provider()
    })
});

/// A key made for sessions, in a self-signed certificate; it lives in memory only.
pub(crate) struct TlsIdentity {
    resolver: Arc<SingleCertAndKey>,
    key_digest: Sha256Digest,
}

impl TlsIdentity {
    pub(crate) fn generate() -> Result<Self, String> {
        let key = SessionKey::generate().ok_or("making a key failed")?;
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, "adytum session");
        let certificate =
            parameters.self_signed(&key).map_err(|e| format!("making a certificate: {e}"))?.der().clone();
        let key_digest = key_digest(&certificate).map_err(|e| format!("reading the new certificate: {e}"))?;
        let certified = CertifiedKey::new(vec![certificate], Arc::new(key));
        Ok(Self { resolver: Arc::new(SingleCertAndKey::from(certified)), key_digest })
    }

    /// SHA-256 of the SubjectPublicKeyInfo.
    pub(crate) fn key_digest(&self) -> Sha256Digest {
        self.key_digest
    }
}

/// SHA-256 of a certificate's SubjectPublicKeyInfo in DER. The parser is the one
/// that verifies the handshake's signature, so both see the same key.
fn key_digest(certificate: &CertificateDer<'_>) -> Result<Sha256Digest, Error> {
    let parsed = ParsedCertificate::try_from(certificate)?;
    Ok(Sha256Digest::of_bytes(&parsed.subject_public_key_info()))
}

/// The server's side: no resumption, no tickets, no early data.
pub(crate) fn server_config(identity: &TlsIdentity) -> Result<ServerConfig, Error> {
    let mut config = ServerConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(Arc::new(AnySingleCertificate))
        .with_cert_resolver(identity.resolver.clone());
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    config.send_half_rtt_data = false;
    // A compressed certificate would be another parser of untrusted bytes.
    config.cert_decompressors = Vec::new();
    config.cert_compressors = Vec::new();
    Ok(config)
}

/// The client's side; without an identity it shows no certificate.
pub(crate) fn client_config(identity: Option<&TlsIdentity>) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnySingleCertificate));
    let mut config = match identity {
        Some(identity) => builder.with_client_cert_resolver(identity.resolver.clone()),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    // Evidence decides who the peer is; a name would only inform observers.
    config.enable_sni = false;
    config.cert_decompressors = Vec::new();
    config.cert_compressors = Vec::new();
    Ok(config)
}

/// The name a client hands to TLS. It is not sent and not checked.
pub(crate) fn server_name() -> ServerName<'static> {
    ServerName::IpAddress(std::net::Ipv4Addr::UNSPECIFIED.into())
}

/// What the attestation needs to know of a finished TLS handshake.
pub(crate) struct TlsFacts {
    /// SHA-256 of the peer's SubjectPublicKeyInfo; `None` without a certificate.
    pub(crate) peer_key: Option<Sha256Digest>,
    /// Goes into report data.
    pub(crate) exporter: Zeroizing<[u8; 32]>,
    /// Requests are signed over it.
    pub(crate) request_binding: Arc<Zeroizing<[u8; 32]>>,
}

impl TlsFacts {
    pub(crate) fn of<Data>(connection: &ConnectionCommon<Data>) -> Result<Self, Refusal> {
        let mismatch = |found: String| {
            Refusal::request(
                PROTOCOL_MISMATCH,
                format!("expected TLS 1.3 with ALPN protocol \"adytum-ra/1\", found {found}"),
            )
        };
        if connection.protocol_version() != Some(ProtocolVersion::TLSv1_3) {
            return Err(mismatch(format!("version {:?}", connection.protocol_version())));
        }
        // TLS itself lets a peer through that names no protocol at all.
        if connection.alpn_protocol() != Some(ALPN) {
            return Err(mismatch(match connection.alpn_protocol() {
                Some(other) => format!("\"{}\"", other.escape_ascii()),
                None => "none: use an attested session's client".to_owned(),
            }));
        }
        let invalid = |e: Error| Refusal::request("attested-tls-failed", e.to_string());
        let peer_key = match connection.peer_certificates() {
            Some([certificate]) => Some(key_digest(certificate).map_err(invalid)?),
            Some([]) | None => None,
            Some(_) => return Err(Refusal::request("attested-tls-failed", "more than one certificate")),
        };
        let export = |label| connection.export_keying_material([0; 32], label, None).map(Zeroizing::new);
        Ok(Self {
            peer_key,
            exporter: export(SESSION_LABEL).map_err(invalid)?,
            request_binding: Arc::new(export(REQUEST_LABEL).map_err(invalid)?),
        })
    }
}

/// Accepts any one certificate of sane size and requires that its key signed
/// this TLS handshake.
#[derive(Debug)]
struct AnySingleCertificate;

#[derive(Debug, thiserror::Error)]
enum CertificateRefused {
    #[error("expected one certificate, found {0}")]
    Chain(usize),
    #[error("expected at most {MAXIMUM_CERTIFICATE_LENGTH} bytes of certificate, found {0}")]
    Length(usize),
    #[error("expected a P-256 or Ed25519 key, found a signature of {0:?}")]
    Scheme(SignatureScheme),
}

impl From<CertificateRefused> for Error {
    fn from(refused: CertificateRefused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

impl AnySingleCertificate {
    fn check(end_entity: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        if !intermediates.is_empty() {
            return Err(CertificateRefused::Chain(1 + intermediates.len()).into());
        }
        if end_entity.len() > MAXIMUM_CERTIFICATE_LENGTH {
            return Err(CertificateRefused::Length(end_entity.len()).into());
        }
        ParsedCertificate::try_from(end_entity).map(drop)
    }

    fn verify_signature(
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        if !SCHEMES.contains(&signed.scheme) {
            return Err(CertificateRefused::Scheme(signed.scheme).into());
        }
        verify_tls13_signature(message, certificate, signed, &PROVIDER.signature_verification_algorithms)
    }

    /// TLS 1.2 is not offered; a peer that gets here anyway goes no further.
    fn refuse_tls12() -> Result<HandshakeSignatureValid, Error> {
        Err(Error::PeerIncompatible(rustls::PeerIncompatible::Tls12NotOfferedOrEnabled))
    }
}

impl ServerCertVerifier for AnySingleCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Self::check(end_entity, intermediates).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}

impl ClientCertVerifier for AnySingleCertificate {
    /// Owners' tools and inference clients have no certificate.
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[RootHint] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Self::check(end_entity, intermediates).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::refuse_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Self::verify_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        SCHEMES.to_vec()
    }
}
