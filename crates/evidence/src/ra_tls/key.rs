//! A certificate's key, and its digests as evidence has them.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;

use crate::measurement::Sha256Digest;

/// Letters in a line of PEM (RFC 7468, section 2).
const LINE: usize = 64;

/// A SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PublicKeyInfo {
    der: Vec<u8>,
    bits: Vec<u8>,
}

impl PublicKeyInfo {
    pub(super) fn of(certificate: &X509Certificate<'_>) -> Self {
        let key = certificate.public_key();
        Self { der: key.raw.to_vec(), bits: key.subject_public_key.data.to_vec() }
    }

    pub(super) fn der(&self) -> &[u8] {
        &self.der
    }

    /// The key in PEM, with the NUL at its end that the C programs hash with it.
    fn pem_with_nul(&self) -> String {
        let letters = STANDARD.encode(&self.der);
        let mut text = String::from("-----BEGIN PUBLIC KEY-----\n");
        let mut rest = letters.as_str();
        while !rest.is_empty() {
            // Base64 is ASCII, so it can be cut anywhere.
            let (line, more) = rest.split_at_checked(LINE).unwrap_or((rest, ""));
            text.push_str(line);
            text.push('\n');
            rest = more;
        }
        text.push_str("-----END PUBLIC KEY-----\n\0");
        text
    }
}

/// What of a certificate's key the evidence has the digest of. It is SHA-256 in each case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyDigest {
    /// The SubjectPublicKeyInfo in DER. In the interoperable form its digest is among
    /// claims, and may be SHA-384 or SHA-512.
    PublicKeyInfo,
    /// The contents of its BIT STRING: for RSA, the RSAPublicKey of PKCS#1.
    KeyBits,
    /// Its text in PEM, as a C string with the NUL at its end.
    PemText,
}

impl KeyDigest {
    pub(super) fn of(self, key: &PublicKeyInfo) -> Sha256Digest {
        let digest = match self {
            Self::PublicKeyInfo => Sha256::digest(&key.der),
            Self::KeyBits => Sha256::digest(&key.bits),
            Self::PemText => Sha256::digest(key.pem_with_nul()),
        };
        Sha256Digest(digest.into())
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{KeyPair, PublicKeyData as _};

    use super::*;

    #[test]
    fn the_text_is_the_one_that_others_write() {
        let key = KeyPair::generate().unwrap();
        let info = PublicKeyInfo { der: key.subject_public_key_info(), bits: key.der_bytes().to_vec() };
        let written = key.public_key_pem().replace("\r\n", "\n");
        assert_eq!(info.pem_with_nul(), format!("{}\n\0", written.trim_end()));
        assert_ne!(KeyDigest::PublicKeyInfo.of(&info), KeyDigest::KeyBits.of(&info));
    }
}
