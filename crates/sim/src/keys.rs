//! The platform's signing keys: ECDSA on P-256 throughout, as Intel's are.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};
use rcgen::KeyPair;
use zeroize::Zeroizing;

use crate::error::SimError;

/// A key that signs certificates and lists (in DER) as well as quotes and JSON
/// documents (r || s).
pub(crate) struct SigningKey {
    certificates: KeyPair,
    raw: EcdsaKeyPair,
}

impl SigningKey {
    pub(crate) fn generate() -> Result<Self, SimError> {
        let pair = KeyPair::generate().map_err(|error| SimError::cryptography("generate a key", error))?;
        Self::from_pair(pair).map_err(|reason| SimError::cryptography("generate a key", reason))
    }

    /// From PKCS #8 in PEM. The error says what is wrong with the text.
    pub(crate) fn from_pem(text: &str) -> Result<Self, String> {
        Self::from_pair(KeyPair::from_pem(text).map_err(|error| error.to_string())?)
    }

    fn from_pair(certificates: KeyPair) -> Result<Self, String> {
        let raw = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, certificates.serialized_der())
            .map_err(|error| format!("a key that is not ECDSA on P-256 ({error})"))?;
        Ok(Self { certificates, raw })
    }

    /// PKCS #8 in PEM.
    pub(crate) fn to_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.certificates.serialize_pem())
    }

    /// For signing certificates and revocation lists.
    pub(crate) fn pair(&self) -> &KeyPair {
        &self.certificates
    }

    /// The public key as a point, 0x04 || x || y.
    pub(crate) fn public_point(&self) -> &[u8] {
        self.certificates.public_key_raw()
    }

    /// The signature r || s over SHA-256 of the message.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<[u8; 64], SimError> {
        self.raw
            .sign(&SystemRandom::new(), message)
            .ok()
            .and_then(|signature| signature.as_ref().try_into().ok())
            .ok_or_else(|| SimError::cryptography("sign", "the ECDSA implementation refused"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_survives_its_text_form() {
        let key = SigningKey::generate().unwrap();
        let read = SigningKey::from_pem(&key.to_pem()).unwrap();
        assert_eq!(key.public_point(), read.public_point());
        assert_eq!(key.public_point().len(), 65);
    }

    #[test]
    fn other_texts_are_refused() {
        assert!(SigningKey::from_pem("").is_err());
        let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
        assert!(SigningKey::from_pem(&p384.serialize_pem()).is_err());
    }
}
