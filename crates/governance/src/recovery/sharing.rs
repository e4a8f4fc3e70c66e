//! A recovery key shared among recipients: any k of n shares give it, fewer give
//! nothing (Shamir's secret sharing over GF(256), by the crate `vsss-rs`, whose
//! arithmetic takes the same time for all values). Each share is encrypted to one
//! recipient in the age format.

use std::{fmt, str::FromStr};

use adytum_evidence::{identity::LengthPrefixed, measurement::Sha256Digest};
use age::{secrecy::ExposeSecret, x25519};
use sha2::Sha256;
use vsss_rs::Gf256;
use zeroize::Zeroizing;

use super::root_key::KeyError;
use crate::genesis::GenesisDigest;

/// The most recipients.
pub const MAXIMUM_RECIPIENTS: usize = 32;
/// A share: its number, then as many bytes as the key has.
pub const SHARE_LENGTH: usize = 33;
/// The longest share in the age format, in bytes.
pub const MAXIMUM_WRAPPED_LENGTH: usize = 1024;

/// To whom a share is encrypted: an age X25519 recipient, `age1..`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RecoveryRecipient(String);

impl RecoveryRecipient {
    /// The recipient as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RecoveryRecipient {
    type Err = SharingError;

    fn from_str(text: &str) -> Result<Self, SharingError> {
        if text.get(..15).is_some_and(|start| start.eq_ignore_ascii_case("AGE-SECRET-KEY-")) {
            return Err(SharingError::IdentityForRecipient);
        }
        // One form for one recipient.
        let recipient: x25519::Recipient = text
            .parse()
            .map_err(|reason| SharingError::Recipient { found: text.chars().take(80).collect(), reason })?;
        Ok(Self(recipient.to_string()))
    }
}

impl fmt::Display for RecoveryRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for RecoveryRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryRecipient({self})")
    }
}

/// What opens a recipient's share: an age X25519 identity. Never prints.
pub struct RecoveryIdentity(x25519::Identity);

impl RecoveryIdentity {
    /// A new one from the system's random generator.
    pub fn generate() -> Self {
        Self(x25519::Identity::generate())
    }

    /// The public half.
    pub fn recipient(&self) -> RecoveryRecipient {
        RecoveryRecipient(self.0.to_public().to_string())
    }

    /// The secret text `AGE-SECRET-KEY-1..`.
    pub fn to_text(&self) -> Zeroizing<String> {
        Zeroizing::new(self.0.to_string().expose_secret().to_owned())
    }

    /// Decrypts a share that was encrypted to this recipient.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Share, SharingError> {
        let bytes = age::decrypt(&self.0, wrapped).map_err(|_| SharingError::NotForThisKey)?;
        Share::from_bytes(&Zeroizing::new(bytes))
    }
}

impl FromStr for RecoveryIdentity {
    type Err = SharingError;

    /// Reads an identity, alone or in the file that `age-keygen` writes: blank
    /// lines and lines that start with `#` are skipped.
    fn from_str(text: &str) -> Result<Self, SharingError> {
        let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let (Some(line), None) = (lines.next(), lines.next()) else { return Err(SharingError::Identity) };
        line.parse().map(Self).map_err(|_| SharingError::Identity)
    }
}

impl fmt::Debug for RecoveryIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecoveryIdentity({})", self.recipient())
    }
}

/// One share of a recovery key. Wiped when dropped; never prints.
#[derive(Clone)]
pub struct Share(Zeroizing<Vec<u8>>);

impl Share {
    /// From raw bytes.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SharingError> {
        if bytes.len() != SHARE_LENGTH || bytes.first() == Some(&0) {
            return Err(SharingError::Malformed { found: bytes.len() });
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// The raw bytes.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }

    /// By which a share is known without being shown. A share is as random as the
    /// key, so nobody finds it from its digest.
    pub(crate) fn digest(&self, genesis: GenesisDigest, arrangement: &[u8; 32]) -> Sha256Digest {
        let mut hasher = LengthPrefixed::<Sha256>::new();
        for field in [b"adytum recovery share v1", &genesis.0.0[..], arrangement, &self.0] {
            hasher.field(field);
        }
        Sha256Digest(hasher.finish().into())
    }

    /// Encrypts it to a recipient, in the age format.
    pub(crate) fn wrap(&self, recipient: &RecoveryRecipient) -> Result<Vec<u8>, KeyError> {
        let failed = KeyError { operation: "encrypting a share" };
        let recipient: x25519::Recipient = recipient.0.parse().map_err(|_| failed)?;
        age::encrypt(&recipient, &self.0).map_err(|_| failed)
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Share(..)")
    }
}

/// Shares a key: any `threshold` of the `count` shares give it again. Both are
/// from a [`RecoveryRule`](super::RecoveryRule), so 1 to
/// [`MAXIMUM_RECIPIENTS`].
pub(crate) fn split(key: &[u8; 32], threshold: u8, count: usize) -> Result<Vec<Share>, KeyError> {
    let failed = KeyError { operation: "sharing the recovery key" };
    // Who alone may recover has the key itself: a polynomial of degree 0.
    let shares = if threshold == 1 {
        let one = |number: u8| [&[number], key.as_slice()].concat();
        (1..=u8::try_from(count).map_err(|_| failed)?).map(one).collect()
    } else {
        Gf256::split_bytes(usize::from(threshold), count, key, rand::rng()).map_err(|_| failed)?
    };
    shares.into_iter().map(|share| Share::from_bytes(&Zeroizing::new(share)).map_err(|_| failed)).collect()
}

/// Puts shares together. Any as many as the threshold give the key; others give
/// something else, or nothing.
pub(crate) fn combine(shares: &[Share]) -> Option<Zeroizing<[u8; 32]>> {
    let key = match shares {
        [one] => Zeroizing::new(one.expose().get(1..)?.to_vec()),
        many => {
            let copies: Vec<Vec<u8>> = many.iter().map(|share| share.expose().to_vec()).collect();
            let copies = Zeroizing::new(copies);
            Zeroizing::new(Gf256::combine_bytes(copies.as_slice()).ok()?)
        }
    };
    <[u8; 32]>::try_from(key.as_slice()).ok().map(Zeroizing::new)
}

/// Why something is no key for recovery, or no share.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SharingError {
    /// The recovery key is not an age identity. The message does not repeat its text, which may
    /// be a part of a secret.
    ///
    /// Do: give the file that `adytum recovery-key new` wrote.
    #[error(
        "not an age identity: expected one line \"AGE-SECRET-KEY-1..\"; make one with `adytum recovery-key \
         new`"
    )]
    Identity,
    /// A recipient of a recovery share is not an age X25519 recipient.
    ///
    /// Do: give the line ("age1..") that `adytum recovery-key new` printed; `adytum recovery-key
    /// show` prints it again.
    #[error("{found:?} is not an age X25519 recipient (\"age1..\"): {reason}")]
    Recipient {
        /// The beginning of the text.
        found: String,
        reason: &'static str,
    },
    /// A secret recovery key is in the place of its public recipient.
    ///
    /// Do: consider that key exposed: make a new one with `adytum recovery-key new`, and name its
    /// recipient ("age1..").
    #[error(
        "this is an age identity, which is secret; name the recipient (\"age1..\") that belongs to it. \
         Consider the identity exposed and make a new one"
    )]
    IdentityForRecipient,
    /// The share was encrypted to another recovery key, or was changed.
    ///
    /// Do: give the recovery key whose recipient the manifest names (`adytum recovery-key show`
    /// prints it).
    #[error(
        "the share does not open with this key: it was encrypted to another key, or changed; give the key \
         whose recipient the manifest names"
    )]
    NotForThisKey,
    /// A recovery share has another form than a share.
    ///
    /// Do: supply shares with an `adytum broker recover` of the broker's version.
    #[error(
        "a share has {SHARE_LENGTH} bytes, of which the first is not 0; found {found} bytes. Supply shares \
         with `adytum broker recover`"
    )]
    Malformed { found: usize },
}

impl SharingError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Identity => "recovery-identity-malformed",
            Self::Recipient { .. } => "recovery-recipient-malformed",
            Self::IdentityForRecipient => "recovery-identity-for-recipient",
            Self::NotForThisKey => "share-not-for-this-key",
            Self::Malformed { .. } => "share-malformed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_threshold_of_shares_gives_the_key_and_fewer_give_another() {
        let key = [7; 32];
        for (threshold, count) in [(1, 1), (1, 3), (2, 2), (2, 3), (3, 5), (32, 32)] {
            let shares = split(&key, threshold, count).unwrap();
            assert_eq!(shares.len(), count);
            let needed = usize::from(threshold);
            for from in 0..=count - needed {
                assert_eq!(*combine(&shares[from..from + needed]).unwrap(), key, "{threshold} of {count}");
            }
            if threshold > 1 {
                assert_ne!(combine(&shares[..needed - 1]).map(|found| *found), Some(key));
                assert!(!shares.iter().any(|share| share.expose()[1..] == key));
                let mut wrong = shares[..needed].to_vec();
                wrong[0].0[5] ^= 1;
                assert_ne!(*combine(&wrong).unwrap(), key);
                // One share twice is one share.
                let twice = [shares[0].clone(), shares[0].clone()];
                assert!(combine(&twice).is_none());
            }
        }
        assert!(combine(&[]).is_none());
    }

    #[test]
    fn a_share_opens_for_its_recipient_and_does_not_print() {
        let (alice, thief) = (RecoveryIdentity::generate(), RecoveryIdentity::generate());
        let share = split(&[7; 32], 2, 2).unwrap().remove(0);
        let wrapped = share.wrap(&alice.recipient()).unwrap();
        assert!(wrapped.len() <= MAXIMUM_WRAPPED_LENGTH);
        assert_eq!(alice.unwrap(&wrapped).unwrap().expose(), share.expose());
        assert_eq!(thief.unwrap(&wrapped).unwrap_err(), SharingError::NotForThisKey);
        assert_eq!(alice.unwrap(b"age").unwrap_err(), SharingError::NotForThisKey);
        assert_eq!(format!("{share:?}"), "Share(..)");
        assert!(!format!("{alice:?}").contains("SECRET"));
    }

    #[test]
    fn texts_go_both_ways_and_others_say_why_not() {
        let identity = RecoveryIdentity::generate();
        let text = identity.to_text();
        assert_eq!(text.parse::<RecoveryIdentity>().unwrap().recipient(), identity.recipient());
        let recipient = identity.recipient();
        assert_eq!(recipient.as_str().parse(), Ok(recipient.clone()));
        assert_eq!(text.parse::<RecoveryRecipient>(), Err(SharingError::IdentityForRecipient));
        assert_eq!("age1x".parse::<RecoveryRecipient>().unwrap_err().code(), "recovery-recipient-malformed");
        let two = format!("{}\n{}\n", *text, *text);
        for bad in ["", "# nothing", "AGE-SECRET-KEY-1", &two] {
            assert_eq!(bad.parse::<RecoveryIdentity>().err(), Some(SharingError::Identity));
        }
    }

    #[test]
    fn the_digest_is_of_the_share_in_its_place() {
        let genesis = |byte| GenesisDigest(Sha256Digest([byte; 32]));
        let share = Share::from_bytes(&[3; 33]).unwrap();
        let digest = share.digest(genesis(1), &[1; 32]);
        assert_ne!(share.digest(genesis(2), &[1; 32]), digest);
        assert_ne!(share.digest(genesis(1), &[2; 32]), digest);
        assert_ne!(Share::from_bytes(&[4; 33]).unwrap().digest(genesis(1), &[1; 32]), digest);
        for bad in [&[][..], &[3; 32], &[3; 34], &[0; 33]] {
            assert_eq!(Share::from_bytes(bad).unwrap_err().code(), "share-malformed");
        }
    }
}
