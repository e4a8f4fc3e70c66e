//! The server's threads: one accepts connections, one a core serves them.
//!
//! Each serving thread has a runtime of its own and keeps its connections for
//! their whole life, so that a request whose model is small is answered without
//! ever leaving the thread (see [`crate::scheduler`]). Models that take longer
//! are run by the scheduler's threads, so that connections stay responsive.

mod acceptor;
mod age;
mod listener;
mod refused;
mod root;
mod worker;
mod working;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use adytum_crowd::places::Places;
use futures_util::FutureExt;
use tokio::sync::{mpsc, watch};
use tonic_health::{ServingStatus, server::HealthReporter};

pub use self::listener::{Listener, Protocols};
use self::worker::{Endpoint, Worker};
use crate::{
    attested::AttestedPort,
    rest::RestOptions,
    scheduler,
    service::{NAMES, Services},
};

/// Connections waiting for a serving thread.
const HANDOVER: usize = 64;

/// How long a connection is idle, or shakes hands, before it is displaced by one of an address
/// with as many.
const IDLE_GRACE: Duration = Duration::from_millis(500);

/// What a server allows.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// The number of threads that serve connections.
    pub threads: NonZeroUsize,
    /// Connections open at once; for one more, one that is idle is displaced.
    pub connection_limit: usize,
    /// Requests open at once on a connection.
    pub stream_limit: u32,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// A connection without a request for so long ends; its client opens another when it
    /// needs one.
    pub idle_timeout: Duration,
    /// A connection ends after this, a tenth more or less, once its requests are
    /// answered; the client opens a new one, which may reach another replica.
    pub connection_age: Option<Duration>,
    /// What the REST API's flags say.
    pub rest: RestOptions,
    /// What answers attested sessions on the same ports.
    pub attested: Option<Arc<AttestedPort>>,
}

impl ServerOptions {
    /// The usual limits.
    pub fn new(threads: NonZeroUsize) -> Self {
        Self {
            threads,
            connection_limit: 4096,
            stream_limit: 256,
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(1800),
            connection_age: None,
            rest: RestOptions::default(),
            attested: None,
        }
    }
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every request that had been accepted was answered.
    Completely,
    /// Time was up while connections were open.
    TimedOut { connections: usize },
}

/// A running server.
pub struct Server {
    addresses: Vec<Option<SocketAddr>>,
    services: Services,
    health: HealthReporter,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
    counts: Vec<Arc<AtomicUsize>>,
}

impl Server {
    /// Starts to serve on `listeners`. Health is `NOT_SERVING` until
    /// [`Self::set_serving`].
    pub fn start(listeners: Vec<Listener>, services: Services, options: ServerOptions) -> io::Result<Self> {
        let mut addresses = Vec::new();
        for listener in &listeners {
            listener.socket.set_nonblocking()?;
            addresses.push(listener.socket.address()?);
        }
        let (stop, stopped) = watch::channel(false);
        let health = HealthReporter::new();
        // Nobody else has it yet, so this never waits.
        let _ = set_health(&health, false).now_or_never();
        let mut server = Self {
            addresses,
            services: services.clone(),
            health,
            stop,
            threads: Vec::new(),
            counts: Vec::new(),
        };
        let endpoints: Vec<Endpoint> = listeners
            .iter()
            .map(|listener| Endpoint { protocols: listener.protocols, tls: listener.tls.clone() })
            .collect();
        let mut handovers = Vec::new();
        for index in 0..options.threads.get() {
            let (sender, connections) = mpsc::channel(HANDOVER);
            let count = Arc::new(AtomicUsize::new(0));
            handovers.push((sender, Arc::clone(&count)));
            server.counts.push(count);
            let worker = Worker {
                index,
                connections,
                endpoints: endpoints.clone(),
                services: services.clone(),
                health: server.health.clone(),
                options: options.clone(),
            };
            server.spawn(format!("serve-{index}"), move || scheduler::enter_inline(|| worker.run()))?;
        }
        let places = Places::new(options.connection_limit, IDLE_GRACE);
        for (place, listener) in listeners.into_iter().enumerate() {
            let (handovers, places, stopped) = (handovers.clone(), Arc::clone(&places), stopped.clone());
            let work = move || acceptor::run(listener.socket, place, handovers, places, stopped);
            server.spawn(format!("accept-{place}"), work)?;
        }
        Ok(server)
    }

    fn spawn(&mut self, name: String, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(std::thread::Builder::new().name(name).spawn(work)?);
        Ok(())
    }

    /// Where its first listener is.
    pub fn address(&self) -> SocketAddr {
        let unspecified = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        self.addresses.first().copied().flatten().unwrap_or(unspecified)
    }

    /// Where its listeners are, in their order; `None` for one without a port.
    pub fn addresses(&self) -> &[Option<SocketAddr>] {
        &self.addresses
    }

    /// Sets the health of the server and of each of its services.
    pub async fn set_serving(&self, serving: bool) {
        self.services.set_draining(!serving);
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
    for service in [""].iter().chain(&NAMES) {
        health.set_service_status(*service, status).await;
    }
}
