//! An attestation service that signs whatever a test wants.

use std::sync::LazyLock;

use adytum_evidence::{
    clock::UnixSeconds,
    jwt::{Token, TokenKeys},
};
use aws_lc_rs::{
    encoding::AsDer as _,
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair as RsaKeyPair, KeySize},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
        RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

pub(crate) const ISSUER: &str = "https://attest.example.com";
pub(crate) const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
pub(crate) const KID: &str = "the service's key";

/// Made once: a key of RSA takes its time.
static RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static OTHER_RSA: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
static EC: LazyLock<EcdsaKeyPair> =
    LazyLock::new(|| EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap());
static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(crate) fn base64url(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn rsa(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding, message: &[u8]) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// Signs by the name of an algorithm, with the service's key of its kind.
pub(crate) fn sign(algorithm: &str, message: &[u8]) -> Vec<u8> {
    match algorithm {
        "RS256" => rsa(&RSA, &RSA_PKCS1_SHA256, message),
        "RS384" => rsa(&RSA, &RSA_PKCS1_SHA384, message),
        "PS256" => rsa(&RSA, &RSA_PSS_SHA256, message),
        "ES256" => EC.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
        "EdDSA" => ED.sign(message).as_ref().to_vec(),
        // Who confuses a public key with a shared secret verifies this.
        "HS256" => {
            let public = RSA.public_key().as_der().unwrap();
            let key = hmac::Key::new(hmac::HMAC_SHA256, public.as_ref());
            hmac::sign(&key, message).as_ref().to_vec()
        }
        "none" => Vec::new(),
        other => panic!("{other}"),
    }
}

/// Signs with a key that nobody has pinned.
pub(crate) fn sign_as_another(message: &[u8]) -> Vec<u8> {
    rsa(&OTHER_RSA, &RSA_PKCS1_SHA256, message)
}

fn rsa_numbers(key: &RsaKeyPair) -> (String, String) {
    let public = key.public_key();
    let (n, e) = (public.modulus(), public.exponent());
    (base64url(n.big_endian_without_leading_zero()), base64url(e.big_endian_without_leading_zero()))
}

pub(crate) fn rsa_jwk(kid: &str) -> Value {
    let (n, e) = rsa_numbers(&RSA);
    json!({ "kty": "RSA", "kid": kid, "n": n, "e": e })
}

pub(crate) fn ec_jwk(kid: &str) -> Value {
    let point = EC.public_key().as_ref();
    json!({ "kty": "EC", "crv": "P-256", "kid": kid, "x": base64url(&point[1..33]), "y": base64url(&point[33..]) })
}

pub(crate) fn ed_jwk(kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": base64url(ED.public_key().as_ref()) })
}

pub(crate) fn keys(jwks: &[Value]) -> TokenKeys {
    TokenKeys::parse(json!({ "keys": jwks }).to_string().as_bytes()).unwrap()
}

/// The service's keys: one of each kind.
pub(crate) fn pinned() -> TokenKeys {
    keys(&[rsa_jwk(KID), ec_jwk("ec"), ed_jwk("ed")])
}

/// Claims that count now.
pub(crate) fn payload() -> Value {
    json!({ "iss": ISSUER, "iat": NOW.0 - 10, "nbf": NOW.0 - 10, "exp": NOW.0 + 3600 })
}

/// The part of a token that is signed.
pub(crate) fn unsigned(header: &Value, payload: &Value) -> String {
    format!("{}.{}", base64url(header.to_string()), base64url(payload.to_string()))
}

pub(crate) fn with_signature(unsigned: &str, signature: &[u8]) -> String {
    format!("{unsigned}.{}", base64url(signature))
}

/// A token, signed as its header says.
pub(crate) fn signed(algorithm: &str, kid: &str, payload: &Value) -> String {
    let unsigned = unsigned(&json!({ "alg": algorithm, "kid": kid, "typ": "JWT" }), payload);
    let signature = sign(algorithm, unsigned.as_bytes());
    with_signature(&unsigned, &signature)
}

pub(crate) fn parse(text: &str) -> Token {
    Token::parse(text).unwrap()
}
