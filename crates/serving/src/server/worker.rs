//! A serving thread: hands shakes and serves the connections it is given.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_crowd::places::Place;
use futures_util::{StreamExt, stream};
use tokio::{
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;
use tonic_health::server::HealthReporter;

use super::{ServerOptions, age, root::Root, working::Working};
use crate::{
    connection::{self, Connection},
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

/// What a serving thread gets of an accepted connection.
pub(super) struct Accepted {
    pub(super) stream: std::net::TcpStream,
    pub(super) place: connection::Place,
}

/// What a serving thread works with.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) connections: mpsc::Receiver<Accepted>,
    pub(super) tls: Option<TlsSwitch>,
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
        let root = Root::new(self.services.clone(), self.health.clone());
        let (leave, leaving) = watch::channel(false);
        let mut served = JoinSet::new();
        loop {
            tokio::select! {
                accepted = self.connections.recv() => {
                    let Some(accepted) = accepted else { break };
                    served.spawn(self.connection(accepted, server.clone(), root.clone(), leaving.clone()));
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
        accepted: Accepted,
        server: tonic::transport::Server,
        root: Root,
        mut leaving: watch::Receiver<bool>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let tls = self.tls.as_ref().map(|tls| TlsAcceptor::from(tls.current()));
        let (timeout, age) = (self.options.handshake_timeout, self.options.connection_age);
        let idle_timeout = self.options.idle_timeout;
        let place = Arc::clone(accepted.place.among_all());
        async move {
            let shaken = tokio::select! {
                shaken = tokio::time::timeout(timeout, shake_hands(accepted, tls)) => shaken,
                () = place.given_way() => return,
                () = async {
                    let _ = leaving.wait_for(|leaving| *leaving).await;
                    tokio::time::sleep(LAST_HANDSHAKE).await;
                } => return,
            };
            let (connection, gone) = match shaken {
                Ok(Some(connection)) => connection.with_end(),
                Ok(None) => return,
                Err(_) => {
                    tracing::debug!("a TLS handshake took too long");
                    return;
                }
            };
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
                    () = leaving_place.given_way() => {}
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

/// Shakes hands, or without TLS waits for a first byte: a connection on which
/// nothing was said holds up neither a place nor the server's end.
async fn shake_hands(accepted: Accepted, tls: Option<TlsAcceptor>) -> Option<Connection> {
    let Accepted { stream, place } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => {
            tracing::warn!(%error, "a connection was lost on its way to its thread");
            return None;
        }
    };
    let Some(tls) = tls else {
        stream.readable().await.ok()?;
        return Some(Connection::plain(stream, place));
    };
    match tls.accept(stream).await {
        Ok(stream) => Some(Connection::tls(stream, place)),
        Err(error) => {
            tracing::debug!(%error, "a TLS handshake failed");
            None
        }
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
