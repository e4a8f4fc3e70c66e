//! The addresses that the broker listens on.

use std::io;

use tokio::net::TcpListener;

/// Listens on this address, which this argument gave.
pub(crate) async fn listen(address: &str, argument: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!(
            "can't listen on {address} ({argument}): {error}; choose another address: {}",
            cause(error.kind())
        )
    })
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
    use super::*;

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
