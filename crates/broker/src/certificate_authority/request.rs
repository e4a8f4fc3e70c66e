//! Certificate requests (PKCS#10): the public key in one, and the proof that its sender
//! holds the private key. Names, usages and extensions that it asks for are ignored: the
//! manifest decides the contents of a certificate.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey, VerificationAlgorithm,
};
use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData, SignatureAlgorithm,
};
use x509_parser::{
    certification_request::X509CertificationRequest,
    oid_registry::{
        OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA256,
        OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, Oid,
    },
    prelude::FromDer as _,
    x509::AlgorithmIdentifier,
};

/// The longest request, in bytes.
pub const MAXIMUM_REQUEST_LENGTH: usize = 4096;

/// Why bytes are no certificate request that is answered.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The certificate request has more than [`MAXIMUM_REQUEST_LENGTH`] bytes.
    ///
    /// Do: ask with a request that has no more than a key and its signature.
    #[error("the certificate request has {found} bytes; at most {MAXIMUM_REQUEST_LENGTH} are allowed")]
    TooLong { found: usize },
    /// The certificate request is not one PKCS#10 request in DER.
    ///
    /// Do: send one request in DER, not in PEM.
    #[error("the certificate request is not one PKCS#10 request in DER; send one request, not in PEM")]
    Malformed,
    /// The key or the signature of the certificate request has an algorithm that the broker does
    /// not take.
    ///
    /// Do: use a key for P-256, P-384 or Ed25519.
    #[error(
        "the certificate request has a key with the algorithm {found}; expected P-256, P-384 or Ed25519, \
         signed with SHA-256, SHA-384 or Ed25519 in this order"
    )]
    KeyUnsupported {
        /// Object identifiers of the key and of the signature.
        found: String,
    },
    /// The certificate request is not signed with the private key that belongs to it.
    ///
    /// Do: sign the request with its own private key.
    #[error(
        "the certificate request is not signed with the private key of the public key in it; sign it with that \
         key"
    )]
    Signature,
}

impl RequestError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TooLong { .. } => "certificate-request-too-long",
            Self::Malformed => "certificate-request-malformed",
            Self::KeyUnsupported { .. } => "certificate-request-key-unsupported",
            Self::Signature => "certificate-request-signature",
        }
    }
}

/// A public key whose private key the peer holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedKey {
    bytes: Vec<u8>,
    algorithm: &'static SignatureAlgorithm,
}

impl RequestedKey {
    /// Takes the public key out of a request in DER and verifies the signature made
    /// with its private key.
    pub fn parse(der: &[u8]) -> Result<Self, RequestError> {
        if der.len() > MAXIMUM_REQUEST_LENGTH {
            return Err(RequestError::TooLong { found: der.len() });
        }
        let Ok((&[], request)) = X509CertificationRequest::from_der(der) else {
            return Err(RequestError::Malformed);
        };
        let info = &request.certification_request_info;
        let key = &info.subject_pki;
        let (algorithm, verification) = supported(&key.algorithm, &request.signature_algorithm)?;
        let bytes = key.subject_public_key.data.to_vec();
        UnparsedPublicKey::new(verification, &bytes)
            .verify(info.raw, &request.signature_value.data)
            .map_err(|_| RequestError::Signature)?;
        Ok(Self { bytes, algorithm })
    }
}

type Algorithms = (&'static SignatureAlgorithm, &'static dyn VerificationAlgorithm);

fn supported(
    key: &AlgorithmIdentifier<'_>,
    signature: &AlgorithmIdentifier<'_>,
) -> Result<Algorithms, RequestError> {
    let curve = key.parameters.as_ref().and_then(|parameters| parameters.as_oid().ok());
    let is = |kind: &Oid<'_>, on: Option<&Oid<'_>>, with: &Oid<'_>| {
        key.algorithm == *kind && curve.as_ref() == on && signature.algorithm == *with
    };
    if is(&OID_KEY_TYPE_EC_PUBLIC_KEY, Some(&OID_EC_P256), &OID_SIG_ECDSA_WITH_SHA256) {
        return Ok((&PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_ASN1));
    }
    if is(&OID_KEY_TYPE_EC_PUBLIC_KEY, Some(&OID_NIST_EC_P384), &OID_SIG_ECDSA_WITH_SHA384) {
        return Ok((&PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_ASN1));
    }
    if is(&OID_SIG_ED25519, None, &OID_SIG_ED25519) && key.parameters.is_none() {
        return Ok((&PKCS_ED25519, &ED25519));
    }
    Err(RequestError::KeyUnsupported {
        found: format!("{}, signed with {}", key.algorithm, signature.algorithm),
    })
}

impl PublicKeyData for RequestedKey {
    fn der_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.algorithm
    }
}
