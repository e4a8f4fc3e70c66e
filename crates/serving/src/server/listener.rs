//! The sockets that a server listens on.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    os::unix::{
        fs::FileTypeExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

use crate::tls::{Alpn, TlsSwitch};

/// Where the peers of a Unix socket are: they share the places of one address.
const THIS_MACHINE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The protocols of a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocols {
    /// gRPC, on HTTP/2.
    Grpc,
    /// The REST API, on HTTP/1.1 and HTTP/2.
    Rest,
    /// Both: a request with gRPC's content type is gRPC.
    Both,
}

impl Protocols {
    pub(super) fn alpn(self) -> Alpn {
        match self {
            Self::Grpc => Alpn::Http2,
            Self::Rest | Self::Both => Alpn::Any,
        }
    }
}

/// A socket, its protocols, and its TLS.
pub struct Listener {
    pub(super) socket: Socket,
    pub(super) protocols: Protocols,
    pub(super) tls: Option<TlsSwitch>,
}

impl Listener {
    /// Listens on a TCP port.
    pub fn tcp(socket: TcpListener, protocols: Protocols, tls: Option<TlsSwitch>) -> Self {
        Self { socket: Socket::Tcp(socket), protocols, tls }
    }

    /// Listens on a Unix socket, without TLS. A socket that is left at the path by a server that
    /// has ended is removed.
    pub fn unix(path: &Path, protocols: Protocols) -> io::Result<Self> {
        let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
        if is_socket && UnixStream::connect(path).is_err() {
            std::fs::remove_file(path)?;
        }
        Ok(Self { socket: Socket::Unix(UnixListener::bind(path)?), protocols, tls: None })
    }
}

/// A listening socket.
pub(super) enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.set_nonblocking(true),
            Self::Unix(socket) => socket.set_nonblocking(true),
        }
    }

    /// The address, if it has one.
    pub(super) fn address(&self) -> io::Result<Option<SocketAddr>> {
        match self {
            Self::Tcp(socket) => socket.local_addr().map(Some),
            Self::Unix(_) => Ok(None),
        }
    }

    pub(super) fn into_async(self) -> io::Result<AsyncSocket> {
        Ok(match self {
            Self::Tcp(socket) => AsyncSocket::Tcp(tokio::net::TcpListener::from_std(socket)?),
            Self::Unix(socket) => AsyncSocket::Unix(tokio::net::UnixListener::from_std(socket)?),
        })
    }

    /// A connection that waits, if there is one, and the address that it comes from.
    pub(super) fn accept(&self) -> io::Result<(Accepted, IpAddr)> {
        match self {
            Self::Tcp(socket) => {
                socket.accept().map(|(stream, address)| (Accepted::Tcp(stream), address.ip()))
            }
            Self::Unix(socket) => socket.accept().map(|(stream, _)| (Accepted::Unix(stream), THIS_MACHINE)),
        }
    }
}

/// A listening socket of a runtime.
pub(super) enum AsyncSocket {
    Tcp(tokio::net::TcpListener),
    Unix(tokio::net::UnixListener),
}

impl AsyncSocket {
    /// The next connection, and the address that it comes from.
    pub(super) async fn accept(&self) -> io::Result<(Accepted, IpAddr)> {
        match self {
            Self::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                Ok((Accepted::Tcp(stream.into_std()?), address.ip()))
            }
            Self::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok((Accepted::Unix(stream.into_std()?), THIS_MACHINE))
            }
        }
    }

    pub(super) fn into_std(self) -> io::Result<Socket> {
        Ok(match self {
            Self::Tcp(socket) => Socket::Tcp(socket.into_std()?),
            Self::Unix(socket) => Socket::Unix(socket.into_std()?),
        })
    }
}

/// A connection, on its way to its thread.
pub(super) enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(UnixStream),
}

impl Accepted {
    /// Makes the connection one that waits for nothing.
    pub(super) fn prepare(&self) -> io::Result<()> {
        match self {
            // Answers are written whole: waiting for more to send only delays them.
            Self::Tcp(stream) => stream.set_nodelay(true).and_then(|()| stream.set_nonblocking(true)),
            Self::Unix(stream) => stream.set_nonblocking(true),
        }
    }
}
