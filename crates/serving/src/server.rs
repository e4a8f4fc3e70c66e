//! The server's threads: one accepts connections, one a core serves them.
//!
//! Each serving thread has a runtime of its own and keeps its connections for
//! their whole life, so that a request whose model is small is answered without
//! ever leaving the thread (see [`crate::scheduler`]). Models that take longer
//! are run by the scheduler's threads, so that connections stay responsive.

mod acceptor;

use std::{
    io,
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use adytum_api::tensorflow::serving::model_service_server::ModelServiceServer;
use futures_util::FutureExt;
use tokio::{
    net::TcpStream,
    sync::{mpsc, watch},
};
use tokio_rustls::TlsAcceptor;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{body::Body, server::NamedService, service::Routes};
use tonic_health::{
    ServingStatus,
    server::{HealthReporter, HealthService},
};
use tower::Service;

use crate::{
    connection::{Connection, Place},
    scheduler,
    service::{PredictionServer, SMALL_MESSAGE, Services},
};

/// HTTP/2 flow-control window of a stream: an image batch comes without waiting
/// for a window update at each of 64 KiB.
const STREAM_WINDOW: u32 = 2 << 20;

/// HTTP/2 flow-control window of a connection.
const CONNECTION_WINDOW: u32 = 8 << 20;

/// A connection on which nothing comes is asked for a sign of life after this.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Connections waiting for a serving thread, and for a serving thread's tonic.
const HANDOVER: usize = 64;

/// What a server allows.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Serving threads.
    pub threads: NonZeroUsize,
    /// Connections open at once; more wait in the kernel's queue.
    pub connection_limit: usize,
    /// Requests open at once on a connection.
    pub stream_limit: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
}

impl ServerOptions {
    /// The usual limits.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            connection_limit: 4096,
            stream_limit: 256,
            handshake_timeout: Duration::from_secs(10),
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request that had been accepted was answered.
    Completely,
    /// Time was up while connections were open.
    TimedOut {
        /// How many.
        connections: usize,
    },
}

/// A running server.
pub struct Server {
    address: SocketAddr,
    health: HealthReporter,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    counts: Vec<Arc<AtomicUsize>>,
}

/// What a serving thread gets of an accepted connection.
struct Accepted {
    stream: std::net::TcpStream,
    place: Place,
}

struct Worker {
    index: usize,
    connections: mpsc::Receiver<Accepted>,
    tls: Option<TlsAcceptor>,
    services: Services,
    health: HealthReporter,
    options: ServerOptions,
    stop: watch::Receiver<bool>,
}

impl Server {
    /// Starts to serve on `listener`. Health is `NOT_SERVING` until
    /// [`Self::set_serving`].
    pub fn start(
        listener: TcpListener,
        tls: Option<Arc<rustls::ServerConfig>>,
        services: Services,
        options: ServerOptions,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let health = HealthReporter::new();
        // Nobody else has it yet, so this never waits.
        let _ = set_health(&health, false).now_or_never();
        let mut server = Self { address, health, stop, threads: Vec::new(), counts: Vec::new() };
        let mut handovers = Vec::new();
        for index in 0..options.threads.get() {
            let (sender, connections) = mpsc::channel(HANDOVER);
            let count = Arc::new(AtomicUsize::new(0));
            handovers.push((sender, Arc::clone(&count)));
            server.counts.push(count);
            let worker = Worker {
                index,
                connections,
                tls: tls.clone().map(TlsAcceptor::from),
                services: services.clone(),
                health: server.health.clone(),
                options: options.clone(),
                stop: stopped.clone(),
            };
            server.spawn(format!("serve-{index}"), move || scheduler::enter_inline(|| worker.run()))?;
        }
        let limit = options.connection_limit;
        server.spawn("accept".to_owned(), move || acceptor::run(listener, handovers, limit, stopped))?;
        Ok(server)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the health of the server and of each of its services.
    pub async fn set_serving(&self, serving: bool) {
        set_health(&self.health, serving).await;
    }

    /// Stops to accept connections and requests, waits for the answers to those
    /// accepted, at most `timeout`. Health becomes `NOT_SERVING` first.
    pub async fn drain(self, timeout: Duration) -> Drained {
        self.set_serving(false).await;
        // Receivers are gone only if every thread has ended already.
        let _ = self.stop.send(true);
        let deadline = Instant::now() + timeout;
        while !self.threads.iter().all(JoinHandle::is_finished) {
            if Instant::now() >= deadline {
                let connections = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).sum();
                return Drained::TimedOut { connections };
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Drained::Completely
    }
}

async fn set_health(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", "tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"] {
        health.set_service_status(service, status).await;
    }
}

impl Worker {
    fn run(self) {
        let index = self.index;
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())
            .and_then(|runtime| runtime.block_on(self.serve()).map_err(|error| error.to_string()));
        if let Err(error) = result {
            tracing::error!(thread = index, error, "a serving thread ended");
        }
    }

    async fn serve(self) -> Result<(), tonic::transport::Error> {
        let Self { connections, tls, services, health, options, mut stop, .. } = self;
        let (ready, incoming) = mpsc::channel(HANDOVER);
        let timeout = options.handshake_timeout;
        let handshakes = tokio::spawn(hand_over(connections, tls, ready, timeout));
        let prediction = PredictionServer::new(services.clone());
        let model = ModelServiceServer::new(services).max_decoding_message_size(SMALL_MESSAGE);
        let health =
            tonic_health::pb::health_server::HealthServer::new(HealthService::from_health_reporter(health));
        let others = Routes::new(model).add_service(health).prepare();
        let root = Root { prediction, others };
        let result = tonic::transport::Server::builder()
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_concurrent_streams(options.stream_limit)
            .http2_keepalive_interval(Some(KEEP_ALIVE_INTERVAL))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT))
            .serve_with_incoming_shutdown(root, ReceiverStream::new(incoming), async move {
                // An error means that the server itself is gone.
                let _ = stop.wait_for(|stop| *stop).await;
            })
            .await;
        handshakes.abort();
        result
    }
}

/// Predictions go the shortest way, everything else through tonic's router.
#[derive(Clone)]
struct Root {
    prediction: PredictionServer,
    others: Routes,
}

impl Service<http::Request<Body>> for Root {
    type Response = http::Response<Body>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        // Both are always ready.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let service = request.uri().path().strip_prefix('/').and_then(|path| path.split_once('/'));
        if service.is_some_and(|(name, _)| name == PredictionServer::NAME) {
            let answer = self.prediction.call(request);
            Box::pin(async { answer.await.map_err(Into::into) })
        } else {
            let answer = self.others.call(request);
            Box::pin(async { answer.await.map_err(Into::into) })
        }
    }
}

/// Shakes hands on new connections, each in a task of its own.
async fn hand_over(
    mut connections: mpsc::Receiver<Accepted>,
    tls: Option<TlsAcceptor>,
    ready: mpsc::Sender<io::Result<Connection>>,
    timeout: Duration,
) {
    while let Some(Accepted { stream, place }) = connections.recv().await {
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was lost on its way to its thread");
                continue;
            }
        };
        let ready = ready.clone();
        let Some(tls) = tls.clone() else {
            // The receiver is gone when the server drains.
            let _ = ready.send(Ok(Connection::plain(stream, place))).await;
            continue;
        };
        tokio::spawn(async move {
            match tokio::time::timeout(timeout, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    let _ = ready.send(Ok(Connection::tls(stream, place))).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                Err(_) => tracing::debug!("a TLS handshake took too long"),
            }
        });
    }
}
