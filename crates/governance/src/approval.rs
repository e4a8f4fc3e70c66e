//! Owners' agreement: enough distinct owners signed the same bytes.

use std::collections::BTreeSet;

use adytum_api::broker;
use adytum_signing::{KeyError, OwnerPublicKey, OwnerSignature, OwnerSigningKey, Purpose};

/// The most owners that a broker may have.
pub const MAXIMUM_OWNERS: usize = 64;

/// A signature and the key of the owner that it names. Not verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerApproval {
    /// The key that is named; nothing shows yet that it signed.
    pub owner: OwnerPublicKey,
    pub signature: OwnerSignature,
}

impl OwnerApproval {
    /// Signs these fields for this purpose.
    pub fn sign(key: &OwnerSigningKey, purpose: Purpose, fields: &[&[u8]]) -> Self {
        Self { owner: key.public_key(), signature: key.sign(purpose, fields) }
    }

    /// Reads the wire form of many, at most one an owner that a genesis can have.
    pub fn from_wire(wire: &[broker::OwnerSignature]) -> Result<Vec<Self>, ApprovalError> {
        if wire.len() > MAXIMUM_OWNERS {
            return Err(ApprovalError::TooMany { found: wire.len() });
        }
        wire.iter()
            .map(|one| {
                Ok(Self {
                    owner: OwnerPublicKey::try_from(one.public_key.as_slice())?,
                    signature: OwnerSignature::try_from(one.signature.as_slice())?,
                })
            })
            .collect()
    }

    /// The wire form.
    pub fn to_wire(&self) -> broker::OwnerSignature {
        broker::OwnerSignature { public_key: self.owner.0.to_vec(), signature: self.signature.0.to_vec() }
    }
}

/// Why signatures are not the owners' agreement.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApprovalError {
    /// No owner's signature is on the document or the command.
    ///
    /// Do: sign a manifest with `adytum manifest sign`; give other commands the key of each owner
    /// who must agree (`--owner`).
    #[error("it is not signed; {needed} owner(s) must sign it")]
    Unsigned {
        /// How many owners must sign.
        needed: usize,
    },
    /// There are more signatures than a broker can have owners.
    ///
    /// Do: sign again into a new file, with one signature of each owner who must agree.
    #[error("it has {found} signatures; at most {MAXIMUM_OWNERS} are allowed, one of each owner")]
    TooMany {
        /// How many it carries.
        found: usize,
    },
    /// A key or a signature has the wrong length.
    ///
    /// Do: sign again with an `adytum` of the broker's version.
    #[error("a signature can't be read: {0}")]
    Malformed(#[from] KeyError),
    /// A signature is by a key that is not the key of an owner in force.
    ///
    /// Do: sign with the keys of the owners in force; `adytum manifest history` shows the
    /// manifests that changed them.
    #[error(
        "{signer} signed it and is not an owner of this broker, or no longer; sign with the keys of the owners \
         in force"
    )]
    Stranger { signer: OwnerPublicKey },
    /// One owner signed twice; the signatures must be those of distinct owners.
    ///
    /// Do: give the key of each owner once.
    #[error("{signer} signed it twice; the signatures must be those of distinct owners")]
    SameOwnerTwice { signer: OwnerPublicKey },
    /// A signature is over something else than this document for this broker, session and
    /// version.
    ///
    /// Do: sign again after the last change, for the genesis of this broker.
    #[error(
        "the signature of {signer} is not over this document for this broker: it was changed after signing, or \
         signed for another broker, session or version"
    )]
    Invalid { signer: OwnerPublicKey },
    /// Fewer owners signed than the threshold of owners.
    ///
    /// Do: add signatures of other owners, with `adytum manifest sign` or with `--owner` once for
    /// each key. The genesis, or \[owners\] of a later manifest, has the threshold.
    #[error("{found} owner(s) signed it; {needed} must")]
    BelowThreshold {
        /// How many must sign.
        needed: usize,
        found: usize,
    },
}

impl ApprovalError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unsigned { .. } => "signature-missing",
            Self::TooMany { .. } => "signature-too-many",
            Self::Malformed(_) => "signature-malformed",
            Self::Stranger { .. } => "signature-by-stranger",
            Self::SameOwnerTwice { .. } => "signature-by-same-owner-twice",
            Self::Invalid { .. } => "signature-invalid",
            Self::BelowThreshold { .. } => "signatures-below-threshold",
        }
    }
}

/// The owners who agreed, if at least `needed` distinct ones of these keys signed these
/// fields. One signature by another key, or one that is not valid, refuses the whole:
/// nobody sends such by mistake.
pub fn agreed(
    keys: &BTreeSet<OwnerPublicKey>,
    needed: usize,
    purpose: Purpose,
    fields: &[&[u8]],
    approvals: &[OwnerApproval],
) -> Result<BTreeSet<OwnerPublicKey>, ApprovalError> {
    let valid =
        |approval: &OwnerApproval| approval.owner.verify(purpose, fields, &approval.signature).is_ok();
    agreed_if(keys, needed, approvals, valid)
}

/// As [`agreed`], where `valid` says whether a signature is good: for documents of which
/// each owner signs a form of their own.
pub(crate) fn agreed_if(
    keys: &BTreeSet<OwnerPublicKey>,
    needed: usize,
    approvals: &[OwnerApproval],
    valid: impl Fn(&OwnerApproval) -> bool,
) -> Result<BTreeSet<OwnerPublicKey>, ApprovalError> {
    if approvals.is_empty() {
        return Err(ApprovalError::Unsigned { needed });
    }
    if approvals.len() > MAXIMUM_OWNERS {
        return Err(ApprovalError::TooMany { found: approvals.len() });
    }
    let mut signers = BTreeSet::new();
    for approval in approvals {
        let signer = approval.owner;
        if !keys.contains(&signer) {
            return Err(ApprovalError::Stranger { signer });
        }
        if !signers.insert(signer) {
            return Err(ApprovalError::SameOwnerTwice { signer });
        }
    }
    // Verified after the cheap checks, so that a stranger costs no curve arithmetic.
    if let Some(invalid) = approvals.iter().find(|approval| !valid(approval)) {
        return Err(ApprovalError::Invalid { signer: invalid.owner });
    }
    if signers.len() < needed {
        return Err(ApprovalError::BelowThreshold { needed, found: signers.len() });
    }
    Ok(signers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&[u8]] = &[b"one", b"two"];

    fn keys() -> [OwnerSigningKey; 3] {
        std::array::from_fn(|_| OwnerSigningKey::generate().unwrap())
    }

    fn sign(key: &OwnerSigningKey) -> OwnerApproval {
        OwnerApproval::sign(key, Purpose::Manifest, FIELDS)
    }

    #[test]
    fn a_threshold_of_distinct_owners_is_agreement_and_nothing_less() {
        let [a, b, thief] = keys();
        let owners = BTreeSet::from([a.public_key(), b.public_key()]);
        let judge = |approvals: &[OwnerApproval]| {
            agreed(&owners, 2, Purpose::Manifest, FIELDS, approvals).map_err(|error| error.code())
        };
        assert_eq!(judge(&[sign(&a), sign(&b)]).unwrap().len(), 2);
        assert_eq!(judge(&[]), Err("signature-missing"));
        assert_eq!(judge(&[sign(&a)]), Err("signatures-below-threshold"));
        assert_eq!(judge(&[sign(&a), sign(&a)]), Err("signature-by-same-owner-twice"));
        assert_eq!(judge(&[sign(&a), sign(&thief)]), Err("signature-by-stranger"));
        // A thief who writes an owner's key before his own signature.
        let forged = OwnerApproval { owner: b.public_key(), ..sign(&thief) };
        assert_eq!(judge(&[sign(&a), forged]), Err("signature-invalid"));
        // Signed for another purpose.
        let command = OwnerApproval::sign(&b, Purpose::Command, FIELDS);
        assert_eq!(judge(&[sign(&a), command]), Err("signature-invalid"));
        assert_eq!(judge(&vec![sign(&a); 65]), Err("signature-too-many"));
    }

    #[test]
    fn wire_form_is_read_with_limits() {
        let [a, ..] = keys();
        let approval = sign(&a);
        assert_eq!(OwnerApproval::from_wire(&[approval.to_wire()]).unwrap(), [approval]);
        let short = broker::OwnerSignature { signature: vec![1; 63], ..approval.to_wire() };
        assert_eq!(OwnerApproval::from_wire(&[short]).unwrap_err().code(), "signature-malformed");
        let many = vec![approval.to_wire(); 65];
        assert_eq!(OwnerApproval::from_wire(&many).unwrap_err().code(), "signature-too-many");
    }
}
