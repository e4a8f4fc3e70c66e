//! Signatures, verified with aws-lc-rs, as everywhere else in this project, with a
//! memory for those that were found good before.

use std::{
    collections::HashSet,
    sync::{Mutex, PoisonError},
};

use aws_lc_rs::{
    digest,
    error::Unspecified,
    signature::{UnparsedPublicKey, VerificationAlgorithm},
};

/// Has this key signed this message?
///
/// Of the nine signatures behind a quote eight are the same for every quote of
/// a platform: those of certificates, CRLs, TCB info, QE identity and the QE
/// report. A signature once found good is recognised by a digest over key,
/// message and signature, and not computed again. Whether a *valid* signature
/// still counts (dates, revocation, TCB) is not remembered: it is decided again
/// each time. A key is used with one algorithm only, so that is not in the digest.
pub(crate) fn verify(
    algorithm: &'static dyn VerificationAlgorithm,
    public_key: &[u8],
    message: &[u8],
    signature: &[u8],
) -> Result<(), Unspecified> {
    let triple = Triple::of(public_key, message, signature);
    if lock(&VERIFIED).contains(&triple) {
        return Ok(());
    }
    UnparsedPublicKey::new(algorithm, public_key).verify(message, signature)?;
    lock(&VERIFIED).insert(triple);
    Ok(())
}

static VERIFIED: Mutex<Verified> = Mutex::new(Verified::new());

fn lock(verified: &Mutex<Verified>) -> std::sync::MutexGuard<'_, Verified> {
    // A set is whole after a panic: at worst an entry is missing.
    verified.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SHA-256 over key, message and signature, each after its length.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Triple([u8; 32]);

impl Triple {
    fn of(public_key: &[u8], message: &[u8], signature: &[u8]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        for field in [public_key, message, signature] {
            context.update(&(field.len() as u64).to_be_bytes());
            context.update(field);
        }
        let mut output = [0; 32];
        output.copy_from_slice(context.finish().as_ref());
        Self(output)
    }
}

/// Signatures found good. The quotes' own signatures pass through once each, so
/// there are two generations: a signature not asked for again goes with the older.
struct Verified {
    young: Option<HashSet<Triple>>,
    old: Option<HashSet<Triple>>,
}

/// Triples in a generation: 128 KiB each at most.
const GENERATION: usize = 2048;

impl Verified {
    const fn new() -> Self {
        Self { young: None, old: None }
    }

    fn contains(&mut self, triple: &Triple) -> bool {
        if self.young.as_ref().is_some_and(|young| young.contains(triple)) {
            return true;
        }
        let found = self.old.as_ref().is_some_and(|old| old.contains(triple));
        if found {
            self.insert(*triple);
        }
        found
    }

    fn insert(&mut self, triple: Triple) {
        let young = self.young.get_or_insert_default();
        if young.len() >= GENERATION {
            self.old = Some(std::mem::take(young));
        }
        young.insert(triple);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_memory_is_bounded_and_keeps_what_is_used() {
        let mut verified = Verified::new();
        let triple = |number: usize| Triple::of(b"", b"", &number.to_be_bytes());
        verified.insert(triple(0));
        for number in 1..GENERATION * 5 {
            verified.insert(triple(number));
            if number % 100 == 0 {
                assert!(verified.contains(&triple(0)), "{number}");
            }
        }
        assert!(!verified.contains(&triple(1)));
        let kept = verified.young.iter().chain(&verified.old).map(HashSet::len).sum::<usize>();
        assert!(kept <= 2 * GENERATION, "{kept}");
    }
}
