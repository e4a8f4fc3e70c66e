//! An arrangement for recovery: the root key sealed under a recovery key that was
//! made for it, the shares of that key wrapped to their recipients, and the
//! broker's evidence over it all.
//!
//! It lies in clear in the store, where the host can put another one: one with a
//! root key that the host knows, and shares of it encrypted to the very
//! recipients. A holder who supplied those would have a broker keep secrets under
//! the host's key. So the evidence says that a broker made it, in a TEE, for this
//! genesis, and every holder verifies that before unwrapping a share.
//!
//! Each arrangement has a recovery key of its own: shares of an earlier one open
//! nothing in the present one.

use adytum_api::{broker as wire, session};
use adytum_evidence::{
    attester::{Attester, AttesterError},
    claims::Claims,
    evidence::{Evidence, EvidenceFormat, MAXIMUM_EVIDENCE_LENGTH},
    identity::LengthPrefixed,
    measurement::{ReportData, Sha256Digest},
    policy::{Policy, PolicyRefusal},
    verifier::{VerificationError, Verifier},
};
use prost::Message;
use sha2::{Sha256, Sha512};

use super::{
    RecoveryRule,
    root_key::{KeyError, RootKey},
    sealing::{self, Purpose},
    sharing::{self, MAXIMUM_RECIPIENTS, MAXIMUM_WRAPPED_LENGTH, RecoveryRecipient, Share},
};
use crate::genesis::GenesisDigest;

/// Where it lies in the store's envelope.
pub const ENVELOPE: &str = "recovery";
/// The item in the store that says which one is in force: SHA-256 of its bytes.
pub const ITEM: &str = "recovery/arrangement";
/// The longest encoding, in bytes.
pub const MAXIMUM_LENGTH: usize = 256 * 1024;

/// An arrangement for recovery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrangement {
    id: [u8; 32],
    threshold: u8,
    shares: Vec<WrappedShare>,
    sealed_root_key: Vec<u8>,
    evidence: Evidence,
    simulation_roots: Vec<Vec<u8>>,
}

/// One recipient's share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WrappedShare {
    pub recipient: RecoveryRecipient,
    /// By which the right one is known.
    pub digest: Sha256Digest,
    /// Encrypted to the recipient.
    pub wrapped: Vec<u8>,
}

/// Why there is no arrangement, or none that counts.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArrangementError {
    /// The arrangement for recovery can't be read: the broker's state file was changed.
    ///
    /// Do: put back the state file that the broker wrote, or a backup with `adytum-broker
    /// restore`.
    #[error(
        "the arrangement for recovery can't be read: {reason}; somebody changed the broker's state file, so \
         put back the file that the broker wrote"
    )]
    Malformed { reason: String },
    /// Recovery can't be arranged, because the broker's TEE gives no evidence now.
    ///
    /// Do: look at the broker's log for the failure of its TEE, then apply the manifest again.
    ///
    /// Retry: later
    #[error("recovery can't be arranged, because the broker's TEE gives no evidence: {0}")]
    Attester(#[from] AttesterError),
    /// The cryptographic library failed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Its evidence is not valid.
    #[error("the evidence of the broker that made this arrangement for recovery is not valid: {0}")]
    Evidence(#[from] VerificationError),
    /// The evidence of the arrangement for recovery is over another arrangement or another
    /// genesis.
    ///
    /// Do: do not supply a share: somebody changed the arrangement. Put back the state file that
    /// the broker wrote.
    #[error(
        "the evidence of the arrangement for recovery is not over this arrangement and this genesis: somebody \
         changed it, so don't supply a share"
    )]
    NotBound,
    /// The program that made the arrangement for recovery is not accepted by the policy.
    ///
    /// Do: do not supply a share, unless you know the policy of the broker's version that made
    /// it: then give that policy to `adytum broker recover --arranged-by`.
    #[error(
        "this arrangement for recovery was made by a program that the policy does not accept: {0}; don't \
         supply a share, unless it was made by another version of the broker whose policy you know \
         (--arranged-by)"
    )]
    Policy(PolicyRefusal),
}

impl ArrangementError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "recovery-malformed",
            Self::Attester(_) => "recovery-without-evidence",
            Self::Key(error) => error.code(),
            Self::Evidence(error) => error.code(),
            Self::NotBound => "recovery-evidence-not-bound",
            Self::Policy(_) => "recovery-by-other-program",
        }
    }
}

impl Arrangement {
    /// Makes one with a new recovery key. The key and the shares are wiped before
    /// this returns.
    pub async fn make(
        root: &RootKey,
        genesis: GenesisDigest,
        rule: (u8, &[RecoveryRecipient]),
        simulation_roots: Vec<Vec<u8>>,
        attester: &dyn Attester,
    ) -> Result<Self, ArrangementError> {
        let mut arrangement = Self::unattested(root, genesis, rule, simulation_roots)?;
        arrangement.evidence = attester.evidence(arrangement.report_data(genesis)).await?;
        Ok(arrangement)
    }

    fn unattested(
        root: &RootKey,
        genesis: GenesisDigest,
        (threshold, recipients): (u8, &[RecoveryRecipient]),
        simulation_roots: Vec<Vec<u8>>,
    ) -> Result<Self, KeyError> {
        let id = *RootKey::generate()?.0;
        let key = RootKey::generate()?.0;
        let sealed_root_key = sealing::seal(&key, Purpose::Recovery(&id), genesis, root)?;
        let shares = sharing::split(&key, threshold, recipients.len())?;
        let shares = shares.iter().zip(recipients).map(|(share, recipient)| {
            let (digest, wrapped) = (share.digest(genesis, &id), share.wrap(recipient)?);
            Ok(WrappedShare { recipient: recipient.clone(), digest, wrapped })
        });
        let shares = shares.collect::<Result<_, KeyError>>()?;
        let evidence = Evidence::dcap_quote(Vec::new());
        Ok(Self { id, threshold, shares, sealed_root_key, evidence, simulation_roots })
    }

    /// Which arrangement it is.
    pub fn id(&self) -> &[u8; 32] {
        &self.id
    }

    /// How many shares give the key.
    pub fn threshold(&self) -> u8 {
        self.threshold
    }

    /// All shares.
    pub fn shares(&self) -> &[WrappedShare] {
        &self.shares
    }

    /// A recipient's share.
    pub fn share_of(&self, recipient: &RecoveryRecipient) -> Option<&WrappedShare> {
        self.shares.iter().find(|share| share.recipient == *recipient)
    }

    /// Roots (DER) of the simulated platforms that the manifest trusted.
    pub fn simulation_roots(&self) -> &[Vec<u8>] {
        &self.simulation_roots
    }

    /// Is it what this rule asks for?
    pub fn follows(&self, rule: &RecoveryRule) -> bool {
        match rule {
            RecoveryRule::Shares { threshold, recipients } => {
                self.threshold == *threshold
                    && self.shares.iter().map(|share| &share.recipient).eq(recipients.iter())
            }
            RecoveryRule::Unrecoverable => false,
        }
    }

    /// What its evidence is over: SHA-512 over the length-prefixed
    /// "adytum recovery arrangement v1", genesis, id, threshold (one byte), sealed
    /// root key, and recipient and digest of each share.
    fn report_data(&self, genesis: GenesisDigest) -> ReportData {
        let mut hasher = LengthPrefixed::<Sha512>::new();
        hasher.field(b"adytum recovery arrangement v1");
        hasher.field(&genesis.0.0);
        hasher.field(&self.id);
        hasher.field(&[self.threshold]);
        hasher.field(&self.sealed_root_key);
        for share in &self.shares {
            hasher.field(share.recipient.as_str().as_bytes());
            hasher.field(&share.digest.0);
        }
        ReportData(hasher.finish().into())
    }

    /// Verifies that a broker that this policy accepts made it for this genesis.
    pub async fn verify(
        &self,
        genesis: GenesisDigest,
        verifier: &Verifier,
        policy: &Policy,
    ) -> Result<Claims, ArrangementError> {
        let claims = verifier.verify(&self.evidence).await?;
        if claims.report_data != self.report_data(genesis) {
            return Err(ArrangementError::NotBound);
        }
        policy.judge(&claims).map_err(ArrangementError::Policy)?;
        Ok(claims)
    }

    /// Is this the share that was made for that recipient?
    pub fn is_share(&self, genesis: GenesisDigest, of: &WrappedShare, share: &Share) -> bool {
        share.digest(genesis, &self.id) == of.digest
    }

    /// The root key, if these are shares enough and the right ones.
    pub fn recover(&self, genesis: GenesisDigest, shares: &[Share]) -> Option<RootKey> {
        let key = sharing::combine(shares)?;
        sealing::open(&key, Purpose::Recovery(&self.id), genesis, &self.sealed_root_key)
    }

    /// Its bytes.
    pub fn encode(&self) -> Vec<u8> {
        let share = |share: &WrappedShare| wire::RecoveryShare {
            recipient: share.recipient.to_string(),
            digest: share.digest.0.to_vec(),
            wrapped: share.wrapped.clone(),
        };
        let format = match self.evidence.format {
            EvidenceFormat::SnpReport => session::EvidenceFormat::SnpReport,
            _ => session::EvidenceFormat::DcapQuote,
        };
        wire::RecoveryArrangement {
            id: self.id.to_vec(),
            threshold: self.threshold.into(),
            shares: self.shares.iter().map(share).collect(),
            sealed_root_key: self.sealed_root_key.clone(),
            evidence_format: format.into(),
            evidence: self.evidence.bytes.clone(),
            endorsements: self.evidence.endorsements.clone(),
            simulation_roots: self.simulation_roots.clone(),
        }
        .encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote. The host may have changed it.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArrangementError> {
        Self::read(bytes).map_err(|reason| ArrangementError::Malformed { reason })
    }

    fn read(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() > MAXIMUM_LENGTH {
            return Err(format!("it has {} bytes; at most {MAXIMUM_LENGTH} are allowed", bytes.len()));
        }
        let message = wire::RecoveryArrangement::decode(bytes).map_err(|error| error.to_string())?;
        if message.shares.is_empty() || message.shares.len() > MAXIMUM_RECIPIENTS {
            return Err(format!("it has {} shares", message.shares.len()));
        }
        let id = message.id.as_slice().try_into().map_err(|_| "its id has not 32 bytes".to_owned())?;
        let threshold = u8::try_from(message.threshold)
            .ok()
            .filter(|threshold| (1..=message.shares.len()).contains(&usize::from(*threshold)));
        let threshold = threshold.ok_or("its threshold is not 1 to the number of shares")?;
        let mut shares: Vec<WrappedShare> = Vec::with_capacity(message.shares.len());
        for share in message.shares {
            let recipient: RecoveryRecipient = share.recipient.parse().map_err(|error| format!("{error}"))?;
            if shares.iter().any(|other| other.recipient == recipient) {
                return Err(format!("{recipient} has two shares"));
            }
            let digest =
                Sha256Digest::try_from(share.digest.as_slice()).map_err(|error| error.to_string())?;
            if share.wrapped.len() > MAXIMUM_WRAPPED_LENGTH {
                return Err(format!("the share of {recipient} has {} bytes", share.wrapped.len()));
            }
            shares.push(WrappedShare { recipient, digest, wrapped: share.wrapped });
        }
        if message.evidence.len() > MAXIMUM_EVIDENCE_LENGTH
            || message.endorsements.len() > MAXIMUM_EVIDENCE_LENGTH
        {
            return Err("its evidence is too long".to_owned());
        }
        let format = match session::EvidenceFormat::try_from(message.evidence_format) {
            Ok(session::EvidenceFormat::DcapQuote) => EvidenceFormat::DcapQuote,
            Ok(session::EvidenceFormat::SnpReport) => EvidenceFormat::SnpReport,
            _ => return Err("its evidence is of an unknown format".to_owned()),
        };
        Ok(Self {
            id,
            threshold,
            shares,
            sealed_root_key: message.sealed_root_key,
            evidence: Evidence { format, bytes: message.evidence, endorsements: message.endorsements },
            simulation_roots: message.simulation_roots,
        })
    }
}

/// Which arrangement these bytes are.
pub fn digest_of(encoded: &[u8]) -> [u8; 32] {
    let mut hasher = LengthPrefixed::<Sha256>::new();
    hasher.field(b"adytum recovery arrangement bytes v1");
    hasher.field(encoded);
    hasher.finish().into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::recovery::sharing::RecoveryIdentity;

    fn genesis(byte: u8) -> GenesisDigest {
        GenesisDigest(Sha256Digest([byte; 32]))
    }

    fn made(threshold: u8, keys: &[RecoveryIdentity]) -> (RootKey, Arrangement) {
        let root = RootKey::generate().unwrap();
        let recipients: Vec<_> = keys.iter().map(RecoveryIdentity::recipient).collect();
        let arrangement =
            Arrangement::unattested(&root, genesis(1), (threshold, &recipients), Vec::new()).unwrap();
        (root, arrangement)
    }

    fn keys() -> [RecoveryIdentity; 3] {
        std::array::from_fn(|_| RecoveryIdentity::generate())
    }

    fn unwrapped(arrangement: &Arrangement, key: &RecoveryIdentity) -> Share {
        key.unwrap(&arrangement.share_of(&key.recipient()).unwrap().wrapped).unwrap()
    }

    #[test]
    fn enough_shares_give_the_root_key_and_others_nothing() {
        let keys = keys();
        let (root, arrangement) = made(2, &keys);
        let share = |n: usize| unwrapped(&arrangement, &keys[n]);
        let recover = |genesis, shares: &[Share]| arrangement.recover(genesis, shares).map(|key| *key.0);
        assert_eq!(recover(genesis(1), &[share(2), share(0)]), Some(*root.0));
        assert_eq!(recover(genesis(2), &[share(2), share(0)]), None);
        assert_eq!(recover(genesis(1), &[share(0)]), None);
        // Shares of a former arrangement of the same root key.
        let recipients: Vec<_> = keys.iter().map(RecoveryIdentity::recipient).collect();
        let later = Arrangement::unattested(&root, genesis(1), (2, &recipients), Vec::new()).unwrap();
        assert!(later.recover(genesis(1), &[share(0), share(1)]).is_none());
        for (at, wrapped) in arrangement.shares().iter().enumerate() {
            assert!(arrangement.is_share(genesis(1), wrapped, &share(at)));
            assert!(!arrangement.is_share(genesis(1), wrapped, &share((at + 1) % 3)));
            assert!(!later.is_share(genesis(1), &later.shares()[at], &share(at)));
        }
    }

    #[test]
    fn each_field_is_under_the_evidence_but_the_ciphertexts() {
        let keys = keys();
        let (_, arrangement) = made(2, &keys);
        let base = arrangement.report_data(genesis(1));
        assert_ne!(arrangement.report_data(genesis(2)), base);
        let change = |change: &dyn Fn(&mut Arrangement)| {
            let mut other = arrangement.clone();
            change(&mut other);
            other.report_data(genesis(1))
        };
        assert_ne!(change(&|a| a.id[0] ^= 1), base);
        assert_ne!(change(&|a| a.threshold = 1), base);
        assert_ne!(change(&|a| a.sealed_root_key[40] ^= 1), base);
        assert_ne!(change(&|a| a.shares[1].digest.0[0] ^= 1), base);
        assert_ne!(change(&|a| a.shares.swap(0, 1)), base);
        assert_ne!(change(&|a| drop(a.shares.pop())), base);
    }

    #[test]
    fn bytes_go_both_ways() {
        let (_, arrangement) = made(2, &keys());
        assert_eq!(Arrangement::decode(&arrangement.encode()).unwrap(), arrangement);
        let mut twice = arrangement.clone();
        twice.shares[1].recipient = twice.shares[0].recipient.clone();
        assert_eq!(Arrangement::decode(&twice.encode()).unwrap_err().code(), "recovery-malformed");
        for threshold in [0, 4] {
            let bad = Arrangement { threshold, ..arrangement.clone() };
            assert!(Arrangement::decode(&bad.encode()).is_err());
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Arrangement::decode(&bytes);
        }
    }
}
