//! A stream on which both handshakes are done.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::TlsStream;
use tonic::transport::server::Connected;

use crate::session::SessionInfo;

/// A stream on which both handshakes, TLS and attestation, are done. Only
/// [`crate::acceptor`] and [`crate::connector`] make one.
pub struct AttestedStream<S = TcpStream> {
    stream: TlsStream<S>,
    info: SessionInfo,
}

impl<S> AttestedStream<S> {
    pub(crate) fn new(stream: impl Into<TlsStream<S>>, info: SessionInfo) -> Self {
        Self { stream: stream.into(), info }
    }

    /// The peer at the other end.
    pub fn info(&self) -> &SessionInfo {
        &self.info
    }

    /// The TLS session and its peer, for who serves streams of several kinds.
    pub fn into_parts(self) -> (TlsStream<S>, SessionInfo) {
        (self.stream, self.info)
    }

    /// The TLS session, to see what was negotiated.
    pub fn tls(&self) -> &TlsStream<S> {
        &self.stream
    }
}

impl<S> Connected for AttestedStream<S> {
    type ConnectInfo = SessionInfo;

    fn connect_info(&self) -> SessionInfo {
        self.info.clone()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for AttestedStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for AttestedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, buffers)
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
