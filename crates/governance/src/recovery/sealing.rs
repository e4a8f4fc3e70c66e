//! A root key sealed under another key: AES-256-GCM under a key of its own for
//! each sealing.
//!
//! ```text
//! salt (32) ‖ AES-256-GCM(root key), nonce 0
//! ```
//! The key is HKDF-SHA256 (RFC 5869) of the salt and the sealing key, so that no
//! number of sealings wears that one out. The associated data are purpose and
//! genesis: a key that is sealed for another broker does not open.

use adytum_evidence::attester::SealingKey;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, rand,
};
use zeroize::Zeroizing;

use super::root_key::{KeyError, RootKey, context};
use crate::genesis::GenesisDigest;

/// Where the root key lies in the store's envelope, sealed for the next start.
pub const ENVELOPE: &str = "root-key";

const SALT: usize = 32;

/// What a root key is sealed for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose<'a> {
    /// For this code on this CPU.
    Start,
    /// For those who hold shares of this arrangement.
    Recovery(&'a [u8; 32]),
}

impl Purpose<'_> {
    fn context(self, genesis: GenesisDigest) -> [u8; 32] {
        match self {
            Self::Start => context("sealed for the next start", genesis, b""),
            Self::Recovery(arrangement) => context("sealed for recovery", genesis, arrangement),
        }
    }
}

/// Seals a root key under this key.
pub(super) fn seal(
    key: &[u8; 32],
    purpose: Purpose<'_>,
    genesis: GenesisDigest,
    root: &RootKey,
) -> Result<Vec<u8>, KeyError> {
    let mut sealed = vec![0; SALT];
    rand::fill(&mut sealed).map_err(|_| KeyError { operation: "random generation" })?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(root.0.len() + AES_256_GCM.tag_len()));
    bytes.extend_from_slice(root.0.as_slice());
    derive(key, &sealed)
        .and_then(|key| {
            key.seal_in_place_append_tag(nonce(), Aad::from(purpose.context(genesis)), &mut *bytes)
        })
        .map_err(|_| KeyError { operation: "sealing the root key" })?;
    sealed.extend_from_slice(&bytes);
    Ok(sealed)
}

/// Seals a root key for the next start of this code on this CPU.
pub fn for_next_start(key: &SealingKey, genesis: GenesisDigest, root: &RootKey) -> Result<Vec<u8>, KeyError> {
    seal(&key.0, Purpose::Start, genesis, root)
}

/// Opens what [`for_next_start`] wrote; `None` for anything else.
pub fn at_start(key: &SealingKey, genesis: GenesisDigest, sealed: &[u8]) -> Option<RootKey> {
    open(&key.0, Purpose::Start, genesis, sealed)
}

/// A number by which a TEE is known without its sealing key being shown.
pub fn identity_of(key: &SealingKey) -> Option<Zeroizing<[u8; 32]>> {
    expand(&key.0, b"", b"adytum successor v1").ok()
}

/// Opens what [`seal`] wrote; `None` for anything else.
pub(super) fn open(
    key: &[u8; 32],
    purpose: Purpose<'_>,
    genesis: GenesisDigest,
    sealed: &[u8],
) -> Option<RootKey> {
    let (salt, sealed) = sealed.split_at_checked(SALT)?;
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let key = derive(key, salt).ok()?;
    let opened = key.open_in_place(nonce(), Aad::from(purpose.context(genesis)), &mut bytes).ok()?;
    RootKey::from_bytes(opened)
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

/// 32 bytes that only who has the key can have, for this use.
fn expand(
    key: &[u8; 32],
    salt: &[u8],
    use_: &[u8],
) -> Result<Zeroizing<[u8; 32]>, aws_lc_rs::error::Unspecified> {
    let mut bytes = Zeroizing::new([0; 32]);
    hkdf::Salt::new(hkdf::HKDF_SHA256, salt)
        .extract(key)
        .expand(&[use_], Length)
        .and_then(|okm| okm.fill(bytes.as_mut_slice()))?;
    Ok(bytes)
}

fn derive(key: &[u8; 32], salt: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    let bytes = expand(key, salt, b"adytum sealed root key v1")?;
    UnboundKey::new(&AES_256_GCM, bytes.as_slice()).map(LessSafeKey::new)
}

/// Each sealing has a key of its own, under which the nonce is used once.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use adytum_evidence::measurement::Sha256Digest;

    use super::*;

    fn genesis(byte: u8) -> GenesisDigest {
        GenesisDigest(Sha256Digest([byte; 32]))
    }

    #[test]
    fn it_opens_for_its_key_purpose_and_broker_only() {
        let root = RootKey::generate().unwrap();
        let sealed = seal(&[1; 32], Purpose::Start, genesis(1), &root).unwrap();
        let opened = open(&[1; 32], Purpose::Start, genesis(1), &sealed).unwrap();
        assert_eq!(opened.0, root.0);
        assert!(open(&[2; 32], Purpose::Start, genesis(1), &sealed).is_none());
        assert!(open(&[1; 32], Purpose::Start, genesis(2), &sealed).is_none());
        assert!(open(&[1; 32], Purpose::Recovery(&[0; 32]), genesis(1), &sealed).is_none());
        for at in 0..sealed.len() {
            let mut bad = sealed.clone();
            bad[at] ^= 1;
            assert!(open(&[1; 32], Purpose::Start, genesis(1), &bad).is_none(), "{at}");
            assert!(open(&[1; 32], Purpose::Start, genesis(1), &sealed[..at]).is_none(), "{at}");
        }
        assert_ne!(sealed, seal(&[1; 32], Purpose::Start, genesis(1), &root).unwrap());
        assert!(!sealed.windows(8).any(|window| window == &root.0[..8]));
    }
}
