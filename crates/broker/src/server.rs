//! The server: attested sessions in, gRPC on them, limits on everything that a
//! peer can make grow.

mod sessions;

use std::{future::Future, sync::Arc, time::Duration};

use adytum_ratls::limits::Limits;
use tokio::{net::TcpListener, sync::watch};
use tonic::{service::Routes, transport::Server};

use self::sessions::{Host, sessions};
use crate::{
    broker::Broker,
    service::{Services, StandbyServices},
    standby::Standby,
};

/// What peers may cost.
#[derive(Clone, Copy, Debug)]
pub struct ServerLimits {
    /// Of handshakes; a connection beyond their number is closed at once.
    pub handshakes: Limits,
    /// Open sessions; one more is closed at once.
    pub maximum_sessions: usize,
    /// Requests in progress over all sessions; one more is refused at once.
    pub maximum_requests: usize,
    /// Requests in progress on one session.
    pub maximum_streams: u32,
    /// The longest that one request may take.
    pub request_timeout: Duration,
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
            handshakes: Limits::default(),
            maximum_sessions: 4096,
            maximum_requests: 512,
            maximum_streams: 32,
            request_timeout: Duration::from_secs(30),
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
    // What can't be recorded now, a grant will find out; owners can still look.
    if let Err(error) = broker.audit().begin().await {
        tracing::warn!(code = error.code, %error, "this start is not in the audit log yet");
    }
    let summaries = tokio::spawn({
        let broker = Arc::clone(&broker);
        async move { broker.audit().keep_summarising().await }
    });
    let served = serve_sessions(listener, Arc::clone(&broker), limits, shutdown).await;
    summaries.abort();
    if let Err(error) = broker.audit().summarise().await {
        tracing::warn!(code = error.code, %error, "the last summary of refusals is not in the audit log");
    }
    served
}

async fn serve_sessions(
    listener: TcpListener,
    broker: Arc<Broker>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let services = Services::new(Arc::clone(&broker), limits.maximum_requests);
    let routes = Routes::new(services.key_broker())
        .add_service(services.administration())
        .add_service(services.recovery())
        .add_service(services.succession());
    let host = Host {
        verifier: broker.verifier(),
        local: broker.local_attestation(),
        count: Arc::new(move |code| broker.audit().count(code)),
    };
    serve_routes(listener, host, routes, limits, shutdown).await
}

/// Serves a broker without its root key until `shutdown` is done.
pub async fn serve_standby(
    listener: TcpListener,
    standby: Arc<Standby>,
    limits: ServerLimits,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let services = StandbyServices::new(Arc::clone(&standby), limits.maximum_requests);
    let routes = Routes::new(services.key_broker())
        .add_service(services.administration())
        .add_service(services.recovery())
        .add_service(services.succession());
    let host = Host {
        verifier: standby.verifier(),
        local: standby.local_attestation(),
        // There is no audit log: its log lines are all that is left of a stranger.
        count: Arc::new(|_| {}),
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
    let sessions = sessions(listener, host, limits);
    let (stop, stopped) = watch::channel(false);
    let serving = Server::builder()
        .timeout(limits.request_timeout)
        .max_concurrent_streams(limits.maximum_streams)
        .concurrency_limit_per_connection(limits.maximum_streams as usize)
        .initial_stream_window_size(1 << 20)
        .initial_connection_window_size(1 << 20)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_header_list_size(16 * 1024)
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
