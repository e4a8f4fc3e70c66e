//! The cryptography that DCAP quotes are verified with: aws-lc-rs behind `dcap-qvl`'s
//! interface.

use aws_lc_rs::{digest, signature::ECDSA_P256_SHA256_ASN1};
use dcap_qvl::{
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    x509::X509CertBackend,
};
use rustls_pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};

use crate::{
    certificate::{printable, x509},
    signature,
};

/// `dcap-qvl`'s configuration: its own readers, our cryptography.
pub(crate) struct Cryptography;

impl Config for Cryptography {
    type X509 = X509CertBackend;
    type SigEncoder = DerSigEncoder;
    type Crypto = AwsLc;
}

/// aws-lc-rs behind `dcap-qvl`'s interface.
pub(crate) struct AwsLc;

impl CryptoProvider for AwsLc {
    fn sig_algo() -> &'static dyn SignatureVerificationAlgorithm {
        &EcdsaP256Sha256
    }

    fn sha256(data: &[u8]) -> [u8; 32] {
        hash(&digest::SHA256, data)
    }

    fn sha384(data: &[u8]) -> [u8; 48] {
        hash(&digest::SHA384, data)
    }
}

fn hash<const LENGTH: usize>(algorithm: &'static digest::Algorithm, data: &[u8]) -> [u8; LENGTH] {
    let mut output = [0; LENGTH];
    output.copy_from_slice(digest::digest(algorithm, data).as_ref());
    output
}

/// ECDSA on P-256 with SHA-256, the one algorithm of Intel's attestation.
#[derive(Debug)]
struct EcdsaP256Sha256;

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        signature::verify(&ECDSA_P256_SHA256_ASN1, public_key, message, signature)
            .map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

/// Has the key in `issuer` signed `certificate` (both in DER, ECDSA P-256)?
pub(super) fn issued_by(certificate: &[u8], issuer: &[u8]) -> Result<(), String> {
    let certificate = x509(certificate)?;
    let issuer = x509(issuer)?;
    if certificate.issuer().as_raw() != issuer.subject().as_raw() {
        return Err(format!(
            "{} is issued by {}",
            printable(certificate.subject()),
            printable(certificate.issuer())
        ));
    }
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return Err(format!("{} names two signature algorithms", printable(certificate.subject())));
    }
    EcdsaP256Sha256
        .verify_signature(
            &issuer.public_key().subject_public_key.data,
            certificate.tbs_certificate.as_ref(),
            &certificate.signature_value.data,
        )
        .map_err(|_| {
            format!("{} is not signed by {}", printable(certificate.subject()), printable(issuer.subject()))
        })
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::{
        rand::SystemRandom,
        signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
    };

    use super::*;

    #[test]
    fn what_was_verified_once_vouches_for_nothing_else() {
        let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let public = key.public_key().as_ref();
        let signature = key.sign(&SystemRandom::new(), b"message").unwrap();
        let signature = signature.as_ref();
        for _ in 0..2 {
            assert!(EcdsaP256Sha256.verify_signature(public, b"message", signature).is_ok());
            assert!(EcdsaP256Sha256.verify_signature(public, b"messagE", signature).is_err());
            let other = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
            let other = other.public_key().as_ref();
            assert!(EcdsaP256Sha256.verify_signature(other, b"message", signature).is_err());
            let mut altered = signature.to_vec();
            *altered.last_mut().unwrap() ^= 1;
            assert!(EcdsaP256Sha256.verify_signature(public, b"message", &altered).is_err());
        }
    }
}
