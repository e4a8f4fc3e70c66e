//! A session that counts against limits while it is open.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use adytum_ratls::{acceptor::AttestedStream, session::SessionInfo};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::peers::PeerPlace;
use crate::telemetry::metrics::GaugeGuard;

/// An accepted session. Each has its end, because its peer was judged only
/// when it was opened.
pub(super) struct Session {
    stream: AttestedStream,
    end: Pin<Box<Sleep>>,
    _unattested: Option<Unattested>,
    _permit: OwnedSemaphorePermit,
    _counted: GaugeGuard,
}

/// What a session without evidence holds besides. Anybody can open one.
pub(super) struct Unattested {
    _place: PeerPlace,
    _permit: OwnedSemaphorePermit,
    _counted: GaugeGuard,
}

impl Unattested {
    pub(super) fn new(place: PeerPlace, permit: OwnedSemaphorePermit, counted: GaugeGuard) -> Self {
        Self { _place: place, _permit: permit, _counted: counted }
    }
}

impl Session {
    pub(super) fn new(
        stream: AttestedStream,
        lifetime: Duration,
        unattested: Option<Unattested>,
        permit: OwnedSemaphorePermit,
        counted: GaugeGuard,
    ) -> Self {
        Self {
            stream,
            end: Box::pin(sleep(lifetime)),
            _unattested: unattested,
            _permit: permit,
            _counted: counted,
        }
    }
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
        if self.end.as_mut().poll(cx).is_ready() {
            // As if the peer had said that it is done.
            return Poll::Ready(Ok(()));
        }
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
