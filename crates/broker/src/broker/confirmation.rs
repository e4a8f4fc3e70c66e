//! Which state is the newest: what the broker itself can't know, and asks of
//! those who remember.
//!
//! After an unplanned restart (it was killed, the machine died, or a backup was
//! restored) the state on the disk may be an older one that the host has put
//! there. Unless the manifest says otherwise, the broker then releases nothing
//! until an owner, whose tool remembers the highest head it has seen, confirms. A
//! copy that the host kept from a shutdown in good order looks planned. An owner who
//! wants no such start to go unnoticed has the broker wait after planned ones too.

use adytum_governance::head::{HeadError, MalformedHead, StateHead, follows};

use super::Broker;
use crate::store::{Change, Committed, StoreError};

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
    /// The command confirms a state from before a restart or before a manifest.
    ///
    /// Do: look at the state that `adytum broker status` shows, then run `adytum broker confirm`
    /// again.
    #[error(
        "the command confirms {confirmed}, and the broker is at {current}; compare with `adytum broker \
         status`, then confirm again"
    )]
    Stale {
        /// The head in the command.
        confirmed: Box<StateHead>,
        current: Box<StateHead>,
    },
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
            Self::Stale { .. } => "confirmation-stale",
            Self::Store(error) => error.code(),
        }
    }

    /// May the same request pass later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::Store(error) if error.retry())
    }
}

impl Broker {
    /// Does the broker wait for an owner to confirm its state?
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

    /// An owner says that this head is of the newest state there is. The caller
    /// has verified the owner, and holds the lock on changes.
    ///
    /// `audit` is its record, kept together with the confirmation.
    pub(crate) async fn confirm(
        &self,
        head: &StateHead,
        audit: Vec<Vec<u8>>,
    ) -> Result<Committed, SeenError> {
        self.continues(head).await?;
        let current = self.store().head();
        if (head.epoch, head.manifest_version) != (current.epoch, current.manifest_version) {
            return Err(SeenError::Stale { confirmed: Box::new(head.clone()), current: Box::new(current) });
        }
        let committed = self.store().commit(Change { confirmed: true, audit, ..Change::default() }).await?;
        self.confirmation().given();
        Ok(committed)
    }
}
