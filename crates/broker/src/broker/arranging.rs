//! A broker arranges for recovery: whenever the owners say who may recover, and
//! before a secret is kept that would be lost without.

use adytum_api::broker as wire;
use adytum_governance::{
    audit::events::{Event, Protocol, Who},
    recovery::{
        RecoveryRule,
        arrangement::{self, Arrangement, ArrangementError},
        sealing,
    },
};

use super::{Broker, administration::AdministrationError, state::State};
use crate::{
    start::{
        fence::{AUTHORISATION, FENCE},
        recovery::RecoveryRecord,
    },
    store::{Change, Item, StoreError},
};

impl Broker {
    /// The items to keep together with this next state so that it can be recovered
    /// as its manifest says: a new arrangement whenever `[recovery]` changes.
    ///
    /// A state with secrets in it that nobody has said how to recover is refused.
    pub(crate) async fn arrange_for(&self, next: &State) -> Result<Change, AdministrationError> {
        // A state that ends with the process is not to be recovered.
        if !self.store().durable() {
            return Ok(Change::default());
        }
        let rule = next.manifest().and_then(|manifest| manifest.recovery.as_ref());
        let holds_secrets =
            next.authority.is_some() || next.secrets.values().any(|secret| secret.value.is_some());
        if rule.is_none() && holds_secrets {
            return Err(AdministrationError::RecoveryNotArranged);
        }
        let state = self.state();
        if rule == state.manifest().and_then(|manifest| manifest.recovery.as_ref()) {
            return Ok(Change::default());
        }
        Ok(self.arrange(next, rule).await?)
    }

    /// Sees to it, at a start, that the arrangement in the envelope is the one that
    /// this broker made: the host can change it. `renew` makes another in any case:
    /// after a recovery or a handover, so that shares which were supplied once, or
    /// were made by another program, count no more.
    pub async fn keep_arranged(&self, renew: bool) -> Result<(), AdministrationError> {
        let _guard = self.lock_changes().await;
        let state = self.state();
        let Some(rule @ RecoveryRule::Shares { .. }) = state.manifest().and_then(|m| m.recovery.as_ref())
        else {
            return Ok(());
        };
        if !self.store().durable() || (!renew && self.is_arranged(rule)?) {
            return Ok(());
        }
        let change = self.arrange(&state, Some(rule)).await?;
        self.store().commit(change).await?;
        tracing::info!("a new recovery key was made and its shares wrapped to their recipients");
        Ok(())
    }

    /// Records who brought the root key back, and takes a fence away. Before anything is
    /// served.
    pub async fn record_recovery(&self, by: &RecoveryRecord) -> Result<(), AdministrationError> {
        let event = Event::Recovered {
            who: Who { address: by.from, protocol: Protocol::Session, attested: None },
            recipients: by.recipients.clone(),
            manifest_version: self.state().manifest_version(),
        };
        let audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        // The holders who bring the key back want this store to continue: a fence in it is
        // of a handover whose successor was lost.
        let items = vec![(FENCE, None), (AUTHORISATION, None)];
        let committed = self.store().commit(Change { items, audit, ..Change::default() }).await?;
        self.recorded(&committed, event).await?;
        Ok(())
    }

    fn is_arranged(&self, rule: &RecoveryRule) -> Result<bool, StoreError> {
        let (Some(kept), Some(digest)) =
            (self.store().envelope(arrangement::ENVELOPE)?, self.store().item(arrangement::ITEM)?)
        else {
            return Ok(false);
        };
        let follows = || Arrangement::decode(&kept).is_ok_and(|arrangement| arrangement.follows(rule));
        Ok(arrangement::digest_of(&kept) == digest.as_slice() && follows())
    }

    async fn arrange(&self, next: &State, rule: Option<&RecoveryRule>) -> Result<Change, ArrangementError> {
        let Some(RecoveryRule::Shares { threshold, recipients }) = rule else {
            return Ok(Change {
                items: vec![(arrangement::ITEM, None)],
                envelope: vec![(arrangement::ENVELOPE, None)],
                ..Change::default()
            });
        };
        let roots =
            next.manifest().map(|manifest| manifest.trust.simulation_roots.clone()).unwrap_or_default();
        let (root, genesis) = (self.store().root_key(), self.genesis_digest());
        let made = Arrangement::make(root, genesis, (*threshold, recipients), roots, self.attester()).await?;
        let encoded = made.encode();
        let digest = Item(zeroize::Zeroizing::new(arrangement::digest_of(&encoded).to_vec()));
        Ok(Change {
            items: vec![(arrangement::ITEM, Some(digest))],
            envelope: vec![(arrangement::ENVELOPE, Some(encoded))],
            ..Change::default()
        })
    }

    /// How the root key would come back, for those who hold shares.
    pub(crate) async fn recovery_status(&self) -> Result<wire::RecoveryStatus, AdministrationError> {
        let store = self.store().clone();
        let read = tokio::task::spawn_blocking(move || store.envelope(arrangement::ENVELOPE)).await;
        let arrangement = read.map_err(|_| StoreError::Closed)??.unwrap_or_default();
        let threshold = Arrangement::decode(&arrangement).map_or(0, |arrangement| arrangement.threshold());
        Ok(wire::RecoveryStatus {
            threshold: threshold.into(),
            arrangement,
            fenced: self.is_fenced(),
            ..wire::RecoveryStatus::default()
        })
    }

    /// The root key sealed for the next start in this TEE; removes it where the TEE
    /// has no sealing key.
    pub(crate) fn sealed_root_key(
        &self,
    ) -> Result<(&'static str, Option<Vec<u8>>), crate::broker::handing::SucceedError> {
        let key = self.attester().sealing_key()?;
        let (genesis, root) = (self.genesis_digest(), self.store().root_key());
        let sealed = key.map(|key| sealing::for_next_start(&key, genesis, root)).transpose();
        Ok((sealing::ENVELOPE, sealed.map_err(StoreError::from)?))
    }
}
