//! The side that connects.

use std::{
    future::{Ready, ready},
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, lookup_host},
    time::{Instant, timeout},
};
use tonic::{Status, transport::Channel};
use tower::Service;

use crate::{
    configuration::ConnectorConfiguration,
    error::SessionError,
    handshake::{Attempt, client},
    session::SessionInfo,
    stream::AttestedStream,
    tls::{self, TlsIdentity},
};

/// The URI under which requests go out. It names nobody: who the peer is was
/// settled by attestation.
const ORIGIN: &str = "https://attested-session";

/// HTTP/2 flow control (RFC 9113 section 5.2): enough for a large message at a
/// good rate without a stop at each 64 KiB.
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const MAXIMUM_HEADER_LIST: u32 = 16 * 1024;

/// How long a client's key is used for new sessions.
const KEY_LIFETIME: Duration = Duration::from_secs(3600);

/// A dead connection is noticed after the two together.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Opens attested sessions.
#[derive(Clone)]
pub struct AttestedConnector {
    configuration: Arc<ConnectorConfiguration>,
    /// For sides without a TEE: the same for every session.
    without_identity: Arc<OnceLock<Arc<ClientConfig>>>,
    key: SessionKeyKeeper,
    takes_collateral: bool,
}

/// The key that a client with a TEE shows. It is made in memory and used for an hour, so
/// that a server that has seen this client's evidence knows the client when it comes back.
/// Evidence is made for each session all the same.
#[derive(Clone, Default)]
pub struct SessionKeyKeeper(Arc<Mutex<Option<KeptKey>>>);

struct KeptKey {
    identity: Arc<TlsIdentity>,
    config: Arc<ClientConfig>,
    made: Instant,
}

impl SessionKeyKeeper {
    fn current(&self) -> Result<(Arc<TlsIdentity>, Arc<ClientConfig>), String> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = &*kept
            && key.made.elapsed() < KEY_LIFETIME
        {
            return Ok((Arc::clone(&key.identity), Arc::clone(&key.config)));
        }
        let identity = Arc::new(TlsIdentity::generate()?);
        let config = Arc::new(tls::client_config(Some(&identity)).map_err(|error| error.to_string())?);
        *kept = Some(KeptKey {
            identity: Arc::clone(&identity),
            config: Arc::clone(&config),
            made: Instant::now(),
        });
        Ok((identity, config))
    }
}

/// One open session with a gRPC channel on it. The channel never reconnects: a
/// broken session is an error, and a new one attests again.
#[derive(Debug)]
pub struct AttestedSession {
    /// For tonic's generated clients.
    pub channel: Channel,
    pub info: SessionInfo,
}

impl AttestedConnector {
    /// A connector with this configuration.
    pub fn new(configuration: ConnectorConfiguration) -> Self {
        Self {
            configuration: Arc::new(configuration),
            without_identity: Arc::default(),
            key: SessionKeyKeeper::default(),
            takes_collateral: false,
        }
    }

    /// Verifies a server's evidence with the collateral that comes along with it. The
    /// verifier's own source is asked only where none does.
    #[must_use]
    pub fn taking_collateral(self) -> Self {
        Self { takes_collateral: true, ..self }
    }

    /// Shows the key of this keeper, which other connectors may share.
    #[must_use]
    pub fn with_key(mut self, key: SessionKeyKeeper) -> Self {
        self.key = key;
        self
    }

    /// Connects to `address` (`host:port`, `192.0.2.1:port` or `[2001:db8::1]:port`),
    /// attests, and opens a gRPC channel on the session.
    pub async fn session(&self, address: &str) -> Result<AttestedSession, SessionError> {
        let stream = self.connect(address).await?;
        let info = stream.info().clone();
        let endpoint = Channel::from_static(ORIGIN)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_header_list_size(MAXIMUM_HEADER_LIST)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT);
        let once = OneConnection { stream: Some(TokioIo::new(stream)), peer: address.to_owned() };
        let channel = Channel::connect(once, endpoint).await.map_err(|error| SessionError::Io {
            peer: address.to_owned(),
            source: io::Error::other(error),
        })?;
        Ok(AttestedSession { channel, info })
    }

    /// Connects to `address` and attests; the stream is the caller's.
    pub async fn connect(&self, address: &str) -> Result<AttestedStream, SessionError> {
        let started = Instant::now();
        let limit = self.configuration.limits.handshake_timeout;
        let stream = match timeout(limit, open(address, started + limit)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(source)) => return Err(SessionError::Io { peer: address.to_owned(), source }),
            Err(_) => {
                return Err(SessionError::Timeout { peer: address.to_owned(), limit, step: "connecting" });
            }
        };
        let failed = |source| SessionError::Io { peer: address.to_owned(), source };
        let peer_address = stream.peer_addr().map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        self.attest(stream, address, peer_address, started).await
    }

    /// Attests on a connection that is already there, such as one through a
    /// proxy. `address` is for messages, `peer_address` for [`SessionInfo`].
    pub async fn connect_over<S>(
        &self,
        stream: S,
        address: &str,
        peer_address: SocketAddr,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.attest(stream, address, peer_address, Instant::now()).await
    }

    async fn attest<S>(
        &self,
        stream: S,
        address: &str,
        peer_address: SocketAddr,
        started: Instant,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let limit = self.configuration.limits.handshake_timeout;
        let attempt = Attempt { peer: address.to_owned(), address: peer_address, started, limit };
        let (identity, config) = match &self.configuration.local {
            Some(_) => {
                let (identity, config) = self.key.current().map_err(|e| attempt.local(e))?;
                (Some(identity), config)
            }
            None => (None, self.config_without_identity().map_err(|e| attempt.local(e))?),
        };
        let taking = self.takes_collateral;
        client::connect(&self.configuration, identity.as_deref(), config, &attempt, taking, stream).await
    }

    fn config_without_identity(&self) -> Result<Arc<ClientConfig>, rustls::Error> {
        if let Some(config) = self.without_identity.get() {
            return Ok(config.clone());
        }
        let config = Arc::new(tls::client_config(None)?);
        Ok(self.without_identity.get_or_init(|| config).clone())
    }
}

/// Opens a TCP connection to the first address of the name that answers. A
/// silent address gets its share of the time, not all of it.
async fn open(address: &str, deadline: Instant) -> io::Result<TcpStream> {
    let addresses: Vec<_> = lookup_host(address).await?.collect();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (tried, candidate) in addresses.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        match timeout(share, TcpStream::connect(candidate)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::new(io::ErrorKind::TimedOut, format!("{candidate} does not answer")),
        }
    }
    Err(last)
}

/// A connector that has one connection to give. tonic asks for another when that
/// one breaks, and gets an error: a session is never replaced behind the
/// caller's back.
struct OneConnection {
    stream: Option<TokioIo<AttestedStream>>,
    peer: String,
}

impl Service<Uri> for OneConnection {
    type Response = TokioIo<AttestedStream>;
    type Error = Status;
    type Future = Ready<Result<Self::Response, Status>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _origin: Uri) -> Self::Future {
        ready(self.stream.take().ok_or_else(|| {
            Status::unavailable(format!(
                "the attested session with {} is over; open a new one, which attests anew",
                self.peer
            ))
        }))
    }
}
