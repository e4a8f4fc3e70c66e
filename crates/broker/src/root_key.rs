//! The root key: under which everything in a store is encrypted, and how it
//! lives through what happens to the machine it was made on.
//!
//! - [`mod@self`]: it is random, made in the TEE, and never leaves one in clear.
//! - [`sealing`]: it lies in the store's envelope, sealed under the key that only
//!   this code on this CPU has.
//! - [`sharing`]: a recovery key is shared among recipients, k of n; and
//!   [`arrangement`]: the root key sealed under it, with the wrapped shares and
//!   the broker's evidence that it was a broker who made them. When one is made,
//!   [`arranging`] says.
//! - [`opening`]: what a start finds, and so what state the broker is in.
//! - [`recovery`]: k shares come, the root key comes back.

pub mod arrangement;
mod arranging;
pub mod opening;
pub mod recovery;
pub(crate) mod sealing;
pub mod sharing;

use adytum_ratls::claims::GenesisDigest;
use aws_lc_rs::rand;
use zeroize::Zeroizing;

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

/// How the root key comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecoveryRule {
    /// Shares of a recovery key.
    Shares {
        /// How many must come together; 1 to the number of recipients.
        threshold: u8,
        /// Who has one each; distinct, at most
        /// [`MAXIMUM_RECIPIENTS`](sharing::MAXIMUM_RECIPIENTS).
        recipients: Vec<RecoveryRecipient>,
    },
    /// Not at all: the owners have said so.
    Unrecoverable,
}

/// The cryptographic library failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{operation} failed in the cryptographic library; try again, and look at the machine if it goes on")]
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
pub(crate) fn context(purpose: &'static str, genesis: GenesisDigest, detail: &[u8]) -> [u8; 32] {
    let mut hasher = adytum_evidence::identity::LengthPrefixed::<sha2::Sha256>::new();
    for field in [b"adytum root key v1", purpose.as_bytes(), &genesis.0.0, detail] {
        hasher.field(field);
    }
    hasher.finish().into()
}
