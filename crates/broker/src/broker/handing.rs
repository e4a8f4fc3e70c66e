//! The side that hands over.

use std::sync::{Arc, atomic::Ordering};

use adytum_api::broker as wire;
use adytum_evidence::claims::Claims;
use adytum_governance::{
    audit::events::{AttestedWho, CommandName, Event, Protocol, Who},
    authorisation::SignedAuthorisation,
    trust,
};
use adytum_ratls::session::{Peer, SessionInfo};

use super::{Broker, detached::to_its_end, release::ReleaseError};
use crate::{
    start::fence::{
        AUTHORISATION, FENCE, FenceRecord, FencedState, HandOverError, Successor, item, may_succeed,
    },
    store::{Change, StoreError},
};

impl Broker {
    /// Does it release nothing any more, because its root key went to another or is
    /// about to?
    pub fn is_fenced(&self) -> bool {
        self.succession().closing.load(Ordering::SeqCst)
    }

    /// Waits until the root key was handed over; gives what is left to serve.
    pub async fn handed_over(&self) -> Arc<FencedState> {
        loop {
            let notified = self.succession().notify.notified();
            if let Some(fenced) = self.succession().fenced.get() {
                return Arc::clone(fenced);
            }
            notified.await;
        }
    }

    /// Hands the root key to the peer of this session, if the owners authorised
    /// that: fences itself first, durably. Its store is closed when this returns.
    ///
    /// Once begun it goes on to its end: a successor whose connection breaks asks
    /// again, and finds a broker that knows that it is fenced.
    pub async fn hand_over(
        self: &Arc<Self>,
        session: &SessionInfo,
        request: wire::TakeOverRequest,
    ) -> Result<wire::TakeOverResponse, HandOverError> {
        let (broker, session) = (Arc::clone(self), session.clone());
        to_its_end(async move { broker.hand_over_or_refuse(&session, request).await }).await
    }

    async fn hand_over_or_refuse(
        &self,
        session: &SessionInfo,
        request: wire::TakeOverRequest,
    ) -> Result<wire::TakeOverResponse, HandOverError> {
        let Peer::Attested { claims, announcement } = &session.peer else {
            self.audit().count(HandOverError::EvidenceRequired.code());
            return Err(HandOverError::EvidenceRequired);
        };
        // One at a time, and no change meanwhile.
        let _guard = self.lock_changes().await;
        if let Some(fenced) = self.succession().fenced.get() {
            return fenced.hand_over(&Successor::parse(&request)?, claims, announcement);
        }
        match self.prepare(&request, claims, announcement) {
            Ok((successor, signed)) => self.fence(session, claims, &successor, &signed).await,
            Err(error) => {
                let refused = self.refuse(session, error.code(), error.to_string()).await;
                if let Err(ReleaseError::Record(error)) = refused {
                    return Err(error.into());
                }
                Err(error)
            }
        }
    }

    fn prepare(
        &self,
        request: &wire::TakeOverRequest,
        claims: &Claims,
        announcement: &[u8],
    ) -> Result<(Successor, SignedAuthorisation), HandOverError> {
        let successor = Successor::parse(request)?;
        if self.awaiting_confirmation() {
            return Err(HandOverError::AwaitingConfirmation);
        }
        let stored = self.store().item(AUTHORISATION)?.ok_or(HandOverError::NotAuthorised)?;
        let text = std::str::from_utf8(&stored).map_err(|_| HandOverError::NotAuthorised)?;
        let signed = SignedAuthorisation::from_file(text)?;
        let authorisation = signed.read(self.genesis_digest())?;
        if authorisation.digest != successor.authorisation {
            return Err(HandOverError::NotAuthorised);
        }
        // Owners may have been replaced since it was given.
        signed.approved_by(self.genesis_digest(), &self.state().roles.owners)?;
        // Sessions outlive manifests.
        if !trust::accepts(self.state().roots(), claims) {
            return Err(HandOverError::Untrusted);
        }
        may_succeed(self.genesis_digest(), &authorisation.next, claims, announcement)?;
        Ok((successor, signed))
    }

    async fn fence(
        &self,
        session: &SessionInfo,
        claims: &Claims,
        successor: &Successor,
        signed: &SignedAuthorisation,
    ) -> Result<wire::TakeOverResponse, HandOverError> {
        let record = FenceRecord {
            authorisation: successor.authorisation.0.to_vec(),
            successor: successor.id.to_vec(),
        };
        let event = Event::Executed {
            who: Who {
                address: session.peer_address,
                protocol: Protocol::Session,
                attested: Some(AttestedWho::new(claims)),
            },
            owners: signed.approvals.iter().map(|approval| approval.owner).collect(),
            command: CommandName::HandOver,
            changes: true,
            secret: None,
            manifest_version: self.state().manifest_version(),
        };
        let audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let next = signed.read(self.genesis_digest())?.next;
        self.succession().closing.store(true, Ordering::SeqCst);
        let change = Change { items: vec![(FENCE, Some(item(&record)))], audit, ..Change::default() };
        // The last change there is: no grant can be recorded after it, and what is
        // not recorded is not granted.
        let committed = match self.store().commit_last(change).await {
            Ok(committed) => committed,
            Err(error) => {
                // Unless the fence is on the disk after all: then the store takes
                // no change any more, and the next start finds it. A store that is
                // closed takes none either: this process ends.
                let closed = matches!(error, StoreError::Closed);
                self.succession().closing.store(closed, Ordering::SeqCst);
                return Err(error.into());
            }
        };
        let fenced = Arc::new(FencedState {
            genesis: self.genesis_digest(),
            root: self.store().root_key().clone(),
            head: committed.head,
            record,
            next,
            roots: self.state().roots().to_vec(),
        });
        let answer = fenced.answer();
        let _ = self.succession().fenced.set(fenced);
        if let Err(error) = self.store().release().await {
            tracing::warn!(code = error.code(), %error, "the state directory is free only when this process ends");
        }
        self.succession().notify.notify_waiters();
        tracing::warn!(
            peer = %session.peer_address,
            "the root key was handed to the next broker; this one releases nothing any more"
        );
        Ok(answer)
    }

    /// Takes up a store as the successor: takes the fence away and seals the root
    /// key for the next start here, in one change. Before anything is served.
    pub async fn succeed(&self, handed: &crate::start::taking::HandedRootKey) -> Result<(), SucceedError> {
        let event = Event::Executed {
            who: Who {
                address: handed.address,
                protocol: Protocol::Session,
                attested: Some(AttestedWho::new(&handed.claims)),
            },
            owners: handed.owners(&self.state().roles.owners)?,
            command: CommandName::TakeOver,
            changes: true,
            secret: None,
            manifest_version: self.state().manifest_version(),
        };
        // Without a sealing key, only a recovery or another handover opens it.
        let sealed = self.sealed_root_key()?;
        let audit = self.audit().prepare(std::slice::from_ref(&event)).await?;
        let change = Change {
            items: vec![(FENCE, None), (AUTHORISATION, None)],
            envelope: vec![sealed],
            confirmed: true,
            audit,
            ..Change::default()
        };
        let committed = self.store().commit(change).await?;
        self.recorded(&committed, event).await?;
        Ok(())
    }
}

/// Why a successor does not go on with what it took over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SucceedError {
    /// The owners in force did not authorise it.
    #[error(transparent)]
    Authorisation(#[from] adytum_governance::authorisation::AuthorisationError),
    /// The TEE failed.
    #[error(transparent)]
    Attester(#[from] adytum_evidence::attester::AttesterError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It can't be recorded.
    #[error(transparent)]
    Record(#[from] crate::audit::sink::RecordError),
}
