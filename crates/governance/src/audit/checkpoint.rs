//! The broker's word for its log up to a record: an Ed25519 signature (RFC 8032)
//! under a key that is made in the TEE and never leaves it but encrypted in the
//! store.

use std::fmt;

use adytum_api::broker::AuditCheckpoint;
use adytum_evidence::{identity::LengthPrefixed, measurement::Sha256Digest};
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::genesis::GenesisDigest;

const DOMAIN: &[u8] = b"adytum audit checkpoint v1";

/// The key that signs checkpoints: an Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CheckpointPublicKey(pub [u8; 32]);

impl CheckpointPublicKey {
    /// From raw bytes; `None` unless they are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Is this the key's checkpoint over the log of that broker?
    pub fn verifies(&self, genesis: GenesisDigest, checkpoint: &AuditCheckpoint) -> bool {
        let message = message(genesis, checkpoint.size, &checkpoint.hash);
        UnparsedPublicKey::new(&ED25519, &self.0).verify(&message, &checkpoint.signature).is_ok()
    }
}

impl fmt::Display for CheckpointPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for CheckpointPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CheckpointPublicKey({self})")
    }
}

impl std::str::FromStr for CheckpointPublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        text.strip_prefix("ed25519:")
            .and_then(|digits| hex::decode_to_slice(digits, &mut bytes).ok())
            .ok_or("expected \"ed25519:\" and 64 hexadecimal digits")?;
        Ok(Self(bytes))
    }
}

/// The bytes that are signed: SHA-512 over the length-prefixed domain, genesis, size (eight
/// bytes, big-endian) and hash.
fn message(genesis: GenesisDigest, size: u64, hash: &[u8]) -> [u8; 64] {
    let mut hasher = LengthPrefixed::<Sha512>::new();
    for field in [DOMAIN, &genesis.0.0, &size.to_be_bytes(), hash] {
        hasher.field(field);
    }
    hasher.finish().into()
}

/// The signing key. Never prints.
pub struct CheckpointKey(Ed25519KeyPair);

impl CheckpointKey {
    /// A new key; `None` when the random generator fails.
    pub fn generate() -> Option<Self> {
        Ed25519KeyPair::generate().ok().map(Self)
    }

    /// Reads what [`Self::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes).ok().map(Self)
    }

    /// The key as PKCS #8 (RFC 8410).
    pub fn to_bytes(&self) -> Option<Zeroizing<Vec<u8>>> {
        Some(Zeroizing::new(self.0.to_pkcs8v1().ok()?.as_ref().to_vec()))
    }

    /// The public half.
    pub fn public_key(&self) -> CheckpointPublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        CheckpointPublicKey(bytes)
    }

    /// The word for the log of this broker up to this record.
    pub fn sign(&self, genesis: GenesisDigest, size: u64, hash: Sha256Digest) -> AuditCheckpoint {
        let signature = self.0.sign(&message(genesis, size, &hash.0)).as_ref().to_vec();
        AuditCheckpoint { size, hash: hash.0.to_vec(), signature }
    }
}
