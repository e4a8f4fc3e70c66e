//! The sockets that the flags ask for.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener},
    path::Path,
};

use super::ServeError;
use crate::{
    server::{Listener, Protocols},
    tls::TlsSwitch,
};

/// Ports that are open, before anything is served on them: so that a wrong one is known at once.
pub(super) struct Opened {
    grpc: TcpListener,
    rest: Option<TcpListener>,
    /// One port for both.
    shared: bool,
    unix: Option<Listener>,
}

/// Listens at this address; without one for IPv6 and IPv4, or for IPv4 alone where there is no IPv6.
fn bind(address: Option<IpAddr>, port: u16) -> io::Result<TcpListener> {
    if let Some(address) = address {
        return TcpListener::bind((address, port));
    }
    match TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)) {
        Err(error) if !matches!(error.kind(), io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port))
        }
        bound => bound,
    }
}

impl Opened {
    /// Opens the port of gRPC, the one of the REST API (0: none; the same: both on one port) and
    /// the Unix socket of gRPC.
    pub(super) fn open(
        address: Option<IpAddr>,
        port: u16,
        rest_port: u16,
        unix: Option<&Path>,
    ) -> Result<Self, ServeError> {
        let shared = rest_port != 0 && rest_port == port;
        let bind = |port| bind(address, port).map_err(|source| ServeError::Listen { port, source });
        let unix = unix.map(|path| {
            Listener::unix(path, Protocols::Grpc)
                .map_err(|source| ServeError::ListenUnix { path: path.to_owned(), source })
        });
        Ok(Self {
            grpc: bind(port)?,
            rest: if rest_port == 0 || shared { None } else { Some(bind(rest_port)?) },
            shared,
            unix: unix.transpose()?,
        })
    }

    /// The listeners on them: gRPC first, then the REST API.
    pub(super) fn listeners(self, tls: Option<&TlsSwitch>) -> Vec<Listener> {
        let protocols = if self.shared { Protocols::Both } else { Protocols::Grpc };
        let mut listeners = vec![Listener::tcp(self.grpc, protocols, tls.cloned())];
        listeners.extend(self.rest.map(|rest| Listener::tcp(rest, Protocols::Rest, tls.cloned())));
        listeners.extend(self.unix);
        listeners
    }
}
