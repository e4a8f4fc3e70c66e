//! Certificates whose key is made here and never leaves: only a request (PKCS#10)
//! with the public key goes to the broker, which issues a certificate for it.

use std::fmt::Write;

use adytum_evidence::clock::UnixSeconds;
use aws_lc_rs::{
    encoding::{AsDer, EcPrivateKeyRfc5915Der},
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{CertificateParams, DistinguishedName};
use x509_parser::prelude::{FromDer, X509Certificate};
use zeroize::Zeroizing;

/// The most certificates in a chain.
const LONGEST_CHAIN: usize = 8;

/// Characters in a line of PEM (RFC 7468).
const LINE: usize = 64;

/// The cryptographic library refused; it has no reason to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cryptographic library made no key or request for a certificate")]
pub struct KeyError;

/// A key made for one request. Its private half is in the cryptographic library,
/// which erases it, until it is asked for.
pub(crate) struct CertificateKey(EcdsaKeyPair);

impl CertificateKey {
    /// A fresh P-256 key.
    pub(crate) fn generate() -> Result<Self, KeyError> {
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).map(Self).map_err(|_| KeyError)
    }

    /// The request in DER: the public key and the proof that the private one is
    /// here. The broker decides names, usages and lifetime, so it has none.
    pub(crate) fn request(&self) -> Result<Vec<u8>, KeyError> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        let request = parameters.serialize_request(&RequestKey(&self.0)).map_err(|_| KeyError)?;
        Ok(request.der().to_vec())
    }

    /// The private key in PEM (RFC 5915), as every TLS library reads it.
    pub(crate) fn private_key(&self) -> Result<Zeroizing<String>, KeyError> {
        let der: EcPrivateKeyRfc5915Der<'_> = self.0.private_key().as_der().map_err(|_| KeyError)?;
        Ok(pem("EC PRIVATE KEY", der.as_ref()))
    }

    /// Reads the chain that the broker issued, leaf first: it must be for this
    /// key. Says for how long.
    pub(crate) fn check(&self, chain: &[u8]) -> Result<Validity, String> {
        let text = std::str::from_utf8(chain).map_err(|_| "it is not PEM".to_owned())?;
        let blocks = pem::parse_many(text).map_err(|_| "it is not PEM".to_owned())?;
        if blocks.is_empty() || blocks.len() > LONGEST_CHAIN {
            return Err(format!("it has {} PEM blocks; expected 1 to {LONGEST_CHAIN}", blocks.len()));
        }
        if let Some(other) = blocks.iter().find(|block| block.tag() != "CERTIFICATE") {
            return Err(format!("it has a PEM block {:?}; expected certificates only", other.tag()));
        }
        let leaf = blocks.first().map(pem::Pem::contents).unwrap_or_default();
        let (_, leaf) = X509Certificate::from_der(leaf).map_err(|error| error.to_string())?;
        if leaf.public_key().subject_public_key.data.as_ref() != self.0.public_key().as_ref() {
            return Err("its first certificate is for another key".to_owned());
        }
        let seconds = |time: i64| UnixSeconds(u64::try_from(time).unwrap_or(0));
        let validity = leaf.validity();
        Ok(Validity {
            not_before: seconds(validity.not_before.timestamp()),
            not_after: seconds(validity.not_after.timestamp()),
        })
    }
}

/// From when to when a certificate is valid, by the broker's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: UnixSeconds,
    pub not_after: UnixSeconds,
}

/// Lets rcgen sign a request with the key.
struct RequestKey<'a>(&'a EcdsaKeyPair);

impl rcgen::PublicKeyData for RequestKey<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for RequestKey<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature =
            self.0.sign(&SystemRandom::new(), message).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature.as_ref().to_vec())
    }
}

/// PEM in one allocation, so that no part of a key is left behind elsewhere.
fn pem(label: &str, der: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(STANDARD.encode(der));
    let lines = encoded.len().div_ceil(LINE);
    let mut text = Zeroizing::new(String::with_capacity(encoded.len() + lines + 2 * label.len() + 64));
    // Writing to a string can't fail.
    let _ = writeln!(text, "-----BEGIN {label}-----");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    let _ = writeln!(text, "-----END {label}-----");
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::fixture::Authority;

    #[test]
    fn a_certificate_is_accepted_for_the_key_it_was_asked_for_only() {
        let (authority, key) = (Authority::new(), CertificateKey::generate().unwrap());
        let chain = authority.issue(&key.request().unwrap(), 1_000_000, Duration::from_secs(600));
        let validity = key.check(chain.as_bytes()).unwrap();
        assert_eq!(
            validity,
            Validity { not_before: UnixSeconds(1_000_000), not_after: UnixSeconds(1_000_600) }
        );
        let other = CertificateKey::generate().unwrap();
        assert!(other.check(chain.as_bytes()).unwrap_err().contains("another key"));
        assert!(key.check(b"").is_err() && key.check(b"\xff").is_err());
        let smuggled = format!("{chain}{}", other.private_key().unwrap().as_str());
        assert!(key.check(smuggled.as_bytes()).unwrap_err().contains("EC PRIVATE KEY"));
    }

    #[test]
    fn the_private_key_is_what_tls_libraries_read() {
        let key = CertificateKey::generate().unwrap();
        let text = key.private_key().unwrap();
        assert!(text.lines().all(|line| line.len() <= LINE));
        let block = pem::parse(text.as_bytes()).unwrap();
        assert_eq!(block.tag(), "EC PRIVATE KEY");
        let read =
            EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, block.contents()).unwrap();
        assert_eq!(read.public_key().as_ref(), key.0.public_key().as_ref());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let key = CertificateKey::generate().unwrap();
            prop_assert!(key.check(&bytes).is_err());
            let framed = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", STANDARD.encode(&bytes));
            prop_assert!(key.check(framed.as_bytes()).is_err());
        }

        #[test]
        fn a_changed_chain_is_for_this_key_or_refused(position in 0usize..2000, byte in 0u8..128) {
            let (authority, key) = (Authority::new(), CertificateKey::generate().unwrap());
            let chain = authority.issue(&key.request().unwrap(), 1_000_000, Duration::from_secs(600));
            let mut bytes = chain.into_bytes();
            let length = bytes.len();
            bytes[position % length] = byte;
            let _ = key.check(&bytes);
        }
    }
}
