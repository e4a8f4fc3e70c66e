//! The replicas behind a name, with one attested session each.
//!
//! Sessions are opened when a request needs one, and stay open. When one ends, the next
//! request opens another, which attests again. The name is looked up again and again, so
//! replicas that come and go are noticed. A request goes to the replica that has the fewest
//! in progress; one that could not be verified or reached is left out for a moment.

use std::{
    fmt, io,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use adytum_client::{Attestation, ConnectError, Replica as Verified, ServerAddress};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};

use crate::body::Sending;

/// How long what a name stands for is believed.
const LOOK_UP_AGAIN: Duration = Duration::from_secs(5);
/// A replica that was refused or not reached is not tried again sooner.
const LEFT_OUT: Duration = Duration::from_secs(1);
/// How long a TCP connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The most addresses of a name.
const MOST_ADDRESSES: usize = 256;

/// HTTP/2 windows (RFC 9113, section 5.2), in bytes.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// A dead connection is noticed after the two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// News of a replica, for people.
#[derive(Debug)]
pub enum Notice<'a> {
    /// It was verified on a new connection.
    Verified { address: SocketAddr, replica: &'a Verified },
    /// It was refused or not reached; nothing was sent to it.
    LeftOut { address: SocketAddr, error: &'a ConnectError },
}

type Observer = Arc<dyn Fn(&Notice<'_>) + Send + Sync>;

/// The addresses of some replicas, when they are known.
pub type Addresses<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send + 'a>>;

/// Where the addresses of the replicas come from.
pub trait Resolver: Send + Sync {
    /// All of now.
    fn addresses(&self) -> Addresses<'_>;

    /// How long an answer counts.
    fn lifetime(&self) -> Duration;
}

/// The name service of this machine. In Kubernetes a headless Service has the addresses of all
/// replicas that are ready.
impl Resolver for ServerAddress {
    fn addresses(&self) -> Addresses<'_> {
        Box::pin(async { Ok(lookup_host((self.host(), self.port())).await?.collect()) })
    }

    fn lifetime(&self) -> Duration {
        LOOK_UP_AGAIN
    }
}

/// A way to send requests in an open session.
pub(crate) type Sender = SendRequest<Sending>;

/// The replicas of one service. Clones are the same.
#[derive(Clone)]
pub struct Replicas(Arc<Inner>);

struct Inner {
    /// What messages call them.
    name: String,
    resolver: Arc<dyn Resolver>,
    attestation: Attestation,
    observer: Observer,
    known: Mutex<Known>,
    /// One look-up at a time.
    looking_up: tokio::sync::Mutex<()>,
    next: AtomicUsize,
}

#[derive(Default)]
struct Known {
    replicas: Vec<Arc<Replica>>,
    looked_up: Option<Instant>,
}

/// The sessions with one address.
#[derive(Default)]
struct Sessions {
    open: Option<Session>,
    /// The number of sessions that there were.
    count: usize,
}

/// One address.
pub(crate) struct Replica {
    address: SocketAddr,
    /// The session with it; held while one is opened, so that requests wait for one handshake.
    session: tokio::sync::Mutex<Sessions>,
    in_progress: AtomicUsize,
    left_out: Mutex<Option<(Instant, ConnectError)>>,
}

#[derive(Clone)]
struct Session {
    sender: Sender,
    /// Its number among the sessions of this replica.
    number: usize,
}

/// A request's place at a replica.
pub(crate) struct Turn {
    replica: Arc<Replica>,
    session: usize,
}

impl Turn {
    /// The session takes no more requests: the next one opens another.
    pub(crate) async fn discard(&self) {
        let mut sessions = self.replica.session.lock().await;
        sessions.open.take_if(|session| session.number == self.session);
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.replica.in_progress.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Replicas {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Replicas({})", self.0.name)
    }
}

impl Replicas {
    /// All addresses of this server, each of which must prove to be a replica of the service.
    pub fn new(server: ServerAddress, attestation: Attestation) -> Self {
        Self::observed_by(server, attestation, |_| {})
    }

    /// The same, and `observer` hears what happens to each.
    pub fn observed_by(
        server: ServerAddress,
        attestation: Attestation,
        observer: impl Fn(&Notice<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self::resolved_by(Arc::new(server.clone()), server.to_string(), attestation, observer)
    }

    /// All that this resolver has; messages call them `name`.
    pub fn resolved_by(
        resolver: Arc<dyn Resolver>,
        name: String,
        attestation: Attestation,
        observer: impl Fn(&Notice<'_>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Inner {
            name,
            resolver,
            attestation,
            observer: Arc::new(observer),
            known: Mutex::default(),
            looking_up: tokio::sync::Mutex::default(),
            next: AtomicUsize::new(0),
        }))
    }

    /// Verifies one replica, so that what is wrong shows before the first request.
    pub async fn verify(&self) -> Result<(), ConnectError> {
        self.sender(&[]).await.map(drop)
    }

    /// An open session with one of the replicas, none of those that were `tried`.
    pub(crate) async fn sender(
        &self,
        tried: &[SocketAddr],
    ) -> Result<(Sender, SocketAddr, Turn), ConnectError> {
        let inner = &self.0;
        let mut last = None;
        for replica in inner.in_order().await? {
            if tried.contains(&replica.address) {
                continue;
            }
            if let Some(error) = replica.is_left_out() {
                last.get_or_insert(error);
                continue;
            }
            replica.in_progress.fetch_add(1, Ordering::Relaxed);
            let mut turn = Turn { replica: Arc::clone(&replica), session: 0 };
            match replica.session(inner).await {
                Ok(Session { sender, number }) => {
                    turn.session = number;
                    return Ok((sender, replica.address, turn));
                }
                Err(error) => {
                    (inner.observer)(&Notice::LeftOut { address: replica.address, error: &error });
                    *lock(&replica.left_out) = Some((Instant::now() + LEFT_OUT, error.clone()));
                    // A verdict says more than an address that nobody listens at.
                    if last.is_none() || !error.retry() {
                        last = Some(error);
                    }
                }
            }
        }
        Err(last.unwrap_or_else(|| ConnectError::Network {
            server: inner.name.clone(),
            problem: "each replica broke the connection".to_owned(),
        }))
    }
}

impl Inner {
    /// The replicas, the one with the fewest requests first; among equals each in turn.
    async fn in_order(&self) -> Result<Vec<Arc<Replica>>, ConnectError> {
        if self.is_due() {
            let _one = self.looking_up.lock().await;
            if self.is_due() {
                self.look_up().await?;
            }
        }
        let mut replicas = lock(&self.known).replicas.clone();
        if !replicas.is_empty() {
            let turn = self.next.fetch_add(1, Ordering::Relaxed) % replicas.len();
            replicas.rotate_left(turn);
        }
        replicas.sort_by_key(|replica| replica.in_progress.load(Ordering::Relaxed));
        Ok(replicas)
    }

    fn is_due(&self) -> bool {
        lock(&self.known).looked_up.is_none_or(|time| time.elapsed() >= self.resolver.lifetime())
    }

    /// What the name stands for now. If it can't be looked up, what is known stays.
    async fn look_up(&self) -> Result<(), ConnectError> {
        let found = timeout(CONNECT_LIMIT, self.resolver.addresses()).await;
        let problem = match found {
            Ok(Ok(addresses)) => {
                let mut known = lock(&self.known);
                known.looked_up = Some(Instant::now());
                let mut replicas: Vec<Arc<Replica>> = Vec::new();
                for address in addresses.into_iter().take(MOST_ADDRESSES) {
                    if replicas.iter().any(|replica| replica.address == address) {
                        continue;
                    }
                    let kept = known.replicas.iter().find(|replica| replica.address == address);
                    replicas.push(kept.cloned().unwrap_or_else(|| Arc::new(Replica::at(address))));
                }
                if !replicas.is_empty() {
                    known.replicas = replicas;
                }
                if !known.replicas.is_empty() {
                    return Ok(());
                }
                "it has no address".to_owned()
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CONNECT_LIMIT.as_secs()),
        };
        let mut known = lock(&self.known);
        if known.replicas.is_empty() {
            return Err(ConnectError::Resolve { server: self.name.clone(), problem });
        }
        known.looked_up = Some(Instant::now());
        tracing::warn!(
            server = self.name,
            problem,
            "the name can't be looked up; its earlier addresses count"
        );
        Ok(())
    }
}

impl Replica {
    fn at(address: SocketAddr) -> Self {
        Self {
            address,
            session: tokio::sync::Mutex::default(),
            in_progress: AtomicUsize::new(0),
            left_out: Mutex::default(),
        }
    }

    fn is_left_out(&self) -> Option<ConnectError> {
        let left_out = lock(&self.left_out);
        left_out.as_ref().filter(|(until, _)| Instant::now() < *until).map(|(_, error)| error.clone())
    }

    /// The open session, or a new one.
    async fn session(&self, inner: &Inner) -> Result<Session, ConnectError> {
        let mut sessions = self.session.lock().await;
        // Those that waited for a handshake that failed need not try another one each.
        if let Some(error) = self.is_left_out() {
            return Err(error);
        }
        if let Some(open) = sessions.open.as_mut().filter(|open| !open.sender.is_closed()) {
            return Ok(open.clone());
        }
        let sender = self.open(inner).await?;
        *lock(&self.left_out) = None;
        sessions.count += 1;
        let number = sessions.count;
        Ok(sessions.open.insert(Session { sender, number }).clone())
    }

    async fn open(&self, inner: &Inner) -> Result<Sender, ConnectError> {
        let server = self.address.to_string();
        let network = |problem: String| ConnectError::Network { server: server.clone(), problem };
        let stream = match timeout(CONNECT_LIMIT, TcpStream::connect(self.address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                return Err(ConnectError::Refused { server });
            }
            Ok(Err(error)) => return Err(network(error.to_string())),
            Err(_) => return Err(ConnectError::TimedOut { server, seconds: CONNECT_LIMIT.as_secs() }),
        };
        stream.set_nodelay(true).map_err(|error| network(error.to_string()))?;
        let (stream, replica) = inner.attestation.attest(stream, &server).await?;
        (inner.observer)(&Notice::Verified { address: self.address, replica: &replica });
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| network(error.to_string()))?;
        let address = self.address;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%address, %error, "a session with a replica ended");
            }
        });
        Ok(sender)
    }
}

/// Nothing in here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
