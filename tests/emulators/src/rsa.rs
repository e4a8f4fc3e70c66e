//! The RSA keys of servers.

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize, OaepAlgorithm, OaepPublicEncryptingKey, PublicEncryptingKey, PublicKey},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};

pub(crate) fn generate() -> KeyPair {
    KeyPair::generate(KeySize::Rsa2048).unwrap()
}

/// PKCS #1 in PEM.
pub(crate) fn pem(key: &KeyPair) -> String {
    labelled("RSA PUBLIC KEY", key.public_key().as_ref())
}

pub(crate) fn labelled(label: &str, der: &[u8]) -> String {
    let configuration = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new(label, der), configuration)
}

pub(crate) fn sign(key: &KeyPair, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// Encrypts to a key in PKCS #1 or X.509 DER.
pub(crate) fn encrypt(public: &[u8], algorithm: &'static OaepAlgorithm, plain: &[u8]) -> Vec<u8> {
    let spki: PublicKeyX509Der<'_> = PublicKey::from_der(public).unwrap().as_der().unwrap();
    let key = OaepPublicEncryptingKey::new(PublicEncryptingKey::from_der(spki.as_ref()).unwrap()).unwrap();
    let mut block = vec![0; key.ciphertext_size()];
    key.encrypt(algorithm, plain, &mut block, None).unwrap();
    block
}
