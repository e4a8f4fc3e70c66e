//! The server: attested sessions in, gRPC on them, limits on everything that a
//! peer can make grow.
//!
//! - `sessions` accepts connections (`closing` ends those that are turned away), `gate`
//!   decides during a handshake, `standing` is an open session's place, `session` its end.
//! - `admission` is for requests; `overload` says what is turned away.
//! - [`service`] has the gRPC services, [`status`] turns errors into gRPC statuses,
//!   [`trace_context`] ties the broker's log to its callers'.

mod admission;
mod closing;
mod gate;
mod overload;
pub mod service;
mod session;
mod sessions;
mod standing;
pub mod status;
pub mod trace_context;

use std::{future::Future, sync::Arc, time::Duration};

use adytum_crowd::{bucket::Rate, quotes::QuoteLimits};
use adytum_ratls::{limits::Limits, session::SessionInfo};
use tokio::{net::TcpListener, sync::watch};
use tonic::{Status, service::Routes, transport::Server};

pub use self::admission::RequestLimits;
use self::{
    admission::Admission,
    service::{Services, StandbyServices},
    sessions::{Host, sessions},
};
use crate::{broker::Broker, start::standby::Standby, telemetry::metrics::Metrics};

/// What peers may cost.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Of handshakes. A connection beyond their number is closed at once, unless
    /// one can be displaced by it: of an address that has more, or, among addresses
    /// with equally many, one that made no progress for `handshake_grace`.
    pub handshakes: Limits,
    /// How long a handshake has for its next step when others wait.
    pub handshake_grace: Duration,
    /// Open sessions of peers with evidence. For one more, one that is idle is displaced.
    pub maximum_sessions: usize,
    /// How long a session lives before it takes no further request: what its
    /// peer's evidence said is not believed for ever. Requests in progress end.
    pub session_lifetime: Duration,
    /// Open sessions of peers that have shown neither evidence nor an owner's signature.
    /// For one more, the longest idle of the address with the most is displaced.
    pub maximum_unattested_sessions: usize,
    /// Open sessions that have shown an owner's signature: no stranger displaces them.
    pub maximum_owner_sessions: usize,
    /// How long such a session lives; its end is abrupt.
    pub unattested_lifetime: Duration,
    /// Handshakes of peers from one address that end without accepted evidence. Beyond it
    /// a peer that is not known is refused before it costs a quote.
    pub strangers: Rate,
    pub quotes: QuoteLimits,
    /// Requests in progress over all sessions; one more is refused at once.
    pub requests: RequestLimits,
    /// Requests in progress on one session.
    pub maximum_streams: u32,
    /// The longest that one request may take...
    pub request_timeout: Duration,
    /// ... and its body alone, until its end.
    pub body_timeout: Duration,
    /// A silent peer is asked for a sign of life at this interval...
    pub keepalive_interval: Duration,
    /// ... and dropped when it gives none for so long.
    pub keepalive_timeout: Duration,
    /// How long requests in progress may take to end after the shutdown.
    pub drain: Duration,
}

impl Default for ServerLimits {
    fn default() -> Self {
        Self {
            handshakes: Limits { maximum_handshakes: 1024, ..Limits::default() },
            handshake_grace: Duration::from_millis(500),
            maximum_sessions: 4096,
            session_lifetime: Duration::from_secs(600),
            maximum_unattested_sessions: 256,
            maximum_owner_sessions: 64,
            unattested_lifetime: Duration::from_secs(300),
            strangers: Rate { per_second: 1000, burst: 4000 },
            quotes: QuoteLimits::default(),
            requests: RequestLimits::default(),
            maximum_streams: 32,
            request_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(5),
            keepalive_interval: Duration::from_secs(60),
            keepalive_timeout: Duration::from_secs(20),
            drain: Duration::from_secs(10),
        }
    }
}

/// Why the server ended otherwise than by its shutdown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// gRPC failed.
    #[error("the gRPC server: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves a broker until `shutdown` is done; then finishes the requests in
/// progress.
pub async fn serve(
    listener: TcpListener,
    broker: Arc<Broker>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    // A failure to record is found again by the next grant; owners can still look.
    if let Err(error) = broker.audit().begin().await {
        tracing::warn!(code = error.code(), %error, "this start is not in the audit log yet");
    }
    let background = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { tokio::join!(broker.audit().keep_summarising(), keep_probing(&broker)) }
    });
    let served = serve_sessions(listener, Arc::clone(&broker), limits, shutdown).await;
    background.abort();
    if let Err(error) = broker.audit().summarise().await {
        tracing::warn!(code = error.code(), %error, "the last summary of refusals is not in the audit log");
    }
    served
}

/// How often a store that failed is tried again.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);

/// A broker that is not ready gets no requests by which it would find out that
/// its store works again.
async fn keep_probing(broker: &Broker) {
    loop {
        tokio::time::sleep(PROBE_INTERVAL).await;
        if !broker.store().works() && broker.store().probe().await.is_ok() {
            tracing::info!("the store works again");
        }
    }
}

async fn serve_sessions(
    listener: TcpListener,
    broker: Arc<Broker>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let services = Services::new(Arc::clone(&broker));
    let routes = Routes::new(services.key_broker())
        .add_service(services.administration())
        .add_service(services.recovery())
        .add_service(services.succession());
    let (counting, refusing) = (Arc::clone(&broker), Arc::clone(&broker));
    let host = Host {
        verifier: broker.verifier(),
        local: broker.local_attestation(),
        metrics: Arc::clone(broker.metrics()),
        count: Arc::new(move |code| counting.audit().count(code)),
        without_evidence: Arc::new(move |session: &SessionInfo| refusing.without_evidence(session).into()),
        owner_sessions: Arc::clone(broker.owner_sessions()),
        log_limiter: Arc::default(),
    };
    serve_routes(listener, host, routes, limits, async move {
        shutdown.await;
        broker.drain();
    })
    .await
}

/// Serves a broker without its root key until `shutdown` is done.
pub async fn serve_standby(
    listener: TcpListener,
    standby: Arc<Standby>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let (services, refusing) = (StandbyServices::new(Arc::clone(&standby)), Arc::clone(&standby));
    let routes = Routes::new(services.key_broker())
        .add_service(services.administration())
        .add_service(services.recovery())
        .add_service(services.succession());
    let host = Host {
        verifier: standby.verifier(),
        local: standby.local_attestation(),
        metrics: Arc::new(Metrics::without_store()),
        // There is no audit log: its log lines are all that is left of a stranger.
        count: Arc::new(|_| {}),
        // Evidence would not help.
        without_evidence: Arc::new(move |_: &SessionInfo| Status::from(refusing.refusal())),
        // Nobody knows here who the owners are.
        owner_sessions: Arc::default(),
        log_limiter: Arc::clone(standby.log_limiter()),
    };
    serve_routes(listener, host, routes, limits, shutdown).await
}

async fn serve_routes(
    listener: TcpListener,
    host: Host,
    routes: Routes,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let admission = Admission::new(&host, &limits);
    let sessions = sessions(listener, host, limits);
    let (stop, stopped) = watch::channel(false);
    let serving = Server::builder()
        .timeout(limits.request_timeout)
        // Without a grace: tonic ends a connection abruptly if it is given one. A peer
        // that does not go meets the end of its session.
        .max_connection_age(limits.session_lifetime)
        .max_concurrent_streams(limits.maximum_streams)
        .concurrency_limit_per_connection(limits.maximum_streams as usize)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_header_list_size(16 * 1024)
        .layer(admission)
        .add_routes(routes)
        .serve_with_incoming_shutdown(sessions, wait(stopped));
    tokio::pin!(serving, shutdown);
    tokio::select! {
        ended = &mut serving => return Ok(ended?),
        () = &mut shutdown => {}
    }
    tracing::info!("shutting down: no new sessions, requests in progress end");
    stop.send_replace(true);
    match tokio::time::timeout(limits.drain, serving).await {
        Ok(ended) => Ok(ended?),
        Err(_) => {
            tracing::warn!(drain = ?limits.drain, "some requests did not end in time and are dropped");
            Ok(())
        }
    }
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and so is the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
