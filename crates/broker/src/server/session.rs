//! An open session. It ends when its time is up, or when its place is another's.

use std::{
    future::Future as _,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use adytum_ratls::{acceptor::AttestedStream, session::SessionInfo};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};
use tonic::transport::server::Connected;

use super::standing::Standing;

/// An accepted session. Each has its end, because its peer was judged only
/// when it was opened.
pub(super) struct Session {
    stream: AttestedStream,
    end: Pin<Box<Sleep>>,
    standing: Arc<Standing>,
    /// Dropped with the session.
    _counted: Box<dyn Send>,
    /// Called once if it is displaced.
    displaced: Option<Box<dyn FnOnce() + Send>>,
}

/// What requests know of their session.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) info: SessionInfo,
    pub(super) standing: Arc<Standing>,
}

impl Session {
    pub(super) fn new(
        stream: AttestedStream,
        lifetime: Duration,
        standing: Arc<Standing>,
        counted: Box<dyn Send>,
        displaced: Box<dyn FnOnce() + Send>,
    ) -> Self {
        let end = Box::pin(sleep(lifetime));
        Self { stream, end, standing, _counted: counted, displaced: Some(displaced) }
    }
}

impl Connected for Session {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        Caller { info: self.stream.connect_info(), standing: Arc::clone(&self.standing) }
    }
}

impl AsyncRead for Session {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Either way as if the peer had said that it is done.
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        if self.standing.poll_displaced(cx).is_ready() {
            if let Some(displaced) = self.displaced.take() {
                displaced();
            }
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
