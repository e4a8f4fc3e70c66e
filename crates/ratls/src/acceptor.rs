//! The side that is connected to.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};

use adytum_evidence::{collateral::CollateralSource, verifier::Verifier};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    task::{JoinError, JoinSet},
    time::{Instant, Sleep, sleep},
};
use tokio_rustls::{Accept, StartHandshake, TlsAcceptor};
use tokio_stream::Stream;

pub use crate::stream::AttestedStream;
use crate::{
    configuration::AcceptorConfiguration,
    error::SessionError,
    gate::{Gate, Open},
    handshake::{
        Attempt,
        replays::Replays,
        server::{self, ServerIdentity},
    },
    tls::{self, TlsIdentity},
};

/// How long a server's key is used for new sessions.
const KEY_LIFETIME: Duration = Duration::from_secs(3600);

/// Pauses after the system refused to accept a connection (no file descriptors,
/// no memory): the first, and the longest that doubling leads to.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts attested sessions.
#[derive(Clone)]
pub struct AttestedAcceptor {
    configuration: Arc<AcceptorConfiguration>,
    identity: Arc<Mutex<Option<Arc<ServerIdentity>>>>,
    collateral: Option<Arc<dyn CollateralSource>>,
}

impl AttestedAcceptor {
    /// An acceptor with this configuration.
    pub fn new(configuration: AcceptorConfiguration) -> Self {
        Self { configuration: Arc::new(configuration), identity: Arc::default(), collateral: None }
    }

    /// Sends what this source has for own evidence along with it, so that clients need no
    /// source of their own.
    #[must_use]
    pub fn with_collateral(self, source: Arc<dyn CollateralSource>) -> Self {
        Self { collateral: Some(source), identity: Arc::default(), ..self }
    }

    /// Verifies its peers' evidence.
    pub fn verifier(&self) -> &Arc<Verifier> {
        &self.configuration.verifier
    }

    /// Accepted sessions, for tonic's `serve_with_incoming_shutdown`. Handshakes
    /// run side by side; one that fails is logged and never ends the stream.
    /// Beyond [`maximum_handshakes`](crate::limits::Limits::maximum_handshakes) a connection is closed at once.
    /// Dropping the stream ends the handshakes under way.
    pub fn incoming(self, listener: TcpListener) -> impl Stream<Item = io::Result<AttestedStream>> {
        self.incoming_from(listener)
    }

    fn incoming_from<L: Listener>(self, listener: L) -> Incoming<L> {
        Incoming {
            acceptor: self,
            listener,
            handshakes: JoinSet::new(),
            pause: None,
            next_pause: FIRST_PAUSE,
        }
    }

    /// Both handshakes on one TCP connection.
    pub async fn accept(&self, stream: TcpStream) -> Result<AttestedStream, SessionError> {
        self.accept_gated(stream, &Open).await
    }

    /// The same, if this gate lets the peer through.
    pub async fn accept_gated(
        &self,
        stream: TcpStream,
        gate: &dyn Gate,
    ) -> Result<AttestedStream, SessionError> {
        let unknown = |source| SessionError::Io { peer: "an unknown address".to_owned(), source };
        let address = stream.peer_addr().map_err(unknown)?;
        stream.set_nodelay(true).map_err(|source| SessionError::Io { peer: address.to_string(), source })?;
        self.accept_over_gated(stream, address, gate).await
    }

    /// Both handshakes on any connection. `address` is for messages and for
    /// [`crate::session::SessionInfo`].
    pub async fn accept_over<S>(
        &self,
        stream: S,
        address: SocketAddr,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.accept_over_gated(stream, address, &Open).await
    }

    /// The same, if this gate lets the peer through.
    pub async fn accept_over_gated<S>(
        &self,
        stream: S,
        address: SocketAddr,
        gate: &dyn Gate,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let start = |config| TlsAcceptor::from(config).accept(stream);
        self.attest(start, address, gate).await
    }

    /// The same on a connection whose ClientHello was read already: on a port that speaks
    /// other protocols too.
    pub async fn accept_started<S>(
        &self,
        started: StartHandshake<S>,
        address: SocketAddr,
        gate: &dyn Gate,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        self.attest(|config| started.into_stream(config), address, gate).await
    }

    async fn attest<S>(
        &self,
        start: impl FnOnce(Arc<ServerConfig>) -> Accept<S>,
        address: SocketAddr,
        gate: &dyn Gate,
    ) -> Result<AttestedStream<S>, SessionError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let attempt = Attempt {
            peer: address.to_string(),
            address,
            started: Instant::now(),
            limit: self.configuration.limits.handshake_timeout,
        };
        let identity = self.identity().map_err(|e| attempt.local(e))?;
        let handshake = start(identity.config.clone());
        server::accept(&self.configuration, &identity, &attempt, gate, handshake).await
    }

    /// The current key, made in memory when there is none or it is old.
    fn identity(&self) -> Result<Arc<ServerIdentity>, String> {
        let mut current = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = &*current
            && identity.made.elapsed() < KEY_LIFETIME
        {
            return Ok(identity.clone());
        }
        let tls = TlsIdentity::generate()?;
        let config = tls::server_config(&tls).map_err(|e| e.to_string())?;
        let identity = Arc::new(ServerIdentity {
            tls,
            config: Arc::new(config),
            made: Instant::now(),
            replays: Replays::default(),
            collateral: self.collateral.clone(),
        });
        *current = Some(identity.clone());
        Ok(identity)
    }
}

/// Where TCP connections come from: a listener, or in tests one that fails.
trait Listener: Unpin {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>>;
}

impl Listener for TcpListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        TcpListener::poll_accept(self, cx)
    }
}

/// The stream of [`AttestedAcceptor::incoming`].
struct Incoming<L> {
    acceptor: AttestedAcceptor,
    listener: L,
    handshakes: JoinSet<Option<AttestedStream>>,
    pause: Option<Pin<Box<Sleep>>>,
    next_pause: Duration,
}

impl<L: Listener> Incoming<L> {
    /// Starts handshakes until no connection waits.
    fn poll_connections(&mut self, cx: &mut Context<'_>) {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(cx).is_pending() {
                    return;
                }
                self.pause = None;
            }
            match self.listener.poll_accept(cx) {
                Poll::Pending => return,
                Poll::Ready(Ok((stream, address))) => {
                    self.next_pause = FIRST_PAUSE;
                    self.start(stream, address);
                }
                // The connection was gone before it was accepted: that is no fault.
                Poll::Ready(Err(error)) if is_of_the_connection(&error) => {}
                Poll::Ready(Err(error)) => {
                    tracing::error!(%error, pause = ?self.next_pause, "accepting a connection failed");
                    self.pause = Some(Box::pin(sleep(self.next_pause)));
                    self.next_pause = (self.next_pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn start(&mut self, stream: TcpStream, address: SocketAddr) {
        let maximum = self.acceptor.configuration.limits.maximum_handshakes;
        if self.handshakes.len() >= maximum {
            tracing::warn!(%address, maximum, code = "overloaded", "too many handshakes: connection closed");
            return;
        }
        let acceptor = self.acceptor.clone();
        self.handshakes.spawn(async move {
            match acceptor.accept(stream).await {
                Ok(stream) => Some(stream),
                Err(error) => {
                    tracing::warn!(%address, code = error.code(), %error, "no attested session");
                    None
                }
            }
        });
    }
}

fn is_of_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// A panic in one handshake is that connection's end and no other's.
fn finished(result: Result<Option<AttestedStream>, JoinError>) -> Option<AttestedStream> {
    result.unwrap_or_else(|error| {
        tracing::error!(%error, "a handshake ended abnormally");
        None
    })
}

impl<L: Listener> Stream for Incoming<L> {
    type Item = io::Result<AttestedStream>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            // Finished ones first: they make room for those that wait.
            while let Poll::Ready(Some(result)) = this.handshakes.poll_join_next(cx) {
                if let Some(stream) = finished(result) {
                    return Poll::Ready(Some(Ok(stream)));
                }
            }
            let before = this.handshakes.len();
            this.poll_connections(cx);
            if this.handshakes.len() == before {
                return Poll::Pending;
            }
            // New ones have to be polled once to know whom to wake.
        }
    }
}

#[cfg(test)]
mod tests;
