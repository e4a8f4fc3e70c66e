//! The port for local clients: HTTP/1.1 and HTTP/2 without TLS.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    answer::{self, is_grpc},
    body::Budget,
    error::ProxyError,
    forward::forward,
    replicas::Replicas,
};

/// Local connections at once; further ones wait.
const CONNECTIONS: usize = 256;
/// Requests in progress at once, over all connections.
const REQUESTS: usize = 1024;
/// Requests in progress at once on a connection.
const STREAMS: u32 = 256;
/// HTTP/2 windows (RFC 9113, section 5.2), in bytes: what one client can have kept here.
const STREAM_WINDOW: u32 = 512 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// How long the head of a request of HTTP/1.1 may take.
const HEAD_LIMIT: Duration = Duration::from_secs(10);
/// How long requests may take to end when the proxy ends.
const DRAIN_LIMIT: Duration = Duration::from_secs(30);
/// After a failed accept (no file descriptors left, say) this long is waited.
const PAUSE: Duration = Duration::from_millis(50);

/// A proxy that listens.
#[derive(Debug)]
pub struct Proxy {
    listener: TcpListener,
    address: SocketAddr,
    replicas: Replicas,
}

impl Proxy {
    /// Listens at this address; port 0 lets the system choose.
    pub async fn listen(address: SocketAddr, replicas: Replicas) -> Result<Self, ProxyError> {
        let failed = |source| ProxyError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { listener, address, replicas })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Carries requests until `stop` ends; then those in progress are answered, within half a
    /// minute.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let mut stop = pin!(stop);
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        let requests = Arc::new(Semaphore::new(REQUESTS));
        let budget = Budget::default();
        let (leave, leaving) = watch::channel(false);
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = async {
                    let place = Arc::clone(&places).acquire_owned().await;
                    (place, self.listener.accept().await)
                } => accepted,
            };
            let (Ok(place), Ok((stream, _))) = accepted else {
                tracing::warn!("accepting a connection failed");
                sleep(PAUSE).await;
                continue;
            };
            let connection = connection(
                stream,
                self.replicas.clone(),
                Arc::clone(&requests),
                budget.clone(),
                leaving.clone(),
            );
            connections.spawn(async move {
                connection.await;
                drop(place);
            });
        }
        drop(self.listener);
        // It fails if no connection is left to hear it.
        let _ = leave.send(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(DRAIN_LIMIT, ended).await.is_err() {
            tracing::warn!("time is up; connections that are still open are cut");
        }
    }
}

async fn connection(
    stream: TcpStream,
    replicas: Replicas,
    requests: Arc<Semaphore>,
    budget: Budget,
    mut leaving: watch::Receiver<bool>,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection was lost");
        return;
    }
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let service = service_fn(move |request: Request<Incoming>| {
        let (replicas, requests, budget) = (replicas.clone(), Arc::clone(&requests), budget.clone());
        async move {
            let grpc = is_grpc(request.headers());
            let Ok(_place) = requests.try_acquire() else {
                return Ok(answer::refusal(&ProxyError::Overloaded { limit: REQUESTS }, grpc));
            };
            let answered = forward(&replicas, &budget, request).await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|error| {
                tracing::warn!(code = error.code(), "{error}");
                answer::refusal(&error, grpc)
            }))
        }
    });
    let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = async { drop(leaving.wait_for(|leaving| *leaving).await) } => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a local connection ended");
    }
}
