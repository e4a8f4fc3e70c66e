//! The roles: the owners in force, and auditors.
//!
//! The genesis names the first owners. A manifest with `[owners]`, signed by the
//! owners in force before it, names those that count from then on; one without
//! leaves everything as it is. So who is an owner now follows from the genesis and
//! the manifests that changed it, each verified under those before.

use std::collections::BTreeSet;

use adytum_signing::{OwnerPublicKey, Purpose};

use crate::approval::{ApprovalError, MAXIMUM_OWNERS, OwnerApproval, agreed};

/// The most auditors.
pub const MAXIMUM_AUDITORS: usize = 64;

/// Owners, and how many of them must agree to a change: at least one owner, and a
/// threshold that they can reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    keys: BTreeSet<OwnerPublicKey>,
    threshold: usize,
}

/// Why keys and a threshold are no owners.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OwnersError {
    /// Nobody could ever change anything.
    #[error("no owner is named; name at least one public key")]
    None,
    /// More than [`MAXIMUM_OWNERS`].
    #[error("{found} owners are named; at most {MAXIMUM_OWNERS} are allowed")]
    TooMany { found: usize },
    /// One key twice: one person would count as two.
    #[error("the owner {owner} is named twice")]
    Duplicate { owner: OwnerPublicKey },
    /// A threshold that is zero or that the owners can't reach.
    #[error("the threshold is {found}; with {owners} owner(s) it must be 1 to {owners}")]
    Threshold {
        found: u64,
        /// How many owners there are.
        owners: usize,
    },
}

impl Owners {
    /// `threshold` of these must agree.
    pub fn new(keys: impl IntoIterator<Item = OwnerPublicKey>, threshold: u64) -> Result<Self, OwnersError> {
        let named: Vec<_> = keys.into_iter().collect();
        if named.is_empty() {
            return Err(OwnersError::None);
        }
        if named.len() > MAXIMUM_OWNERS {
            return Err(OwnersError::TooMany { found: named.len() });
        }
        let mut keys = BTreeSet::new();
        for owner in named {
            if !keys.insert(owner) {
                return Err(OwnersError::Duplicate { owner });
            }
        }
        match usize::try_from(threshold) {
            Ok(reachable) if (1..=keys.len()).contains(&reachable) => Ok(Self { keys, threshold: reachable }),
            _ => Err(OwnersError::Threshold { found: threshold, owners: keys.len() }),
        }
    }

    /// Their public keys.
    pub fn keys(&self) -> &BTreeSet<OwnerPublicKey> {
        &self.keys
    }

    /// How many must sign a change; 1 to their number.
    pub fn threshold(&self) -> usize {
        self.threshold
    }
}

/// What `[owners]` of a manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RolesRule {
    /// The owners from this version on; `None` leaves them as they are.
    pub owners: Option<Owners>,
    /// The auditors from this version on.
    pub auditors: BTreeSet<OwnerPublicKey>,
}

/// What a command is allowed to by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// As many owners as must agree to a change.
    Threshold,
    /// Any one owner.
    OneOwner,
    /// Any one owner or auditor.
    OneReader,
}

/// The owners and the auditors at one time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// The owners in force.
    pub owners: Owners,
    /// The keys that may read everything but values, and change nothing.
    pub auditors: BTreeSet<OwnerPublicKey>,
}

/// Why a signer's role does not allow a command.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoleError {
    /// The signatures are not those of owners, or too few.
    #[error("the command: {0}")]
    Approval(#[from] ApprovalError),
    /// An auditor signed a command that only owners may give.
    ///
    /// Do: sign with the keys of owners (`--owner`); docs/manifest.md lists the commands that
    /// auditors may give.
    #[error("{signer} is an auditor of this broker and may only read; owners must sign this command")]
    NotAllowed { signer: OwnerPublicKey },
}

impl RoleError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Approval(error) => error.code(),
            Self::NotAllowed { .. } => "role-not-allowed",
        }
    }
}

impl Roles {
    /// Before the first manifest.
    pub fn initial(owners: &Owners) -> Self {
        Self { owners: owners.clone(), auditors: BTreeSet::new() }
    }

    /// Once a manifest that says this about roles is in force.
    #[must_use]
    pub fn after(&self, rule: Option<&RolesRule>) -> Self {
        let Some(rule) = rule else { return self.clone() };
        Self { owners: rule.owners.as_ref().unwrap_or(&self.owners).clone(), auditors: rule.auditors.clone() }
    }

    /// Who signed these fields of a command, if that is enough for what it needs.
    pub fn allow(
        &self,
        needs: Needs,
        fields: &[&[u8]],
        approvals: &[OwnerApproval],
    ) -> Result<BTreeSet<OwnerPublicKey>, RoleError> {
        let by_auditor =
            |approval: &OwnerApproval| self.auditors.contains(&approval.owner) && !self.is_owner(approval);
        let needed = if needs == Needs::Threshold { self.owners.threshold() } else { 1 };
        let Some(auditor) = approvals.iter().find(|approval| by_auditor(approval)) else {
            return Ok(agreed(self.owners.keys(), needed, Purpose::Command, fields, approvals)?);
        };
        // First the signatures: a peer that can't sign as an auditor is none.
        let readers = self.owners.keys().union(&self.auditors).copied().collect();
        let signers = agreed(&readers, 1, Purpose::Command, fields, approvals)?;
        match needs {
            Needs::OneReader => Ok(signers),
            Needs::Threshold | Needs::OneOwner => Err(RoleError::NotAllowed { signer: auditor.owner }),
        }
    }

    fn is_owner(&self, approval: &OwnerApproval) -> bool {
        self.owners.keys().contains(&approval.owner)
    }
}

#[cfg(test)]
mod tests {
    use adytum_signing::OwnerSigningKey;
    use adytum_testkit::owners::owner as key;

    use super::*;

    const FIELDS: &[&[u8]] = &[b"one", b"two"];

    fn sign(key: &OwnerSigningKey) -> OwnerApproval {
        OwnerApproval::sign(key, Purpose::Command, FIELDS)
    }

    #[test]
    fn owners_hold_together() {
        let [a, b] = [key().public_key(), key().public_key()];
        assert_eq!(Owners::new([a, b], 2).unwrap().threshold(), 2);
        assert_eq!(Owners::new([], 1), Err(OwnersError::None));
        assert_eq!(Owners::new([a, a], 1), Err(OwnersError::Duplicate { owner: a }));
        for threshold in [0, 3, u64::MAX] {
            let wanted = OwnersError::Threshold { found: threshold, owners: 2 };
            assert_eq!(Owners::new([a, b], threshold), Err(wanted));
        }
        let many = (0..65).map(|_| key().public_key());
        assert_eq!(Owners::new(many, 1), Err(OwnersError::TooMany { found: 65 }));
    }

    #[test]
    fn owners_change_auditors_read_and_strangers_do_neither() {
        let [a, b, auditor, stranger] = [key(), key(), key(), key()];
        let owners = Owners::new([a.public_key(), b.public_key()], 2).unwrap();
        let rule = RolesRule { owners: None, auditors: BTreeSet::from([auditor.public_key()]) };
        let roles = Roles::initial(&owners).after(Some(&rule)).after(None);
        let allow = |needs, approvals: &[OwnerApproval]| {
            roles.allow(needs, FIELDS, approvals).map(|who| who.len()).map_err(|error| error.code())
        };
        use Needs::{OneOwner, OneReader, Threshold};
        assert_eq!(allow(Threshold, &[sign(&a), sign(&b)]), Ok(2));
        assert_eq!(allow(Threshold, &[sign(&a)]), Err("signatures-below-threshold"));
        assert_eq!(allow(OneOwner, &[sign(&a)]), Ok(1));
        assert_eq!(allow(OneReader, &[sign(&a)]), Ok(1));
        assert_eq!(allow(OneReader, &[sign(&auditor)]), Ok(1));
        for needs in [Threshold, OneOwner] {
            assert_eq!(allow(needs, &[sign(&auditor)]), Err("role-not-allowed"));
            assert_eq!(allow(needs, &[sign(&a), sign(&b), sign(&auditor)]), Err("role-not-allowed"));
        }
        for needs in [Threshold, OneOwner, OneReader] {
            assert_eq!(allow(needs, &[sign(&stranger)]), Err("signature-by-stranger"));
            assert_eq!(allow(needs, &[]), Err("signature-missing"));
            // Somebody who writes the auditor's key before his own signature.
            let forged = OwnerApproval { owner: auditor.public_key(), ..sign(&stranger) };
            assert_eq!(allow(needs, &[forged]), Err("signature-invalid"));
        }
    }

    #[test]
    fn an_owner_that_was_replaced_is_a_stranger() {
        let [former, next] = [key(), key()];
        let roles = Roles::initial(&Owners::new([former.public_key()], 1).unwrap());
        let rule = RolesRule {
            owners: Some(Owners::new([next.public_key()], 1).unwrap()),
            auditors: BTreeSet::new(),
        };
        let roles = roles.after(Some(&rule));
        let stranger = roles.allow(Needs::OneReader, FIELDS, &[sign(&former)]).unwrap_err();
        assert_eq!(stranger.code(), "signature-by-stranger");
        assert!(roles.allow(Needs::Threshold, FIELDS, &[sign(&next)]).is_ok());
    }
}
