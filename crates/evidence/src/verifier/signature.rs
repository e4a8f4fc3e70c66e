//! The cryptography that evidence is verified with: aws-lc-rs, as everywhere
//! else in this project, with a memory for what it has verified before.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    digest,
    error::Unspecified,
    signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey, VerificationAlgorithm},
};
use dcap_qvl::{
    config::{Config, CryptoProvider},
    signature::DerSigEncoder,
    x509::X509CertBackend,
};
use rustls::pki_types::{AlgorithmIdentifier, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::certificate_name::printable;

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

/// Has this key signed this message?
///
/// Of the nine signatures behind a quote eight are the same for every quote of
/// a platform: those of certificates, CRLs, TCB info, QE identity and the QE
/// report. A signature once found good is recognised by a digest over key,
/// message and signature, and not computed again. Whether a *valid* signature
/// still counts (dates, revocation, TCB) is not remembered: it is decided anew
/// each time. A key is used with one algorithm only, so that is not in the digest.
pub(super) fn verify(
    algorithm: &'static dyn VerificationAlgorithm,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unspecified> {
    let triple = Triple::of(public_key, message, signature);
    if lock(&VERIFIED).contains(&triple) {
        return Ok(());
    }
    UnparsedPublicKey::new(algorithm, public_key).verify(message, signature)?;
    lock(&VERIFIED).insert(triple);
    Ok(())
}

impl SignatureVerificationAlgorithm for EcdsaP256Sha256 {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        verify(&ECDSA_P256_SHA256_ASN1, public_key, message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_P256
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::ECDSA_SHA256
    }
}

static VERIFIED: Mutex<Verified> = Mutex::new(Verified::new());

fn lock(verified: &Mutex<Verified>) -> std::sync::MutexGuard<'_, Verified> {
    // A set is whole after a panic: at worst an entry is missing.
    verified.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 over key, message and signature, each after its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Triple([u8; 32]);

impl Triple {
    fn of(public_key: &[u8], message: &[u8], signature: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for field in [public_key, message, signature] {
            context.update(&(field.len() as u64).to_be_bytes());
            context.update(field);
        }
        let mut output = [0; 32];
        output.copy_from_slice(context.finish().as_ref());
        Self(output)
    }
}

/// Signatures found good. The quotes' own signatures pass through once each, so
/// there are two generations: what is not asked for again goes with the older.
struct Verified {
    young: Option<HashSet<Triple>>,
    old: Option<HashSet<Triple>>,
}

/// Triples in a generation: 128 KiB each at most.
const GENERATION: usize = 2048;

impl Verified {
    const fn new() -> Self {
        Self { young: None, old: None }
    }

    fn contains(&mut self, triple: &Triple) -> bool {
        if self.young.as_ref().is_some_and(|young| young.contains(triple)) {
            return true;
        }
        let found = self.old.as_ref().is_some_and(|old| old.contains(triple));
        if found {
            self.insert(*triple);
        }
        found
    }

    fn insert(&mut self, triple: Triple) {
        let young = self.young.get_or_insert_default();
        if young.len() >= GENERATION {
            self.old = Some(std::mem::take(young));
        }
        young.insert(triple);
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

/// A certificate and nothing after it.
pub(super) fn x509(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok((rest, _)) => Err(format!("{} bytes follow the certificate", rest.len())),
        Err(error) => Err(format!("not a certificate: {error}")),
    }
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

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let mut verified = Verified::new();
        let triple = |number: usize| Triple::of(b"", b"", &number.to_be_bytes());
        verified.insert(triple(0));
        for number in 1..GENERATION * 5 {
            verified.insert(triple(number));
            if number % 100 == 0 {
                assert!(verified.contains(&triple(0)), "{number}");
            }
        }
        assert!(!verified.contains(&triple(1)));
        let kept = verified.young.iter().chain(&verified.old).map(HashSet::len).sum::<usize>();
        assert!(kept <= 2 * GENERATION, "{kept}");
    }
}
