//! The attestation that follows the TLS handshake, step by step.
//!
//! [`message`] reads and writes the four messages, [`binding`] computes what
//! evidence is bound to, `client` and `server` put the steps in order. The first
//! two are public so that attacks and other implementations can be written
//! against them; nothing in them grants anything.

pub mod binding;
pub(crate) mod client;
mod codes;
pub mod message;
pub(crate) mod replays;
pub(crate) mod server;
pub mod staple;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use adytum_evidence::{collateral::Collateral, evidence::Evidence, verifier::Verifier};
use bytes::Bytes;
use subtle::ConstantTimeEq;
use tokio::time::{Instant, timeout_at};

use self::{
    binding::{Binding, Role},
    codes::{EVIDENCE_NOT_BOUND, EVIDENCE_REPLAYED},
    replays::Replays,
};
use crate::{
    error::{Refusal, SessionError},
    judge::PeerJudge,
    session::{LocalAttestation, Peer},
};

/// How long a refused peer may take to read why, and how much of what it still
/// sends is read: a connection closed over unread bytes is reset, and the reset
/// can overtake the refusal.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
const REFUSAL_DRAIN: usize = 256 * 1024;

/// The peer and the time it has.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub(crate) peer: String,
    pub(crate) address: SocketAddr,
    pub(crate) started: Instant,
    pub(crate) limit: Duration,
}

impl Attempt {
    /// Runs one step within what is left of the time.
    pub(crate) async fn step<T, E>(
        &self,
        step: &'static str,
        work: impl Future<Output = Result<T, E>>,
        failed: impl FnOnce(&Self, E) -> SessionError,
    ) -> Result<T, SessionError> {
        match timeout_at(self.started + self.limit, work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(failed(self, error)),
            Err(_) => Err(SessionError::Timeout { peer: self.peer.clone(), limit: self.limit, step }),
        }
    }

    pub(crate) fn stream_error(&self, source: std::io::Error) -> SessionError {
        SessionError::from_stream(&self.peer, source)
    }

    pub(crate) fn message_error(&self, error: message::MessageError) -> SessionError {
        match error {
            message::MessageError::Io(source) => self.stream_error(source),
            other => self.refused(other.refusal()),
        }
    }

    pub(crate) fn refused(&self, refusal: Refusal) -> SessionError {
        SessionError::Refused { peer: self.peer.clone(), refusal }
    }

    pub(crate) fn refused_by_peer(&self, refusal: Refusal, verified: bool) -> SessionError {
        SessionError::RefusedByPeer { peer: self.peer.clone(), refusal, verified }
    }

    pub(crate) fn local(&self, reason: impl ToString) -> SessionError {
        SessionError::Local { peer: self.peer.clone(), reason: reason.to_string() }
    }
}

/// This side's evidence and announcement, bound to the session.
async fn collect(
    attempt: &Attempt,
    local: &LocalAttestation,
    binding: &Binding,
    role: Role,
) -> Result<(Evidence, Bytes), SessionError> {
    let announcement = (local.announcement)();
    if announcement.len() > message::MAXIMUM_ANNOUNCEMENT_LENGTH {
        return Err(attempt.local(format!(
            "own announcement have {} bytes, at most {} are allowed",
            announcement.len(),
            message::MAXIMUM_ANNOUNCEMENT_LENGTH
        )));
    }
    let report_data = binding.report_data(role, &announcement);
    let evidence = attempt
        .step("collecting evidence", local.attester.evidence(report_data), |attempt, source| {
            SessionError::Attester { peer: attempt.peer.clone(), source }
        })
        .await?;
    Ok((evidence, announcement))
}

/// What a side demands of its peer's evidence.
#[derive(Clone, Copy)]
struct Demands<'a> {
    verifier: &'a Verifier,
    judge: &'a Arc<dyn PeerJudge>,
    /// Evidence that was accepted before, where that is remembered.
    replays: Option<&'a Replays>,
    /// Collateral that came with the evidence. It takes the place of the verifier's source.
    collateral: Option<&'a Collateral>,
}

/// The one place where a peer's evidence is accepted: verified, bound to exactly
/// this session, role, pair of keys and announcement, and judged.
async fn accept_evidence(
    attempt: &Attempt,
    demands: Demands<'_>,
    binding: &Binding,
    role: Role,
    evidence: &Evidence,
    announcement: Bytes,
) -> Result<Peer, SessionError> {
    let Demands { verifier, judge, replays, collateral } = demands;
    let verification = async {
        match collateral {
            Some(collateral) => verifier.verify_with(evidence, collateral),
            None => verifier.verify(evidence).await,
        }
    };
    let claims = attempt
        .step("verifying the peer's evidence", verification, |attempt, error| {
            attempt.refused(Refusal::from(&error))
        })
        .await?;
    let expected = claims.report_data_of(binding.report_data(role, &announcement));
    if !bool::from(expected.0.ct_eq(&claims.report_data.0)) {
        if replays.is_some_and(|replays| replays.knows(&claims.report_data)) {
            return Err(attempt.refused(Refusal::request(
                EVIDENCE_REPLAYED,
                "the evidence is that of an earlier session. Somebody is replaying it",
            )));
        }
        return Err(attempt.refused(Refusal::request(
            EVIDENCE_NOT_BOUND,
            "the evidence is genuine but was not made for this session: it is bound to another connection, \
             key, role or announcement. Somebody may be relaying or replaying it",
        )));
    }
    judge.judge(&claims, &announcement).map_err(|refusal| attempt.refused(refusal))?;
    if let Some(replays) = replays {
        replays.remember(&expected);
    }
    Ok(Peer::Attested { claims: Box::new(claims), announcement })
}
