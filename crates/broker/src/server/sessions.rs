//! Accepts sessions, each attested under the trust in force when its connection
//! was accepted.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use adytum_crowd::places::{Place, Places};
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
    sync::{mpsc, watch},
    task::JoinSet,
    time::Instant,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::{
    ServerLimits,
    closing::Closing,
    gate::{AtTheDoor, Door},
    overload::Overload,
    session::Session,
};
use crate::{
    broker::owner_sessions::OwnerSessions,
    telemetry::{
        log_limiter::LogLimiter,
        metrics::{GaugeGuard, Metrics},
    },
};

/// The handshake succeeded and its session is open. Metrics and traces have this code.
///
/// Do: nothing is needed.
///
/// Retry: no
const ACCEPTED: &str = "accepted";
/// The handshake, or the session, was displaced by another one: its address had more, or it was
/// idle for longest. Metrics and logs have this code.
///
/// Do: look at the addresses in the log. If the peers are wanted ones, raise
/// --max-handshakes or --max-sessions of `adytum-broker`; they connect again by themselves.
///
/// Retry: later
const DISPLACED: &str = "displaced";
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
    /// Learns which sessions are open, and says which have shown an owner's signature.
    pub(super) owner_sessions: Arc<OwnerSessions>,
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
    let attester = Arc::clone(&host.local.attester);
    let mut accepting = Accepting {
        door: Arc::new(Door::new(attester, Arc::clone(&host.metrics), &limits)),
        handshakes: Places::new(limits.handshakes.maximum_handshakes, limits.handshake_grace),
        closing: Closing::default(),
        host: Arc::new(host),
        acceptor: None,
        limits,
    };
    tokio::spawn(async move {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => accepting.start(stream, address, &mut running),
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(ended) = running.join_next() => match ended {
                    Ok(Some(session)) => {
                        if sender.send(Ok(session)).await.is_err() {
                            return;
                        }
                    }
                    Ok(None) => {}
                    // It has touched no other.
                    Err(_) => tracing::error!("a handshake ended abnormally"),
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

struct Accepting {
    host: Arc<Host>,
    limits: ServerLimits,
    door: Arc<Door>,
    /// The places of handshakes in progress, shared by addresses.
    handshakes: Arc<Places>,
    closing: Closing,
    acceptor: Option<AttestedAcceptor>,
}

impl Accepting {
    fn start(&mut self, stream: TcpStream, address: SocketAddr, running: &mut JoinSet<Option<Session>>) {
        let Ok(place) = self.handshakes.take(address.ip().into(), Instant::now().into_std()) else {
            return self.turn_away(stream, address);
        };
        let place = Arc::new(place);
        let attempt = HandshakeAttempt {
            acceptor: self.acceptor(),
            host: Arc::clone(&self.host),
            at_the_door: AtTheDoor::new(Arc::clone(&self.door), Arc::clone(&place)),
            // gRPC says goodbye when the time is up; requests in progress may still end,
            // and then there is no more, whatever the peer does.
            attested_lifetime: self.limits.session_lifetime.saturating_add(self.limits.request_timeout),
            unattested_lifetime: self.limits.unattested_lifetime,
            outcome: Outcome::new(Arc::clone(&self.host.metrics)),
        };
        running.spawn(attempt.run_in(place, stream, address));
    }

    /// Closes a connection before anything is spent on it. The peer sees its end at once
    /// and tries again.
    fn turn_away(&self, stream: TcpStream, address: SocketAddr) {
        let overload = Overload::Handshakes;
        if let Some(suppressed) = self.host.log_limiter.may_write(Instant::now()) {
            let (code, limit) = (overload.code(), overload.limit());
            let reason = overload.message();
            tracing::warn!(address = %address.ip(), limit, code, suppressed, reason, "too many connections: closed");
        }
        (self.host.count)(overload.code());
        self.host.metrics.turned_away(overload.limit());
        self.closing.close(stream);
    }

    /// The acceptor under the trust in force: an acceptor's verifier is fixed,
    /// so another follows when a manifest changes whom the broker trusts.
    fn acceptor(&mut self) -> AttestedAcceptor {
        let verifier = &self.host.verifier;
        let current = verifier.borrow().clone();
        match &self.acceptor {
            Some(acceptor) if Arc::ptr_eq(acceptor.verifier(), &current) => acceptor.clone(),
            _ => {
                let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
                    verifier: current,
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
    host: Arc<Host>,
    at_the_door: AtTheDoor,
    attested_lifetime: Duration,
    unattested_lifetime: Duration,
    outcome: Outcome,
}

impl HandshakeAttempt {
    /// Runs until it ends, or its place is another's.
    async fn run_in(self, place: Arc<Place>, stream: TcpStream, address: SocketAddr) -> Option<Session> {
        tokio::select! {
            session = self.run(stream, address) => session,
            () = place.displaced() => None,
        }
    }

    async fn run(mut self, stream: TcpStream, address: SocketAddr) -> Option<Session> {
        let host = Arc::clone(&self.host);
        let stream = match self.acceptor.accept_gated(stream, &self.at_the_door).await {
            Ok(stream) => stream,
            Err(error) => {
                self.failed(&error, address);
                return None;
            }
        };
        let standing = self.at_the_door.standing()?;
        let info = stream.info();
        let attested = matches!(info.peer, Peer::Attested { .. });
        let (lifetime, unattested) = if attested {
            (self.attested_lifetime, None)
        } else {
            (self.unattested_lifetime, Some(GaugeGuard::enter(&host.metrics.unattested_sessions)))
        };
        tracing::debug!(session = %info.id(), peer = %info.peer_address, attested, "session accepted");
        self.outcome.code = Some(ACCEPTED.to_owned());
        let shown = Arc::clone(&standing);
        let open = host.owner_sessions.open(info.id(), move || shown.show_owner(std::time::Instant::now()));
        let counted = (GaugeGuard::enter(&host.metrics.sessions), unattested);
        let displaced = move || {
            host.metrics.turned_away(DISPLACED);
            (host.count)(Overload::Unattested.code());
            if let Some(suppressed) = host.log_limiter.may_write(Instant::now()) {
                tracing::info!(address = %address.ip(), code = DISPLACED, suppressed, "a session was displaced by another");
            }
        };
        Some(Session::new(stream, lifetime, standing, Box::new((open, counted)), Box::new(displaced)))
    }

    fn failed(&mut self, error: &SessionError, address: SocketAddr) {
        if let Some(suppressed) = self.host.log_limiter.may_write(Instant::now()) {
            tracing::warn!(peer = %address.ip(), code = error.code(), %error, suppressed, "no attested session");
        }
        // A peer's own words are neither for the audit log nor for metrics.
        let code = match error {
            SessionError::RefusedByPeer { .. } => "refused-by-peer",
            error => error.code(),
        };
        (self.host.count)(code);
        let limit = self.at_the_door.refused().map(Overload::limit);
        self.outcome.code = Some(limit.unwrap_or(code).to_owned());
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
        let code = self.code.as_deref().unwrap_or(DISPLACED);
        self.metrics.handshake(code, self.began.elapsed());
    }
}
