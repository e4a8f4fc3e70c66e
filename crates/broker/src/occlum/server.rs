//! Accepts connections of Occlum's protocol, and verifies the evidence in clients' certificates.

use std::{future::Future, io, net::SocketAddr, sync::Arc, time::Duration};

use adytum_api::occlum::gr_secret_server::GrSecretServer;
use adytum_crowd::{
    bucket::Buckets,
    places::{Place, Places},
};
use adytum_evidence::clock::UnixSeconds;
use rustls::ServerConfig;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc, watch},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;

use super::{
    error::{OcclumListenError, PeerError},
    identity,
    service::OcclumService,
    session::{OcclumPeer, OcclumSession},
    tls,
};
use crate::{broker::Broker, server::ServerLimits, telemetry::log_limiter::LogLimiter};

/// How long a connection is idle before it is displaced by one of an address with as many.
const GRACE: Duration = Duration::from_secs(10);
/// How long a certificate of the broker's is used.
const CERTIFICATE_LIFETIME: Duration = Duration::from_secs(3600);
/// How far a client's clock may be ahead: its certificate is valid from the moment it was made.
const CLOCKS_APART: u64 = 3600;
/// How long no connection is accepted after accepting one failed.
const PAUSE: Duration = Duration::from_millis(100);
/// The longest request, in bytes.
const MAXIMUM_REQUEST_LENGTH: usize = 4096;
/// Requests in progress on one connection.
const MAXIMUM_STREAMS: u32 = 8;

/// A listener with the broker's certificate.
pub struct OcclumListener {
    broker: Arc<Broker>,
    limits: ServerLimits,
    tls: watch::Sender<Arc<ServerConfig>>,
}

/// What all handshakes share.
struct Door {
    broker: Arc<Broker>,
    limits: ServerLimits,
    tls: watch::Receiver<Arc<ServerConfig>>,
    sessions: Arc<Places>,
    strangers: Arc<Buckets>,
    log_limiter: LogLimiter,
}

impl OcclumListener {
    /// Makes the broker's first certificate.
    pub async fn new(broker: Arc<Broker>, limits: ServerLimits) -> Result<Self, OcclumListenError> {
        let tls = watch::Sender::new(configuration(&broker).await?);
        Ok(Self { broker, limits, tls })
    }

    /// Answers on this port until `shutdown` is done; then requests in progress have the time of
    /// `limits.drain`.
    pub async fn serve(self, listener: TcpListener, shutdown: impl Future<Output = ()> + Send + 'static) {
        let Self { broker, limits, tls } = self;
        let door = Arc::new(Door {
            broker: Arc::clone(&broker),
            limits,
            tls: tls.subscribe(),
            sessions: Places::new(limits.maximum_sessions, GRACE),
            strangers: Buckets::new(limits.strangers),
            log_limiter: LogLimiter::default(),
        });
        let renewing = tokio::spawn(keep_renewing(Arc::clone(&broker), tls));
        let working = Arc::new(Semaphore::new(limits.requests.release));
        let service = OcclumService { broker, working };
        let service = GrSecretServer::new(service).max_decoding_message_size(MAXIMUM_REQUEST_LENGTH);
        let (stop, stopped) = watch::channel(false);
        let serving = Server::builder()
            .timeout(limits.request_timeout)
            .max_connection_age(limits.session_lifetime)
            .max_concurrent_streams(MAXIMUM_STREAMS)
            .http2_keepalive_interval(Some(limits.keepalive_interval))
            .http2_keepalive_timeout(Some(limits.keepalive_timeout))
            .http2_max_header_list_size(16 * 1024)
            .add_service(service)
            .serve_with_incoming_shutdown(sessions(listener, door), is_true(stopped));
        tokio::pin!(serving);
        tokio::select! {
            ended = &mut serving => report(ended),
            () = shutdown => {
                stop.send_replace(true);
                if let Ok(ended) = timeout(limits.drain, serving).await {
                    report(ended);
                }
            }
        }
        renewing.abort();
    }
}

fn report(ended: Result<(), tonic::transport::Error>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the listener for Occlum's protocol ended");
    }
}

async fn is_true(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, and so is the server.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

async fn configuration(broker: &Broker) -> Result<Arc<ServerConfig>, OcclumListenError> {
    let identity = identity::make(broker.attester()).await?;
    let config = tls::server_config(identity);
    config.map(Arc::new).map_err(|error| OcclumListenError::Identity { reason: error.to_string() })
}

/// Another key and quote from time to time.
async fn keep_renewing(broker: Arc<Broker>, tls: watch::Sender<Arc<ServerConfig>>) {
    loop {
        sleep(CERTIFICATE_LIFETIME).await;
        match configuration(&broker).await {
            Ok(config) => drop(tls.send_replace(config)),
            Err(error) => {
                tracing::warn!(code = error.code(), %error, "the certificate for Occlum's protocol stays the same");
            }
        }
    }
}

/// Accepts connections until the stream is dropped.
fn sessions(listener: TcpListener, door: Arc<Door>) -> ReceiverStream<io::Result<OcclumSession>> {
    let (sender, receiver) = mpsc::channel(64);
    let handshakes = Places::new(door.limits.handshakes.maximum_handshakes, door.limits.handshake_grace);
    tokio::spawn(async move {
        let mut running = JoinSet::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, address)) => {
                        let Ok(place) = handshakes.take(address.ip().into(), Instant::now().into_std()) else {
                            door.refused(address, &PeerError::Overloaded);
                            continue;
                        };
                        running.spawn(Arc::clone(&door).open(stream, address, place));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection for Occlum's protocol failed");
                        sleep(PAUSE).await;
                    }
                },
                Some(ended) = running.join_next() => {
                    let Ok(Some(session)) = ended else { continue };
                    if sender.send(Ok(session)).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl Door {
    /// Runs a handshake until it ends, its time is up, or its place is another's.
    async fn open(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        place: Place,
    ) -> Option<OcclumSession> {
        let opened = tokio::select! {
            opened = timeout(self.limits.handshakes.handshake_timeout, self.handshake(stream, address)) => opened,
            () = place.displaced() => return None,
        };
        match opened.unwrap_or(Err(PeerError::Overloaded)) {
            Ok(session) => Some(session),
            Err(error) => {
                self.refused(address, &error);
                None
            }
        }
    }

    async fn handshake(&self, stream: TcpStream, address: SocketAddr) -> Result<OcclumSession, PeerError> {
        // A peer with accepted evidence was no stranger.
        let now = Instant::now().into_std();
        let stranger = self.strangers.take(address.ip().into(), now).map_err(|_| PeerError::Overloaded)?;
        let _ = stream.set_nodelay(true);
        let acceptor = TlsAcceptor::from(self.tls.borrow().clone());
        let stream = acceptor.accept(stream).await.map_err(PeerError::Tls)?;
        let (_, connection) = stream.get_ref();
        let none = || PeerError::Tls(io::Error::other("no certificate"));
        let certificate = connection.peer_certificates().and_then(|chain| chain.first()).ok_or_else(none)?;
        let bound = tls::bound(certificate)?;
        let (from, _) = bound.certificate().validity();
        let verifier = self.broker.verifier().borrow().clone();
        let verified = bound.verify(&verifier, time_of(from, self.broker.now())).await?;
        stranger.give_back();
        let place = self
            .sessions
            .take(address.ip().into(), Instant::now().into_std())
            .map_err(|_| PeerError::Overloaded)?;
        let peer = OcclumPeer { address, claims: Arc::new(verified.claims().clone()) };
        Ok(OcclumSession { stream, peer, place })
    }

    /// Strangers are counted in the audit log, not recorded.
    fn refused(&self, address: SocketAddr, error: &PeerError) {
        self.broker.audit().count(error.code());
        self.broker.metrics().turned_away(error.code());
        if let Some(suppressed) = self.log_limiter.may_write(Instant::now()) {
            let code = error.code();
            tracing::warn!(peer = %address.ip(), code, %error, suppressed, "no session over Occlum's protocol");
        }
    }
}

/// The time to hold a certificate's dates against: nothing confirms them, so a client's clock that
/// is a little ahead is no reason to refuse it.
fn time_of(valid_from: UnixSeconds, now: UnixSeconds) -> UnixSeconds {
    if valid_from > now && valid_from.0 - now.0 <= CLOCKS_APART { valid_from } else { now }
}
