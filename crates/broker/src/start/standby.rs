//! A broker without its root key: it is live, attests, reports its state, and
//! releases and changes nothing. Either its key must come back by shares, or the key
//! went to another broker.

use std::{net::SocketAddr, sync::Arc};

use adytum_api::broker as wire;
use adytum_evidence::{
    attester::Attester,
    clock::Clock,
    collateral::CollateralSource,
    verifier::{TrustRoot, Verifier},
};
use adytum_governance::{announcement::BrokerAnnouncement, genesis::Genesis, head::StateHead};
use adytum_ratls::session::{LocalAttestation, Peer, SessionInfo};
use tokio::{sync::watch, time::Instant};

use super::{
    fence::{FencedState, HandOverError, Successor},
    recovery::{PendingRecovery, SupplyError},
};
use crate::telemetry::log_limiter::LogLimiter;

/// A broker without its root key.
pub struct Standby {
    genesis: Genesis,
    attester: Arc<dyn Attester>,
    verifier: watch::Sender<Arc<Verifier>>,
    log_limiter: Arc<LogLimiter>,
    cause: Cause,
}

/// Why it is one.
#[derive(Clone, Debug)]
pub enum Cause {
    /// Its root key must come back.
    Awaiting(Arc<PendingRecovery>),
    /// Its root key went to another.
    Fenced(Arc<FencedState>),
}

/// Why a request is not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StandbyError {
    /// The root key must come back first.
    ///
    /// See: `NotReady::AwaitingRecovery`
    #[error(
        "the broker's root key is not on this machine; the holders of recovery keys bring it back with `adytum \
         broker recover`"
    )]
    AwaitingRecovery,
    /// The root key went to another broker.
    ///
    /// See: `NotReady::Fenced`
    #[error(
        "this broker handed its root key to the next one and answers nothing any more; use the address of the \
         next broker"
    )]
    Fenced,
}

impl StandbyError {
    /// Stable code for logs and answers.
    pub fn code(self) -> &'static str {
        match self {
            Self::AwaitingRecovery => "awaiting-recovery",
            Self::Fenced => "fenced",
        }
    }
}

impl Standby {
    /// With this genesis, in this TEE.
    pub fn new(
        genesis: Genesis,
        attester: Arc<dyn Attester>,
        collateral: Arc<dyn CollateralSource>,
        clock: Arc<dyn Clock>,
        cause: Cause,
    ) -> Self {
        let mut roots = match &cause {
            Cause::Awaiting(awaiting) => simulated(awaiting.arrangement().simulation_roots()),
            Cause::Fenced(fenced) => fenced.roots.clone(),
        };
        // Every peer is asked to come again, rather than refused; no peer gets more
        // than that.
        for root in TrustRoot::amd().chain([TrustRoot::intel()]) {
            if !roots.contains(&root) {
                roots.push(root);
            }
        }
        let verifier = watch::Sender::new(Arc::new(Verifier::new(roots, collateral, clock)));
        Self { genesis, attester, verifier, log_limiter: Arc::default(), cause }
    }

    /// Why it is one.
    pub fn cause(&self) -> &Cause {
        &self.cause
    }

    /// Why it answers nothing.
    pub fn refusal(&self) -> StandbyError {
        match self.cause {
            Cause::Awaiting(_) => StandbyError::AwaitingRecovery,
            Cause::Fenced(_) => StandbyError::Fenced,
        }
    }

    /// The verifier of peers' evidence.
    pub(crate) fn verifier(&self) -> watch::Receiver<Arc<Verifier>> {
        self.verifier.subscribe()
    }

    /// Limits the log lines that strangers cause.
    pub(crate) fn log_limiter(&self) -> &Arc<LogLimiter> {
        &self.log_limiter
    }

    /// What it shows in sessions.
    pub(crate) fn local_attestation(&self) -> LocalAttestation {
        let head = match &self.cause {
            Cause::Awaiting(_) => StateHead::none(),
            Cause::Fenced(fenced) => fenced.head.clone(),
        };
        let announcement = BrokerAnnouncement { genesis: self.genesis.digest(), head, occlum: None }.encode();
        LocalAttestation {
            attester: Arc::clone(&self.attester),
            announcement: Arc::new(move || announcement.clone()),
        }
    }

    /// Public facts.
    pub fn status(&self) -> wire::GetStatusResponse {
        let recovery = match &self.cause {
            Cause::Awaiting(awaiting) => awaiting.status(),
            Cause::Fenced(fenced) => fenced.status(),
        };
        wire::GetStatusResponse {
            genesis: self.genesis.to_toml().into_bytes(),
            recovery: Some(recovery),
            ..wire::GetStatusResponse::default()
        }
    }

    /// Takes a share: see [`PendingRecovery::supply`].
    pub(crate) async fn supply(
        &self,
        from: SocketAddr,
        request: wire::SupplyShareRequest,
    ) -> Result<Result<wire::RecoveryStatus, SupplyError>, StandbyError> {
        let Cause::Awaiting(awaiting) = &self.cause else { return Err(StandbyError::Fenced) };
        let awaiting = Arc::clone(awaiting);
        let supplied = tokio::task::spawn_blocking(move || awaiting.supply(from, request)).await;
        Ok(supplied.unwrap_or(Err(SupplyError::Store(crate::store::StoreError::Closed))))
    }

    /// Gives the key to the successor that it went to, once more.
    pub(crate) fn hand_over(
        &self,
        session: &SessionInfo,
        request: &wire::TakeOverRequest,
    ) -> Result<Result<wire::TakeOverResponse, HandOverError>, StandbyError> {
        let Cause::Fenced(fenced) = &self.cause else { return Err(StandbyError::AwaitingRecovery) };
        let Peer::Attested { claims, announcement } = &session.peer else {
            return Ok(Err(HandOverError::EvidenceRequired));
        };
        let answer = Successor::parse(request)
            .and_then(|successor| fenced.hand_over(&successor, claims, announcement));
        if let Err(error) = &answer
            && let Some(suppressed) = self.log_limiter.may_write(Instant::now())
        {
            let (peer, code) = (session.peer_address, error.code());
            tracing::warn!(%peer, code, %error, suppressed, "no root key handed over");
        }
        Ok(answer)
    }
}

impl std::fmt::Debug for Standby {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Standby").field("cause", &self.cause).finish_non_exhaustive()
    }
}

#[cfg(feature = "simulation")]
fn simulated(roots: &[Vec<u8>]) -> Vec<TrustRoot> {
    roots.iter().filter_map(|root| TrustRoot::simulation(root).ok()).collect()
}

#[cfg(not(feature = "simulation"))]
fn simulated(_roots: &[Vec<u8>]) -> Vec<TrustRoot> {
    Vec::new()
}
