//! Accepts sessions, each attested under the trust in force when its connection
//! was accepted.

use std::{io, net::IpAddr, sync::Arc, time::Duration};

use adytum_evidence::verifier::Verifier;
use adytum_ratls::{
    acceptor::AttestedAcceptor,
    configuration::AcceptorConfiguration,
    error::SessionError,
    judge::AnyEvidence,
    session::{LocalAttestation, Peer, SessionInfo},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    ServerLimits,
    handshakes::Handshakes,
    overload::Overload,
    peers::{PeerPlace, Peers},
    quotes::LimitedAttester,
    session::{Session, Unattested},
};
use crate::telemetry::{
    log_limiter::LogLimiter,
    metrics::{GaugeGuard, Metrics},
};

/// The handshake succeeded and its session is open. Metrics and traces have this code.
///
/// Do: nothing is needed.
///
/// Retry: no
const ACCEPTED: &str = "accepted";
/// How long no connection is accepted after accepting one failed, as it does
/// when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Counts by code.
type Count = Arc<dyn Fn(&str) + Send + Sync>;

/// Counts a request for secrets on a session without evidence, and says no.
pub(super) type WithoutEvidence = Arc<dyn Fn(&SessionInfo) -> Status + Send + Sync>;

/// Whose sessions they are.
pub(super) struct Host {
    /// Verifies peers' evidence; another follows when the trust changes.
    pub(super) verifier: watch::Receiver<Arc<Verifier>>,
    /// The evidence and the announcement that peers get.
    pub(super) local: LocalAttestation,
    /// Counts what becomes of them.
    pub(super) metrics: Arc<Metrics>,
    /// Counts those who were turned away in the audit log, by code.
    pub(super) count: Count,
    /// Answers requests for secrets of peers without evidence.
    pub(super) without_evidence: WithoutEvidence,
    /// Limits the log lines that strangers cause.
    pub(super) log_limiter: Arc<LogLimiter>,
}

/// Accepts sessions until the stream is dropped.
pub(super) fn sessions(
    listener: TcpListener,
    host: Host,
    limits: ServerLimits,
) -> ReceiverStream<io::Result<Session>> {
    let (sender, receiver) = mpsc::channel(64);
    let LocalAttestation { attester, announcement } = host.local;
    let attester = Arc::new(LimitedAttester::new(attester, Arc::clone(&host.metrics), limits.quotes));
    let mut accepting = Accepting {
        host: Host { local: LocalAttestation { attester, announcement }, ..host },
        peers: Peers::new(limits.peers),
        sessions: Arc::new(Semaphore::new(limits.maximum_sessions)),
        unattested: Arc::new(Semaphore::new(limits.maximum_unattested_sessions)),
        acceptor: None,
        limits,
    };
    tokio::spawn(async move {
        let mut handshakes = Handshakes::new(limits.handshakes.maximum_handshakes, limits.handshake_grace);
        loop {
            tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => accepting.start(stream, address.ip(), &mut handshakes),
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(session) = handshakes.next() => {
                    if let Some(session) = session
                        && sender.send(Ok(session)).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

struct Accepting {
    host: Host,
    limits: ServerLimits,
    peers: Arc<Peers>,
    sessions: Arc<Semaphore>,
    unattested: Arc<Semaphore>,
    acceptor: Option<AttestedAcceptor>,
}

impl Accepting {
    fn start(&mut self, stream: TcpStream, address: IpAddr, handshakes: &mut Handshakes) {
        let now = Instant::now();
        let admitted = self.peers.handshake(address, now).and_then(|place| {
            let session = Arc::clone(&self.sessions).try_acquire_owned().map_err(|_| Overload::Sessions)?;
            if handshakes.full() && !handshakes.make_room(now, place.key()) {
                return Err(Overload::Handshakes);
            }
            Ok((place, session))
        });
        let (place, permit) = match admitted {
            Ok(admitted) => admitted,
            Err(overload) => return self.turn_away(overload, address),
        };
        let peer = place.key();
        let attempt = HandshakeAttempt {
            acceptor: self.acceptor(),
            metrics: Arc::clone(&self.host.metrics),
            count: Arc::clone(&self.host.count),
            peers: Arc::clone(&self.peers),
            log_limiter: Arc::clone(&self.host.log_limiter),
            unattested: Arc::clone(&self.unattested),
            // gRPC says goodbye when the time is up; requests in progress may still end,
            // and then there is no more, whatever the peer does.
            attested_lifetime: self.limits.session_lifetime.saturating_add(self.limits.request_timeout),
            unattested_lifetime: self.limits.unattested_lifetime,
            outcome: Outcome::new(Arc::clone(&self.host.metrics)),
            _place: place,
        };
        handshakes.start(now, peer, attempt.run(stream, address, permit));
    }

    /// Closes a connection before anything is spent on it. The peer sees it closed
    /// at once and tries again.
    fn turn_away(&self, overload: Overload, address: IpAddr) {
        if let Some(suppressed) = self.host.log_limiter.may_write(Instant::now()) {
            let (code, limit) = (overload.code(), overload.limit());
            tracing::warn!(%address, limit, code, suppressed, "too many connections: closed");
        }
        (self.host.count)(overload.code());
        self.host.metrics.turned_away(overload.limit());
    }

    /// The acceptor under the trust in force: an acceptor's verifier is fixed,
    /// so another follows when a manifest changes whom the broker trusts.
    fn acceptor(&mut self) -> AttestedAcceptor {
        let changed = self.host.verifier.has_changed().unwrap_or(false);
        match &self.acceptor {
            Some(acceptor) if !changed => acceptor.clone(),
            _ => {
                let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
                    verifier: self.host.verifier.borrow_and_update().clone(),
                    judge: Arc::new(AnyEvidence),
                    local: self.host.local.clone(),
                    limits: self.limits.handshakes,
                });
                self.acceptor.insert(acceptor).clone()
            }
        }
    }
}

/// One handshake and what it holds while it lasts.
struct HandshakeAttempt {
    acceptor: AttestedAcceptor,
    metrics: Arc<Metrics>,
    count: Count,
    peers: Arc<Peers>,
    log_limiter: Arc<LogLimiter>,
    unattested: Arc<Semaphore>,
    attested_lifetime: Duration,
    unattested_lifetime: Duration,
    outcome: Outcome,
    _place: PeerPlace,
}

impl HandshakeAttempt {
    async fn run(
        mut self,
        stream: TcpStream,
        address: IpAddr,
        permit: OwnedSemaphorePermit,
    ) -> Option<Session> {
        let stream = match self.acceptor.accept(stream).await {
            Ok(stream) => stream,
            Err(error) => {
                if let Some(suppressed) = self.log_limiter.may_write(Instant::now()) {
                    tracing::warn!(peer = %address, code = error.code(), %error, suppressed, "no attested session");
                }
                // A peer's own words are neither for the audit log nor for metrics.
                let code = match &error {
                    SessionError::RefusedByPeer { .. } => "refused-by-peer",
                    error => error.code(),
                };
                (self.count)(code);
                self.outcome.code = Some(code.to_owned());
                return None;
            }
        };
        let metrics = Arc::clone(&self.metrics);
        let info = stream.info();
        let attested = matches!(info.peer, Peer::Attested { .. });
        let (lifetime, unattested) = if attested {
            (self.attested_lifetime, None)
        } else {
            let place = self.peers.unattested_session(address, Instant::now());
            let permit = Arc::clone(&self.unattested).try_acquire_owned().ok();
            let (Some(place), Some(permit)) = (place, permit) else {
                let overload = Overload::Unattested;
                tracing::debug!(peer = %address, code = overload.code(), "too many sessions without evidence: closed");
                (self.count)(overload.code());
                self.outcome.code = Some(overload.limit().to_owned());
                return None;
            };
            let counted = GaugeGuard::enter(&metrics.unattested_sessions);
            (self.unattested_lifetime, Some(Unattested::new(place, permit, counted)))
        };
        tracing::debug!(session = %info.id(), peer = %info.peer_address, attested, "session accepted");
        self.outcome.code = Some(ACCEPTED.to_owned());
        Some(Session::new(stream, lifetime, unattested, permit, GaugeGuard::enter(&metrics.sessions)))
    }
}

/// Counts what became of a handshake, also of one that was given up.
struct Outcome {
    metrics: Arc<Metrics>,
    began: Instant,
    code: Option<String>,
    _counted: GaugeGuard,
}

impl Outcome {
    fn new(metrics: Arc<Metrics>) -> Self {
        let counted = GaugeGuard::enter(&metrics.handshakes_in_flight);
        Self { metrics, began: Instant::now(), code: None, _counted: counted }
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        let code = self.code.as_deref().unwrap_or("gave-way");
        self.metrics.handshake(code, self.began.elapsed());
    }
}
