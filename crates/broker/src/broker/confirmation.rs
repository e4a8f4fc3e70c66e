//! Which state is the newest: what the broker itself can't know, and asks of
//! those who remember.
//!
//! After an unplanned restart (it was killed, the machine died, or a backup was
//! restored) the state on the disk may be an older one that the host has put
//! there. Unless the manifest says otherwise, the broker then releases nothing
//! until the owners of that state confirm it, as many as must agree to a change. The
//! tool of each remembers the highest head it has seen, and says so. A copy that the
//! host kept from a shutdown in good order looks planned. For every such
//! start to be noticed, let the broker wait after planned ones too.

use std::collections::BTreeSet;

use adytum_governance::{
    approval::ApprovalError,
    confirmation::{Challenge, Confirmation, SignedConfirmation},
    head::{HeadError, MalformedHead, StateHead, follows},
};
use adytum_signing::OwnerPublicKey;

use super::{Broker, state::State};
use crate::store::{Change, CommittedChange, StoreError};

/// Why a head that a peer has seen is not accepted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeenError {
    /// Not a head.
    #[error("the head in the request: {0}")]
    Malformed(#[from] MalformedHead),
    /// This broker's state does not continue it.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// It can't be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SeenError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(error) => error.code(),
            Self::Head(error) => error.code(),
            Self::Store(error) => error.code(),
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Store(error) if error.retry())
    }
}

/// Why a state is not confirmed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfirmationError {
    /// Those who must did not sign it.
    #[error("the confirmation: {0}")]
    Approval(#[from] ApprovalError),
    /// The confirmation was signed for another start of the broker, or for another broker.
    ///
    /// Do: look at the broker's state once more and have the owners sign for this start,
    /// with `adytum broker confirm`.
    ///
    /// Retry: no
    #[error(
        "the confirmation was signed for another start of the broker; look at the state again, and sign it for this one"
    )]
    OtherStart,
    /// The head confirmed can't be judged, or is not of this state.
    #[error(transparent)]
    Seen(#[from] SeenError),
    /// The confirmation is for the state before a restart or a manifest.
    ///
    /// Do: look at the present state and have the owners sign again, with `adytum broker
    /// confirm`.
    ///
    /// Retry: no
    #[error(
        "the command confirms {confirmed}, and the broker is at {current}; look at that and confirm again"
    )]
    Stale {
        /// The head in the command.
        confirmed: Box<StateHead>,
        current: Box<StateHead>,
    },
    /// An owner who confirms the state has seen a newer one.
    ///
    /// Do: find out who put the older state there, and put the newest one back. If you
    /// restored a backup, use `adytum broker confirm --accept-rollback`.
    ///
    /// Retry: no
    #[error("{signer} confirms this state and has seen a newer one ({seen}): {source}")]
    NewerSeen {
        signer: OwnerPublicKey,
        /// The head that the signer's tool remembers.
        seen: Box<StateHead>,
        /// Why the state does not continue it.
        source: HeadError,
    },
    /// The state that would be given up is not newer than the broker's.
    ///
    /// Do: run `adytum broker confirm` without `--accept-rollback`.
    ///
    /// Retry: no
    #[error(
        "nothing would be given up: the broker, at {current}, continues {given_up}; leave the flag out of \
         `adytum broker confirm --accept-rollback`"
    )]
    NothingGivenUp {
        /// The head in the command.
        given_up: Box<StateHead>,
        current: Box<StateHead>,
    },
    /// An owner has seen a state that is newer than the one that is given up.
    ///
    /// Do: look for that state first. If it is lost, that owner begins, with `adytum
    /// broker confirm --accept-rollback --out`, so that the newest state is named.
    ///
    /// Retry: no
    #[error(
        "{signer} has seen {seen}, which is not given up by giving up {given_up}; name the newest state that was seen"
    )]
    NotGivenUp {
        signer: OwnerPublicKey,
        /// The head that the signer's tool remembers.
        seen: Box<StateHead>,
        /// The head in the command.
        given_up: Box<StateHead>,
    },
}

impl ConfirmationError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Approval(error) => error.code(),
            Self::OtherStart => "confirmation-other-start",
            Self::Seen(error) => error.code(),
            Self::Stale { .. } => "confirmation-stale",
            Self::NewerSeen { .. } => "confirmation-newer-seen",
            Self::NothingGivenUp { .. } => "confirmation-nothing-given-up",
            Self::NotGivenUp { .. } => "confirmation-newer-than-given-up",
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Seen(error) if error.retry())
    }
}

impl Broker {
    /// Does the broker wait for the owners to confirm its state?
    pub fn awaiting_confirmation(&self) -> bool {
        self.confirmation().awaited()
    }

    /// Does the state continue the one that a peer has seen? A head tells that it
    /// is not older; that it is not another, the audit log tells.
    pub async fn continues(&self, seen: &StateHead) -> Result<(), SeenError> {
        let current = self.store().head();
        follows(seen, &current)?;
        if seen.audit_size == 0 || seen.audit_size == current.audit_size {
            return Ok(());
        }
        let (store, number) = (self.store().clone(), seen.audit_size);
        let hash = tokio::task::spawn_blocking(move || store.record_hash(number))
            .await
            .map_err(|_| StoreError::Closed)??;
        // A store in memory forgets old records, and ends with the process.
        let forgotten = hash.is_none() && !self.store().durable();
        if !forgotten && hash != seen.audit_hash {
            return Err(HeadError::Forked { seen: Box::new(seen.clone()), found: Box::new(current) }.into());
        }
        Ok(())
    }

    /// What owners sign when they confirm the state of this start.
    pub fn challenge(&self) -> Challenge {
        self.confirmation().challenge()
    }

    /// The owners who confirm this state, or give a newer one up for it: enough of those
    /// in the state itself, none of whom has seen more than is given up. The caller holds
    /// the lock on changes.
    pub(crate) async fn confirmed_by(
        &self,
        signed: &SignedConfirmation,
        state: &State,
    ) -> Result<BTreeSet<OwnerPublicKey>, ConfirmationError> {
        let Confirmation { challenge, head, given_up } = &signed.confirmation;
        if *challenge != self.challenge() {
            return Err(ConfirmationError::OtherStart);
        }
        let confirm_by = state.manifest().and_then(|manifest| manifest.confirm_by);
        let signers = signed.approved_by(self.genesis_digest(), &state.roles.owners, confirm_by)?;
        self.continues(head).await?;
        let current = self.store().head();
        if (head.epoch, head.manifest_version) != (current.epoch, current.manifest_version) {
            return Err(ConfirmationError::Stale {
                confirmed: Box::new(head.clone()),
                current: Box::new(current),
            });
        }
        if let Some(given_up) = given_up
            && self.is_continued(given_up).await?.is_ok()
        {
            return Err(ConfirmationError::NothingGivenUp {
                given_up: Box::new(given_up.clone()),
                current: Box::new(current),
            });
        }
        for one in &signed.signatures {
            let (signer, Some(seen)) = (one.approval.owner, &one.seen) else { continue };
            let Err(newer) = self.is_continued(seen).await? else { continue };
            match given_up {
                None => {
                    let seen = Box::new(seen.clone());
                    return Err(ConfirmationError::NewerSeen { signer, seen, source: newer });
                }
                Some(given_up) if follows(seen, given_up).is_err() => {
                    let (seen, given_up) = (Box::new(seen.clone()), Box::new(given_up.clone()));
                    return Err(ConfirmationError::NotGivenUp { signer, seen, given_up });
                }
                Some(_) => {}
            }
        }
        Ok(signers)
    }

    /// As [`Self::continues`], with what can't be looked up apart.
    async fn is_continued(&self, seen: &StateHead) -> Result<Result<(), HeadError>, SeenError> {
        match self.continues(seen).await {
            Ok(()) => Ok(Ok(())),
            Err(SeenError::Head(error)) => Ok(Err(error)),
            Err(error) => Err(error),
        }
    }

    /// Keeps a confirmation, together with its record. The caller has asked
    /// [`Self::confirmed_by`], and holds the lock on changes.
    pub(crate) async fn keep_confirmation(&self, audit: Vec<Vec<u8>>) -> Result<CommittedChange, StoreError> {
        let committed = self.store().commit(Change { confirmed: true, audit, ..Change::default() }).await?;
        self.confirmation().given();
        Ok(committed)
    }
}
