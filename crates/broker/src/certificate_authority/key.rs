//! The authority's key: ECDSA on P-256. The library that holds it wipes it.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm, SigningKey};
use zeroize::Zeroizing;

use super::AuthorityError;

/// A private key that certifies others.
pub(super) struct AuthorityKey(EcdsaKeyPair);

impl AuthorityKey {
    pub(super) fn generate() -> Result<Self, AuthorityError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self).map_err(|_| failed("make a key"))
    }

    /// From PKCS #8 in DER.
    pub(super) fn from_der(der: &[u8]) -> Result<Self, AuthorityError> {
        let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, der);
        pair.map(Self).map_err(|_| AuthorityError::Record { reason: "its key is no P-256 key".to_owned() })
    }

    /// PKCS #8 in DER.
    pub(super) fn to_der(&self) -> Result<Zeroizing<Vec<u8>>, AuthorityError> {
        let der = self.0.to_pkcs8v1().map_err(|_| failed("write its key"))?;
        Ok(Zeroizing::new(der.as_ref().to_vec()))
    }
}

fn failed(what: &'static str) -> AuthorityError {
    AuthorityError::Cryptography { what, reason: "the ECDSA implementation refused".to_owned() }
}

impl PublicKeyData for AuthorityKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

impl SigningKey for AuthorityKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RingUnspecified)?;
        Ok(signature.as_ref().to_vec())
    }
}
