//! A broker that awaits recovery: its store is here and its root key is not. It
//! takes shares until they are enough.
//!
//! A share needs no other authority than the attested session in which it comes. Its
//! holder got it on purpose, and k holders have the root key anyway. An owner's signature
//! would add nothing against them, and would prevent the recovery where owners' keys were
//! lost too. A wrong share is refused by its digest, and its session is closed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

use adytum_api::broker as wire;
use adytum_evidence::attester::SealingKey;
use adytum_governance::{
    genesis::GenesisDigest,
    recovery::{
        arrangement::Arrangement,
        root_key::RootKey,
        sealing,
        sharing::{RecoveryRecipient, Share, SharingError},
    },
};
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::store::{LoadedState, LockedStore, Store, StoreError};

/// A store whose root key is not there.
pub struct PendingRecovery {
    genesis: GenesisDigest,
    arrangement: Arrangement,
    sealing: Option<SealingKey>,
    progress: Mutex<Progress>,
    recovered: Notify,
}

struct Progress {
    locked: Option<LockedStore>,
    supplied: BTreeMap<RecoveryRecipient, Share>,
    root: Option<(RootKey, RecoveryRecord)>,
}

/// Who brought a root key back: to be recorded once there is a log to record it in.
#[derive(Clone, Debug)]
pub struct RecoveryRecord {
    /// Who supplied the last share.
    pub from: SocketAddr,
    /// Whose shares they were.
    pub recipients: Vec<RecoveryRecipient>,
}

/// A state that was recovered.
pub struct RecoveredState {
    pub store: (Store, LoadedState),
    /// Who brought its root key back.
    pub by: RecoveryRecord,
}

/// Why a share is not taken.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupplyError {
    /// The share is of another arrangement for recovery than the one in the broker's state.
    ///
    /// Do: run `adytum broker recover` again: it unwraps the share that this broker gives out.
    #[error(
        "the share is of another arrangement for recovery than the one in the broker's state: the arrangement \
         was changed since, or it is another broker's; unwrap the share that this broker gives out"
    )]
    OtherArrangement,
    /// The arrangement for recovery has no share for this recipient.
    ///
    /// Do: use a recovery key that `[recovery]` of the manifest in force names.
    #[error(
        "{recipient} has no share in this arrangement for recovery; use a recovery key that [recovery] of the \
         manifest names"
    )]
    UnknownRecipient {
        /// The recipient that the request names, as text.
        recipient: String,
    },
    /// Not a share at all.
    #[error(transparent)]
    Sharing(#[from] SharingError),
    /// The share is not the share that was made for this recipient.
    ///
    /// Do: run `adytum broker recover` again with the recovery key of this recipient.
    #[error(
        "this is not the share that was made for {recipient}; run `adytum broker recover` again with that \
         recovery key"
    )]
    Wrong {
        /// Whose it was said to be.
        recipient: RecoveryRecipient,
    },
    /// The shares are right, and the key that they give does not open the store: the state file
    /// was changed.
    ///
    /// Do: put back the state file that the broker wrote, or a backup with `adytum-broker
    /// restore`.
    #[error(
        "the shares of {recipients} are those of the arrangement, but what they give does not open the store: \
         somebody changed the state file; put the file back that the broker wrote"
    )]
    DoNotOpen { recipients: String },
    /// The root key is recovered already, so no share is needed.
    ///
    /// Do: look at the broker with `adytum broker status`.
    #[error("the root key is recovered already, so no share is needed; see `adytum broker status`")]
    Recovered,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SupplyError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::OtherArrangement => "share-of-other-arrangement",
            Self::UnknownRecipient { .. } => "share-recipient-unknown",
            Self::Sharing(error) => error.code(),
            Self::Wrong { .. } => "share-wrong",
            Self::DoNotOpen { .. } => "shares-do-not-open",
            Self::Recovered => "recovered-already",
            Self::Store(error) => error.code(),
        }
    }
}

impl PendingRecovery {
    pub(super) fn new(locked: LockedStore, arrangement: Arrangement, sealing: Option<SealingKey>) -> Self {
        let genesis = locked.genesis();
        let progress = Progress { locked: Some(locked), supplied: BTreeMap::new(), root: None };
        Self { genesis, arrangement, sealing, progress: Mutex::new(progress), recovered: Notify::new() }
    }

    /// How the root key comes back.
    pub fn arrangement(&self) -> &Arrangement {
        &self.arrangement
    }

    /// How far it is.
    pub fn status(&self) -> wire::RecoveryStatus {
        let progress = self.progress();
        wire::RecoveryStatus {
            awaiting: progress.root.is_none(),
            fenced: false,
            threshold: self.arrangement.threshold().into(),
            supplied: progress.supplied.keys().map(ToString::to_string).collect(),
            arrangement: self.arrangement.encode(),
        }
    }

    /// Takes a share. With the last that is needed the root key is put together,
    /// tried on the store and sealed for the next start here; then all shares are
    /// wiped. Blocks on the disk.
    pub fn supply(
        &self,
        from: SocketAddr,
        request: wire::SupplyShareRequest,
    ) -> Result<wire::RecoveryStatus, SupplyError> {
        let bytes = Zeroizing::new(request.share);
        if request.arrangement != self.arrangement.id() {
            return Err(SupplyError::OtherArrangement);
        }
        let unknown =
            || SupplyError::UnknownRecipient { recipient: request.recipient.chars().take(80).collect() };
        let recipient: RecoveryRecipient = request.recipient.parse().map_err(|_| unknown())?;
        let wrapped = self.arrangement.share_of(&recipient).ok_or_else(unknown)?;
        let share = Share::from_bytes(&bytes)?;
        if !self.arrangement.is_share(self.genesis, wrapped, &share) {
            return Err(SupplyError::Wrong { recipient });
        }
        let mut progress = self.progress();
        if progress.root.is_some() {
            return Err(SupplyError::Recovered);
        }
        tracing::info!(%recipient, peer = %from, "a share of the recovery key was supplied");
        progress.supplied.insert(recipient, share);
        if progress.supplied.len() >= usize::from(self.arrangement.threshold()) {
            self.put_together(from, &mut progress)?;
        }
        drop(progress);
        Ok(self.status())
    }

    fn put_together(&self, from: SocketAddr, progress: &mut Progress) -> Result<(), SupplyError> {
        let supplied = std::mem::take(&mut progress.supplied);
        let by = RecoveryRecord { from, recipients: supplied.keys().cloned().collect() };
        let recipients = by.recipients.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let shares: Vec<Share> = supplied.into_values().collect();
        let root = self.arrangement.recover(self.genesis, &shares);
        drop(shares);
        let Some(locked) = &progress.locked else { return Err(SupplyError::Recovered) };
        let Some(root) = root else { return Err(SupplyError::DoNotOpen { recipients }) };
        if !locked.opens_with(&root)? {
            return Err(SupplyError::DoNotOpen { recipients });
        }
        // Nobody here knows whether this is the newest state there is: an owner
        // confirms it, as after any unplanned restart.
        locked.mark_restored()?;
        if let Some(key) = &self.sealing {
            let sealed = sealing::for_next_start(key, self.genesis, &root).map_err(StoreError::from)?;
            locked.set_envelope(sealing::ENVELOPE, &sealed)?;
        }
        progress.root = Some((root, by));
        self.recovered.notify_one();
        Ok(())
    }

    /// Waits until the root key is there.
    pub async fn recovered(&self) {
        self.recovered.notified().await;
    }

    /// Opens the store with the recovered key; `None` while it is not there. Can
    /// be done once. Blocks on the disk.
    pub fn open(&self) -> Option<Result<RecoveredState, StoreError>> {
        let mut progress = self.progress();
        let (root, by) = progress.root.clone()?;
        let locked = progress.locked.take()?;
        Some(locked.unlock(&root).map(|store| RecoveredState { store, by }))
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for PendingRecovery {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PendingRecovery")
            .field("arrangement", &hex::encode(self.arrangement.id()))
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for RecoveredState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecoveredState").field("by", &self.by).finish_non_exhaustive()
    }
}
