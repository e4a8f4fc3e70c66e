//! An open connection of a peer whose evidence is verified.

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use adytum_crowd::places::Place;
use adytum_evidence::claims::Claims;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// The peer of a connection. tonic hands it to the service.
#[derive(Clone)]
pub(super) struct OcclumPeer {
    pub(super) address: SocketAddr,
    /// What its evidence says; the key in it signed the handshake.
    pub(super) claims: Arc<Claims>,
}

/// A connection and its place.
pub(super) struct OcclumSession {
    pub(super) stream: TlsStream<TcpStream>,
    pub(super) peer: OcclumPeer,
    pub(super) place: Place,
}

impl Connected for OcclumSession {
    type ConnectInfo = OcclumPeer;

    fn connect_info(&self) -> OcclumPeer {
        self.peer.clone()
    }
}

impl AsyncRead for OcclumSession {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // As if the peer had said that it is done.
        if self.place.poll_displaced(context).is_ready() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for OcclumSession {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
