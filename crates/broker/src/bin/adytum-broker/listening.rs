//! The addresses that the broker listens on.

use std::io;

use tokio::net::TcpListener;

/// Listens on this address, which this argument gave.
pub(crate) async fn listen(address: &str, argument: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        anyhow::anyhow!("can't listen on {address} ({argument}): {error}; {}", what_to_do(error.kind()))
    })
}

fn what_to_do(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::AddrInUse => "end the program that has this port, or choose another port",
        io::ErrorKind::AddrNotAvailable => "choose an address of this machine, or 0.0.0.0 for all of them",
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "check the name of the host",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_taken_and_an_address_of_another_machine_differ() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = listen(&taken.local_addr().unwrap().to_string(), "LISTEN").await.unwrap_err().to_string();
        assert!(error.contains("end the program that has this port"), "{error}");
        // Documentation addresses are no machine's (RFC 5737).
        let error = listen("192.0.2.1:0", "LISTEN").await.unwrap_err().to_string();
        assert!(error.contains("choose an address of this machine"), "{error}");
    }
}
