//! A serving thread: hands shakes and serves the connections it is given.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_crowd::places::Place;
use futures_util::{StreamExt, stream};
use tokio::{
    net::{TcpStream, UnixStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_rustls::{LazyConfigAcceptor, TlsAcceptor};
use tonic_health::server::HealthReporter;

use super::{Protocols, ServerOptions, age, listener::Accepted, refused, root::Root, working::Working};
use crate::{
    attested::{AttestedPort, address_of, is_asked_for},
    connection::{self, Connection},
    models::Pinned,
    service::Services,
    tls::TlsSwitch,
};

/// HTTP/2 flow-control window of a stream: an image batch comes without waiting
/// for a window update at each of 64 KiB.
const STREAM_WINDOW: u32 = 2 << 20;

/// HTTP/2 flow-control window of a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection on which nothing comes is asked for a sign of life after this.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A handshake that is under way when the server ends has this long: its client
/// then gets HTTP/2's GOAWAY, and knows that nothing was lost.
const LAST_HANDSHAKE: Duration = Duration::from_secs(1);

/// How each HTTP/2 connection begins (RFC 9113, section 3.4), as far as no other method does.
const HTTP2_PREFACE: [u8; 4] = *b"PRI ";

/// How a TLS handshake begins: the content type of its record (RFC 8446, section 5.1).
const TLS_HANDSHAKE: u8 = 22;

/// What a serving thread gets of an accepted connection.
pub(super) struct Handed {
    pub(super) stream: Accepted,
    pub(super) place: connection::Place,
    /// Which of [`Worker::endpoints`] it came by.
    pub(super) listener: usize,
}

/// What a serving thread knows of a listener.
#[derive(Clone)]
pub(super) struct Endpoint {
    pub(super) protocols: Protocols,
    pub(super) tls: Option<TlsSwitch>,
}

/// What a serving thread works with.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) connections: mpsc::Receiver<Handed>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) services: Services,
    pub(super) health: HealthReporter,
    pub(super) options: ServerOptions,
}

impl Worker {
    /// Runs until no more connections come and every request is answered.
    pub(super) fn run(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(error) => tracing::error!(thread = self.index, %error, "a serving thread has no runtime"),
        }
    }

    async fn serve(mut self) {
        let server = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(self.options.stream_limit)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
        let endpoints: Vec<(Endpoint, Root)> = self
            .endpoints
            .iter()
            .map(|endpoint| {
                let (services, health) = (self.services.clone(), self.health.clone());
                let root = Root::new(services, health, endpoint.protocols, self.options.rest.clone());
                (endpoint.clone(), root)
            })
            .collect();
        let (leave, leaving) = watch::channel(false);
        let mut served = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.connections.recv() => {
                    let Some(accepted) = accepted else { break };
                    let Some((endpoint, root)) = endpoints.get(accepted.listener) else { continue };
                    let root = root.clone();
                    served.spawn(self.connection(accepted, endpoint, server.clone(), root, leaving.clone()));
                }
                Some(_) = served.join_next(), if !served.is_empty() => {}
            }
        }
        // It fails if no connection is left to hear it.
        let _ = leave.send(true);
        while served.join_next().await.is_some() {}
    }

    /// Shakes hands on a connection and serves it to its end, which comes in good
    /// order once it should be `leaving`.
    fn connection(
        &self,
        accepted: Handed,
        endpoint: &Endpoint,
        server: tonic::transport::Server,
        root: Root,
        mut leaving: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + use<> {
        let tls = endpoint.tls.as_ref().map(|tls| TlsAcceptor::from(tls.current(endpoint.protocols.alpn())));
        let protocols = endpoint.protocols;
        let (timeout, age) = (self.options.handshake_timeout, self.options.connection_age);
        let idle_timeout = self.options.idle_timeout;
        let place = Arc::clone(accepted.place.among_all());
        let attested = self.options.attested.clone();
        async move {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(timeout, shake_hands(accepted, tls, attested.as_deref())) => shaken,
                () = place.displaced() => return,
                () = async {
                    let _ = leaving.wait_for(|leaving| *leaving).await;
                    tokio::time::sleep(LAST_HANDSHAKE).await;
                } => return,
            };
            let (session, (connection, gone)) = match shaken {
                Ok(Some(Shaken { connection, session })) => (session, connection.with_end()),
                Ok(None) => return,
                Err(_) => {
                    tracing::debug!("a TLS handshake took too long");
                    return;
                }
            };
            // One that is HTTP/2 for certain gets HTTP/2's GOAWAY when the server ends, even
            // before its first request was read.
            let root = match &session {
                Some(pinned) => root.in_session(Arc::clone(pinned)),
                None => root,
            };
            let http1 = protocols != Protocols::Grpc && !connection.is_http2();
            let server = server.accept_http1(http1);
            place.touch(Instant::now());
            let (taken, was_taken) = oneshot::channel();
            let leaving_place = Arc::clone(&place);
            let end = async move {
                // An end that comes before tonic has taken the connection would
                // drop it. An error means that all is over anyway.
                let _ = was_taken.await;
                tokio::select! {
                    () = gone => {}
                    _ = leaving.wait_for(|leaving| *leaving) => {}
                    () = outlived(age) => {}
                    () = idle_for(&leaving_place, idle_timeout) => {}
                    () = leaving_place.displaced() => {}
                    () = outdated(attested.as_deref(), session.as_deref()) => {}
                }
            };
            // tonic ends all connections of a server together, and these end one
            // by one: so each has a server of its own, which has nothing else to
            // accept.
            let only = stream::once(async move {
                let _ = taken.send(());
                Ok::<_, std::io::Error>(connection)
            })
            .chain(stream::pending());
            let root = Working::new(root, Arc::clone(&place));
            if let Err(error) = server.serve_with_incoming_shutdown(root, only, end).await {
                tracing::debug!(%error, "a connection ended");
            }
        }
    }
}

/// A connection that can be served.
struct Shaken {
    connection: Connection,
    /// The models of its attested session, if it is one.
    session: Option<Arc<Pinned>>,
}

impl From<Connection> for Shaken {
    fn from(connection: Connection) -> Self {
        Self { connection, session: None }
    }
}

/// Shakes hands, or without TLS waits for a first byte: a connection on which
/// nothing was said holds up neither a place nor the server's end.
async fn shake_hands(
    accepted: Handed,
    tls: Option<TlsAcceptor>,
    attested: Option<&AttestedPort>,
) -> Option<Shaken> {
    let Handed { stream, place, .. } = accepted;
    let lost = |error| tracing::warn!(%error, "a connection was lost on its way to its thread");
    let stream = match stream {
        Accepted::Tcp(stream) => TcpStream::from_std(stream).map_err(lost).ok()?,
        Accepted::Unix(stream) => {
            let stream = UnixStream::from_std(stream).map_err(lost).ok()?;
            stream.readable().await.ok()?;
            return Some(Connection::unix(stream, place).into());
        }
    };
    if tls.is_none() {
        stream.readable().await.ok()?;
        let mut first = [0; HTTP2_PREFACE.len()];
        let read = stream.peek(&mut first).await.unwrap_or(0);
        // Without TLS of its own a port speaks attested sessions and nothing else of TLS.
        if attested.is_none() || read == 0 || first[0] != TLS_HANDSHAKE {
            let is_http2 = first == HTTP2_PREFACE;
            return Some(Connection::plain(stream, is_http2, place).into());
        }
    }
    let address = stream.peer_addr().ok();
    let shaken = match (attested, tls) {
        (None, None) => return None,
        (None, Some(tls)) => tls.accept(stream).await,
        (Some(attested), tls) => {
            let peer = address_of(&stream);
            match LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await {
                Ok(started) if is_asked_for(&started) => {
                    return match attested.accept(started, peer).await {
                        Ok((stream, session)) => Some(Shaken {
                            connection: Connection::tls(stream, place),
                            session: Some(session),
                        }),
                        Err(error) => {
                            refused::log(address, &error);
                            None
                        }
                    };
                }
                Ok(started) => match tls {
                    Some(tls) => started.into_stream(Arc::clone(tls.config())).await,
                    None => Err(std::io::Error::other("this port has no TLS but for attested sessions")),
                },
                Err(error) => Err(error),
            }
        }
    };
    match shaken {
        Ok(stream) => Some(Connection::tls(stream, place).into()),
        Err(error) => {
            refused::log(address, &error);
            None
        }
    }
}

/// Waits until a session's models are no longer those that answer: its client then attests
/// again. Never ends for other connections.
async fn outdated(attested: Option<&AttestedPort>, session: Option<&Pinned>) {
    match (attested, session) {
        (Some(attested), Some(session)) => session.outdated(attested.models()).await,
        _ => pending().await,
    }
}

/// Waits until no request was made on a connection for this long.
async fn idle_for(place: &Place, timeout: Duration) {
    loop {
        match place.idle_since() {
            None => tokio::time::sleep(timeout).await,
            Some(since) => {
                let idle = since.elapsed();
                if idle >= timeout {
                    return;
                }
                tokio::time::sleep(timeout - idle).await;
            }
        }
    }
}

/// Waits until a connection is as old as it may become.
async fn outlived(age: Option<Duration>) {
    match age {
        Some(age) => tokio::time::sleep(age::of_one(age)).await,
        None => pending().await,
    }
}
