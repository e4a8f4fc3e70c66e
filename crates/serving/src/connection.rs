//! A client's connection, with or without TLS.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use adytum_ratls::protocol::ALPN;
use rustls::pki_types::CertificateDer;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    time::Sleep,
};
use tokio_rustls::server::TlsStream;
use tonic::transport::server::Connected;

/// Counts a thread's connections, and holds the place of one among all.
pub struct Place {
    count: Arc<AtomicUsize>,
    among_all: Arc<adytum_crowd::places::Place>,
}

impl Place {
    pub(crate) fn new(count: Arc<AtomicUsize>, among_all: Arc<adytum_crowd::places::Place>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self { count, among_all }
    }

    /// The place that the connection may have to give to another.
    pub(crate) fn among_all(&self) -> &Arc<adytum_crowd::places::Place> {
        &self.among_all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

enum Stream {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that was displaced has this long for what it began: what it
/// holds is not counted any more.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// How long a connection that is closed waits for the other end to close too.
const LINGER: Duration = Duration::from_secs(1);

/// An accepted connection.
///
/// Closing lingers: what the client still sends is read and dropped until it
/// closes its end. A socket closed with unread data resets the connection, and
/// the client may then lose the answers and the GOAWAY that were sent before.
pub struct Connection {
    stream: Stream,
    is_http2: bool,
    linger: Option<Pin<Box<Sleep>>>,
    /// Set once it was displaced.
    cut: Option<Pin<Box<Sleep>>>,
    place: Place,
    /// Tells by being dropped that the connection is gone.
    _end: Option<oneshot::Sender<()>>,
}

impl Connection {
    fn new(stream: Stream, is_http2: bool, place: Place) -> Self {
        Self { stream, is_http2, linger: None, cut: None, place, _end: None }
    }

    pub(crate) fn plain(stream: TcpStream, is_http2: bool, place: Place) -> Self {
        Self::new(Stream::Plain(stream), is_http2, place)
    }

    pub(crate) fn unix(stream: UnixStream, place: Place) -> Self {
        Self::new(Stream::Unix(stream), false, place)
    }

    pub(crate) fn tls(stream: TlsStream<TcpStream>, place: Place) -> Self {
        let protocol = stream.get_ref().1.alpn_protocol();
        let is_http2 = protocol == Some(b"h2") || protocol == Some(ALPN);
        Self::new(Stream::Tls(Box::new(stream)), is_http2, place)
    }

    /// Whether HTTP/2 is spoken on it, for certain.
    pub(crate) fn is_http2(&self) -> bool {
        self.is_http2
    }

    /// The connection, and a future that ends when it is gone.
    pub(crate) fn with_end(mut self) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (end, ended) = oneshot::channel();
        self._end = Some(end);
        // Nothing is ever sent.
        (self, async { drop(ended.await) })
    }

    /// Ready once it was displaced and had its time.
    fn poll_cut(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.cut.is_none() {
            ready!(self.place.among_all.poll_displaced(context));
        }
        self.cut.get_or_insert_with(|| Box::pin(tokio::time::sleep(LAST_ANSWERS))).as_mut().poll(context)
    }

    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let linger = self.linger.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        if linger.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        loop {
            let mut dropped = [MaybeUninit::uninit(); 4096];
            let mut buffer = ReadBuf::uninit(&mut dropped);
            let read = match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Stream::Unix(stream) => Pin::new(stream).poll_read(context, &mut buffer),
                Stream::Tls(stream) => Pin::new(stream.get_mut().0).poll_read(context, &mut buffer),
            };
            match ready!(read) {
                Ok(()) if !buffer.filled().is_empty() => {}
                _ => return Poll::Ready(()),
            }
        }
    }
}

/// The other end of a connection. Each of its requests carries it.
#[derive(Clone, Debug, Default)]
pub struct Peer {
    certificate: Option<CertificateDer<'static>>,
}

impl Peer {
    /// The certificate that it has shown and proved to own, in DER.
    pub fn certificate(&self) -> Option<&[u8]> {
        self.certificate.as_deref()
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Self::ConnectInfo {
        let Stream::Tls(stream) = &self.stream else { return Peer::default() };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        Peer { certificate: certificates.first().map(|certificate| certificate.clone().into_owned()) }
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.poll_cut(context).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(context, slices),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match &self.stream {
            Stream::Plain(stream) => stream.is_write_vectored(),
            Stream::Unix(stream) => stream.is_write_vectored(),
            Stream::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.stream {
            Stream::Plain(stream) => Pin::new(stream).poll_flush(context),
            Stream::Unix(stream) => Pin::new(stream).poll_flush(context),
            Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(match &mut self.stream {
                Stream::Plain(stream) => Pin::new(stream).poll_shutdown(context),
                Stream::Unix(stream) => Pin::new(stream).poll_shutdown(context),
                Stream::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(context),
            })?;
        }
        self.poll_linger(context).map(Ok)
    }
}
