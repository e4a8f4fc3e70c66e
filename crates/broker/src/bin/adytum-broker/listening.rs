//! The addresses that the broker listens on.

use std::{io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, lookup_host};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A port that is this process's, and at which nobody is listened to yet: peers are refused at
/// once instead of waiting.
pub(crate) struct ReservedPort(TcpSocket);

impl ReservedPort {
    /// Takes the port of this address, which this argument gave.
    pub(crate) async fn take(address: &str, argument: &str) -> anyhow::Result<Self> {
        Self::bind(address).await.map_err(|error| failed(address, argument, &error))
    }

    async fn bind(address: &str) -> io::Result<Self> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in lookup_host(address).await? {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            // As `TcpListener::bind` does.
            socket.set_reuseaddr(true)?;
            match socket.bind(address) {
                Ok(()) => return Ok(Self(socket)),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Listens from now on.
    pub(crate) fn listen(self) -> io::Result<TcpListener> {
        self.0.listen(BACKLOG)
    }
}

/// Listens on this address, which this argument gave.
pub(crate) async fn listen(address: &str, argument: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| failed(address, argument, &error))
}

fn failed(address: &str, argument: &str, error: &io::Error) -> anyhow::Error {
    anyhow::anyhow!(
        "can't listen on {address} ({argument}): {error}; choose another address: {}",
        cause(error.kind())
    )
}

fn cause(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "another program has this port",
        io::ErrorKind::AddrNotAvailable => "it is not one of this machine",
        io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege",
        _ => "the name of the host has no address",
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_reserved_port_refuses_until_somebody_listens() {
        let port = ReservedPort::take("127.0.0.1:0", "--kbs-listen").await.unwrap();
        let address = port.0.local_addr().unwrap();
        let refused = TcpStream::connect(address).await.unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        let _listener = port.listen().unwrap();
        TcpStream::connect(address).await.unwrap();
        let taken = ReservedPort::take(&address.to_string(), "--kbs-listen").await.err().unwrap().to_string();
        assert!(
            taken.contains("(--kbs-listen)") && taken.contains("another program has this port"),
            "{taken}"
        );
    }

    #[tokio::test]
    async fn a_port_that_is_taken_and_an_address_of_another_machine_differ() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = listen(&taken.local_addr().unwrap().to_string(), "LISTEN").await.unwrap_err().to_string();
        assert!(error.contains("another program has this port"), "{error}");
        // Documentation addresses are no machine's (RFC 5737).
        let error = listen("192.0.2.1:0", "LISTEN").await.unwrap_err().to_string();
        assert!(error.contains("it is not one of this machine"), "{error}");
    }
}
