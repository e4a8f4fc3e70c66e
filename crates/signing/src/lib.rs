//! Owners' keys and signatures: Ed25519 (RFC 8032). A signature is for one
//! [`Purpose`]; which owners must agree to what is the subject of
//! `adytum-governance`.

#![forbid(unsafe_code)]

use std::{fmt, str::FromStr};

use adytum_evidence::identity::LengthPrefixed;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Serialize};
use sha2::Sha512;
use zeroize::Zeroizing;

const TEXT_PREFIX: &str = "ed25519:";
const PEM_LABEL: &str = "PRIVATE KEY";

/// What a signature is about. A signature made for one purpose never passes for
/// another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// A manifest: fields genesis, version, digest of the text.
    Manifest,
    /// A command to a broker: see docs/protocol.md for the fields.
    Command,
    /// A sealed model's statement.
    Seal,
    /// Leave for a broker to hand its root key over: fields genesis, digest of the
    /// text.
    Upgrade,
    /// A service: fields genesis, version of the manifest, revision, digest of the text.
    Service,
    /// That a broker's state is the newest: see docs/protocol.md for the fields.
    Confirmation,
    /// That a newer state of a broker is given up for an older one: the same fields.
    Rollback,
}

impl Purpose {
    fn domain(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"adytum manifest v1",
            Self::Command => b"adytum owner command v1",
            Self::Seal => b"adytum seal v1",
            Self::Service => b"adytum service v1",
            Self::Upgrade => b"adytum upgrade authorisation v1",
            Self::Confirmation => b"adytum state confirmation v1",
            Self::Rollback => b"adytum accepted rollback v1",
        }
    }

    /// The bytes that are signed: SHA-512 over the length-prefixed domain and
    /// fields.
    fn message(self, fields: &[&[u8]]) -> [u8; 64] {
        let mut hasher = LengthPrefixed::<Sha512>::new();
        hasher.field(self.domain());
        for field in fields {
            hasher.field(field);
        }
        hasher.finish().into()
    }
}

/// An owner's public key. Its text form is `ed25519:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct OwnerPublicKey(pub [u8; 32]);

impl OwnerPublicKey {
    /// Verifies a signature over these fields.
    pub fn verify(
        &self,
        purpose: Purpose,
        fields: &[&[u8]],
        signature: &OwnerSignature,
    ) -> Result<(), KeyError> {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&purpose.message(fields), &signature.0)
            .map_err(|_| KeyError::Signature { signer: *self })
    }
}

impl fmt::Display for OwnerPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{TEXT_PREFIX}{}", hex::encode(self.0)))
    }
}

impl fmt::Debug for OwnerPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerPublicKey({self})")
    }
}

impl FromStr for OwnerPublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        text.strip_prefix(TEXT_PREFIX)
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .ok_or_else(|| KeyError::PublicKeyText { found: text.chars().take(80).collect() })?;
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for OwnerPublicKey {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        text.parse()
    }
}

impl From<OwnerPublicKey> for String {
    fn from(key: OwnerPublicKey) -> Self {
        key.to_string()
    }
}

impl TryFrom<&[u8]> for OwnerPublicKey {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Length {
            what: "public key",
            expected: 32,
            found: bytes.len(),
        })
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct OwnerSignature(pub [u8; 64]);

impl TryFrom<&[u8]> for OwnerSignature {
    type Error = KeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, KeyError> {
        bytes.try_into().map(Self).map_err(|_| KeyError::Length {
            what: "signature",
            expected: 64,
            found: bytes.len(),
        })
    }
}

impl fmt::Debug for OwnerSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerSignature({})", hex::encode(self.0))
    }
}

/// An owner's signing key. It prints as its public key only.
pub struct OwnerSigningKey(Ed25519KeyPair);

impl OwnerSigningKey {
    /// A new key from the system's random generator.
    pub fn generate() -> Result<Self, KeyError> {
        Ed25519KeyPair::generate().map(Self).map_err(|_| KeyError::Generate)
    }

    /// Reads a PKCS #8 key in PEM (RFC 5958, RFC 8410), as `openssl genpkey
    /// -algorithm ed25519` writes it too.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let malformed = |reason: String| KeyError::PrivateKey { reason };
        let document = pem::parse(text).map_err(|error| malformed(error.to_string()))?;
        if document.tag() != PEM_LABEL {
            return Err(malformed(format!("PEM label {:?}", document.tag())));
        }
        let der = Zeroizing::new(document.into_contents());
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der)
            .map(Self)
            .map_err(|error| malformed(error.to_string()))
    }

    /// The key as PKCS #8 in PEM.
    pub fn to_pem(&self) -> Result<Zeroizing<String>, KeyError> {
        let der = self.0.to_pkcs8v1().map_err(|_| KeyError::Generate)?;
        Ok(Zeroizing::new(pem::encode(&pem::Pem::new(PEM_LABEL, der.as_ref()))))
    }

    /// The public half.
    pub fn public_key(&self) -> OwnerPublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        OwnerPublicKey(bytes)
    }

    /// Signs these fields for this purpose.
    pub fn sign(&self, purpose: Purpose, fields: &[&[u8]]) -> OwnerSignature {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.0.sign(&purpose.message(fields)).as_ref());
        OwnerSignature(bytes)
    }
}

impl fmt::Debug for OwnerSigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OwnerSigningKey({})", self.public_key())
    }
}

/// The fault of a key or a signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The random generator failed.
    #[error("no key could be generated, because the system's random generator failed; try again")]
    Generate,
    /// Not the text form of a public key.
    #[error("{found:?} is not an owner's public key; expected \"ed25519:\" and 64 hexadecimal digits")]
    PublicKeyText {
        /// The beginning of the text.
        found: String,
    },
    /// Not a private key in PEM.
    #[error("not an Ed25519 private key in PEM (PKCS #8): {reason}")]
    PrivateKey {
        /// What the reader said.
        reason: String,
    },
    /// Raw bytes of the wrong length.
    #[error("a {what} has {expected} bytes, found {found}")]
    Length {
        what: &'static str,
        /// The expected length in bytes.
        expected: usize,
        /// The length that was found, in bytes.
        found: usize,
    },
    /// The signature is not this key's over these fields.
    #[error("the signature of {signer} is not valid for this document")]
    Signature {
        /// The owner who is named as the signer.
        signer: OwnerPublicKey,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_for_one_purpose_and_these_fields() {
        let key = OwnerSigningKey::generate().unwrap();
        let fields: &[&[u8]] = &[b"genesis", b"1"];
        let signature = key.sign(Purpose::Manifest, fields);
        key.public_key().verify(Purpose::Manifest, fields, &signature).unwrap();
        assert!(key.public_key().verify(Purpose::Command, fields, &signature).is_err());
        assert!(key.public_key().verify(Purpose::Manifest, &[b"genesis1", b""], &signature).is_err());
        let other = OwnerSigningKey::generate().unwrap();
        assert!(other.public_key().verify(Purpose::Manifest, fields, &signature).is_err());
    }

    #[test]
    fn keys_survive_their_text_forms() {
        let key = OwnerSigningKey::generate().unwrap();
        let again = OwnerSigningKey::from_pem(&key.to_pem().unwrap()).unwrap();
        assert_eq!(again.public_key(), key.public_key());
        assert_eq!(key.public_key().to_string().parse(), Ok(key.public_key()));
        assert!(!format!("{key:?}").contains("PRIVATE"));
    }

    #[test]
    fn other_texts_are_refused() {
        assert!("ed25519:12".parse::<OwnerPublicKey>().is_err());
        assert!(OwnerSigningKey::from_pem("hello").is_err());
        let certificate = pem::encode(&pem::Pem::new("CERTIFICATE", vec![1, 2]));
        assert!(OwnerSigningKey::from_pem(&certificate).unwrap_err().to_string().contains("CERTIFICATE"));
    }
}
