//! An RSA key that is made for one exchange: it signs requests and opens what a source
//! encrypts to it. The private half stays in the cryptographic library, which erases it.
//!
//! Padding is checked by that library in constant time (RUSTSEC-2023-0071 is about others).

use std::fmt;

use aws_lc_rs::{
    encoding::AsDer,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize, OaepAlgorithm, OaepPrivateDecryptingKey, PrivateDecryptingKey},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, UnparsedPublicKey},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::FromDer;
use zeroize::Zeroizing;

/// The label of a public key in PKCS #1 (RFC 8017, A.1.1).
const PUBLIC_KEY: &str = "RSA PUBLIC KEY";

/// The cryptographic library refused; it has no reason to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library made no RSA key or signature")]
pub struct KeyError;

/// An RSA key of 2048 bits.
pub(crate) struct RsaKey {
    pair: KeyPair,
    decrypting: OaepPrivateDecryptingKey,
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey(..)")
    }
}

impl RsaKey {
    /// A fresh key. It takes tens of milliseconds, on a thread that may block.
    pub(crate) async fn generate() -> Result<Self, KeyError> {
        tokio::task::spawn_blocking(Self::generate_now).await.unwrap_or(Err(KeyError))
    }

    fn generate_now() -> Result<Self, KeyError> {
        let decrypting = PrivateDecryptingKey::generate(KeySize::Rsa2048).map_err(|_| KeyError)?;
        let pkcs8 = decrypting.as_der().map_err(|_| KeyError)?;
        let pair = KeyPair::from_pkcs8(pkcs8.as_ref()).map_err(|_| KeyError)?;
        let decrypting = OaepPrivateDecryptingKey::new(decrypting).map_err(|_| KeyError)?;
        Ok(Self { pair, decrypting })
    }

    /// The public half in PEM: PKCS #1, lines of 64 characters, a newline at the end, as
    /// OpenSSL's `PEM_write_bio_RSAPublicKey` writes it.
    pub(crate) fn public_pem(&self) -> String {
        let block = pem::Pem::new(PUBLIC_KEY, self.pair.public_key().as_ref());
        pem::encode_config(&block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
    }

    /// The public half as the one key of a JWK set (RFC 7517), named by its thumbprint (RFC
    /// 7638), to encrypt to.
    pub(crate) fn jwk_set(&self) -> Result<String, KeyError> {
        let (modulus, exponent) = numbers(self.pair.public_key().as_ref()).ok_or(KeyError)?;
        let (n, e) = (URL_SAFE_NO_PAD.encode(modulus), URL_SAFE_NO_PAD.encode(exponent));
        let thumbprint = format!(r#"{{"e":"{e}","kty":"RSA","n":"{n}"}}"#);
        let kid = URL_SAFE_NO_PAD.encode(Sha256::digest(thumbprint.as_bytes()));
        Ok(format!(r#"{{"keys":[{{"kty":"RSA","kid":"{kid}","n":"{n}","e":"{e}","key_ops":["encrypt"]}}]}}"#))
    }

    /// A signature (PKCS #1 v1.5, SHA-256) of 256 bytes.
    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map_err(|_| KeyError)?;
        Ok(signature)
    }

    /// Opens a block that was encrypted to this key; `None` if it was not.
    pub(crate) fn decrypt(
        &self,
        algorithm: &'static OaepAlgorithm,
        block: &[u8],
    ) -> Option<Zeroizing<Vec<u8>>> {
        let mut buffer = Zeroizing::new(vec![0; self.decrypting.min_output_size()]);
        let length = self.decrypting.decrypt(algorithm, block, &mut buffer, None).ok()?.len();
        buffer.get(..length).map(|plain| Zeroizing::new(plain.to_vec()))
    }
}

/// Modulus and exponent of a public key in DER (RFC 8017, A.1.1), big-endian, without leading
/// zeros.
fn numbers(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (sequence, _) = x509_parser::der_parser::ber::Header::from_der(der).ok()?;
    let (rest, modulus) = x509_parser::der_parser::der::parse_der_integer(sequence).ok()?;
    let (_, exponent) = x509_parser::der_parser::der::parse_der_integer(rest).ok()?;
    let unsigned = |bytes: &'_ [u8]| bytes.iter().position(|byte| *byte != 0);
    let (modulus, exponent) = (modulus.content.as_slice().ok()?, exponent.content.as_slice().ok()?);
    Some((modulus.get(unsigned(modulus)?..)?, exponent.get(unsigned(exponent)?..)?))
}

/// Reads a public key in PEM: PKCS #1 only, one block. Gives it in DER.
pub(crate) fn public_key(text: &str) -> Result<Vec<u8>, String> {
    match pem::parse_many(text).as_deref() {
        Ok([block]) if block.tag() == PUBLIC_KEY => Ok(block.contents().to_vec()),
        Ok([block]) => Err(format!("a PEM block {:?}", block.tag())),
        Ok(blocks) => Err(format!("{} PEM blocks", blocks.len())),
        Err(_) => Err("a text that is not PEM".to_owned()),
    }
}

/// Is this the signature (PKCS #1 v1.5, SHA-256) of the holder of that key over the message?
pub(crate) fn is_signed(public_key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public_key).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_signs_and_its_public_half_is_pkcs_1() {
        let key = RsaKey::generate().await.unwrap();
        let pem = key.public_pem();
        assert!(pem.starts_with("-----BEGIN RSA PUBLIC KEY-----\nMIIB"), "{pem}");
        assert!(pem.ends_with("\n-----END RSA PUBLIC KEY-----\n") && !pem.contains('\r'), "{pem}");
        assert!(pem.lines().all(|line| line.len() <= 64));
        let public = public_key(&pem).unwrap();
        let signature = key.sign(b"message").unwrap();
        assert!(is_signed(&public, b"message", &signature));
        assert!(!is_signed(&public, b"another", &signature));
        assert!(!is_signed(&public, b"message", &[]));
        let other = RsaKey::generate().await.unwrap();
        assert!(!is_signed(&public, b"message", &other.sign(b"message").unwrap()));
    }

    #[test]
    fn other_keys_are_named() {
        for (text, expected) in [
            ("", "0 PEM blocks"),
            ("x", "0 PEM blocks"),
            ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "PUBLIC KEY"),
        ] {
            assert!(public_key(text).unwrap_err().contains(expected), "{text:?}");
        }
    }
}
