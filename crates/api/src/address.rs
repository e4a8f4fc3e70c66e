//! Addresses as flags give them.

/// An address of a server, or one to listen on: `HOST:PORT`. The error says what is
/// expected.
pub fn parse_address(text: &str) -> Result<String, String> {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).map(|(_, port)| port);
    match port.map(str::parse::<u16>) {
        Some(Ok(_)) => Ok(text.to_owned()),
        _ => Err("expected HOST:PORT with a port from 0 to 65535, such as localhost:50051".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for right in ["localhost:50051", "0.0.0.0:0", "[::1]:1", "broker.example:65535"] {
            assert_eq!(parse_address(right).as_deref(), Ok(right));
        }
        for wrong in ["", "localhost", ":50051", "localhost:", "localhost:65536", "localhost:http"] {
            assert!(parse_address(wrong).unwrap_err().contains("expected HOST:PORT"), "{wrong}");
        }
    }
}
