//! The root key: under which everything in a store is encrypted. It is random, made in
//! the TEE, and never leaves one in clear.

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::genesis::GenesisDigest;

/// The key under which everything in a store is encrypted.
#[derive(Clone)]
pub struct RootKey(pub Zeroizing<[u8; 32]>);

impl RootKey {
    /// A new one, from the cryptographic random generator.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; 32]);
        rand::fill(key.as_mut_slice()).map_err(|_| KeyError { operation: "random generation" })?;
        Ok(Self(key))
    }

    /// From raw bytes; `None` unless they are 32.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        <[u8; 32]>::try_from(bytes).ok().map(|key| Self(Zeroizing::new(key)))
    }
}

impl std::fmt::Debug for RootKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RootKey(..)")
    }
}

/// An operation failed in the cryptographic library.
///
/// Do: restart the program; if it fails again, check the machine.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{operation} failed in the cryptographic library; restart the program, and check the machine if it \
         fails again"
)]
pub struct KeyError {
    /// The operation that failed.
    pub operation: &'static str,
}

impl KeyError {
    /// Stable code for logs and answers.
    pub fn code(self) -> &'static str {
        "cryptography-failed"
    }
}

/// Which root key of which broker, for associated data.
pub(super) fn context(purpose: &'static str, genesis: GenesisDigest, detail: &[u8]) -> [u8; 32] {
    let mut hasher = adytum_evidence::identity::LengthPrefixed::<sha2::Sha256>::new();
    for field in [b"adytum root key v1", purpose.as_bytes(), &genesis.0.0, detail] {
        hasher.field(field);
    }
    hasher.finish().into()
}
