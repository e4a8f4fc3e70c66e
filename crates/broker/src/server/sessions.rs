//! Accepts sessions, each attested under the trust in force when its connection
//! was accepted.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use adytum_evidence::verifier::Verifier;
use adytum_ratls::{
    acceptor::{AcceptorConfiguration, AttestedAcceptor, AttestedStream},
    claims::AnyEvidence,
    error::SessionError,
    session::{LocalAttestation, SessionInfo},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch},
    task::JoinSet,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::Connected;

use super::ServerLimits;

/// How long no connection is accepted after accepting one failed, as it does
/// when the process has no file descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Whose sessions they are.
pub(super) struct Host {
    /// Verifies peers' evidence; another follows when the trust changes.
    pub(super) verifier: watch::Receiver<Arc<Verifier>>,
    /// What is shown to them.
    pub(super) local: LocalAttestation,
    /// Counts those who were turned away, by code.
    pub(super) count: Arc<dyn Fn(&str) + Send + Sync>,
}

/// Accepts sessions until the stream is dropped.
pub(super) fn sessions(
    listener: TcpListener,
    host: Host,
    limits: ServerLimits,
) -> ReceiverStream<io::Result<Session>> {
    let (sender, receiver) = mpsc::channel(64);
    let admission = Arc::new(Semaphore::new(limits.maximum_sessions));
    let mut accepting = Accepting { host, limits, admission, acceptor: None };
    tokio::spawn(async move {
        let mut handshakes: JoinSet<Option<Session>> = JoinSet::new();
        loop {
            tokio::select! {
                () = sender.closed() => return,
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => accepting.start(stream, &mut handshakes),
                    Err(error) => {
                        tracing::warn!(%error, "accepting a connection failed");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
                Some(done) = handshakes.join_next() => {
                    // A handshake that panicked has touched no other.
                    if let Ok(Some(session)) = done
                        && sender.send(Ok(session)).await.is_err()
                    {
                        return;
                    }
                }
            }
        }
    });
    ReceiverStream::new(receiver)
}

struct Accepting {
    host: Host,
    limits: ServerLimits,
    admission: Arc<Semaphore>,
    acceptor: Option<AttestedAcceptor>,
}

impl Accepting {
    fn start(&mut self, stream: TcpStream, handshakes: &mut JoinSet<Option<Session>>) {
        let maximum = self.limits.handshakes.maximum_handshakes;
        if handshakes.len() >= maximum {
            tracing::warn!(maximum, code = "overloaded", "too many handshakes: connection closed");
            (self.host.count)("overloaded");
            return;
        }
        let Ok(permit) = Arc::clone(&self.admission).try_acquire_owned() else {
            let maximum = self.limits.maximum_sessions;
            tracing::warn!(maximum, code = "overloaded", "too many sessions: connection closed");
            (self.host.count)("overloaded");
            return;
        };
        let acceptor = self.acceptor();
        let count = Arc::clone(&self.host.count);
        handshakes.spawn(async move {
            let address = stream.peer_addr().ok();
            match acceptor.accept(stream).await {
                Ok(stream) => Some(Session { stream, _permit: permit }),
                Err(error) => {
                    tracing::warn!(peer = ?address, code = error.code(), %error, "no attested session");
                    // A peer's own words are not for the log.
                    count(match &error {
                        SessionError::RefusedByPeer { .. } => "refused-by-peer",
                        error => error.code(),
                    });
                    None
                }
            }
        });
    }

    /// The acceptor under the trust in force: an acceptor's verifier is fixed,
    /// so another follows when a manifest changes whom the broker trusts.
    fn acceptor(&mut self) -> AttestedAcceptor {
        let changed = self.host.verifier.has_changed().unwrap_or(false);
        match &self.acceptor {
            Some(acceptor) if !changed => acceptor.clone(),
            _ => {
                let acceptor = AttestedAcceptor::new(AcceptorConfiguration {
                    verifier: self.host.verifier.borrow_and_update().clone(),
                    judge: Arc::new(AnyEvidence),
                    local: self.host.local.clone(),
                    limits: self.limits.handshakes,
                });
                self.acceptor.insert(acceptor).clone()
            }
        }
    }
}

/// A session that counts against the limit while it is open.
pub(super) struct Session {
    stream: AttestedStream,
    _permit: OwnedSemaphorePermit,
}

impl Connected for Session {
    type ConnectInfo = SessionInfo;

    fn connect_info(&self) -> SessionInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Session {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
