//! Where a server is.

use std::{fmt, net::Ipv6Addr, str::FromStr};

use super::TargetError;

/// A host name or address, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ServerAddress {
    host: String,
    port: u16,
}

impl ServerAddress {
    /// The host, without the brackets of an IPv6 address.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for ServerAddress {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        let error = |problem| TargetError::Address { text: text.to_owned(), problem };
        if text.contains("://") {
            return Err(error("it has a scheme"));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| error("it has no port"))?;
        let port: u16 = port.parse().map_err(|_| error("its port is not a number up to 65535"))?;
        if port == 0 {
            return Err(error("port 0 can't be connected to"));
        }
        let host = if let Some(inner) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            inner.parse::<Ipv6Addr>().map_err(|_| error("it has no IPv6 address between its brackets"))?;
            inner
        } else {
            host
        };
        if host.is_empty() {
            return Err(error("it has no host"));
        }
        if host.contains(':') && !text.starts_with('[') {
            return Err(error("an IPv6 address is written in brackets"));
        }
        if !host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':')) {
            return Err(error("its host has characters that no host name has"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

impl fmt::Display for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_addresses_pass_and_print_as_given() {
        for (text, host, port) in [
            ("localhost:31001", "localhost", 31001),
            ("127.0.0.1:9001", "127.0.0.1", 9001),
            ("[::1]:9001", "::1", 9001),
            ("tf-demo-svc.default.svc:9001", "tf-demo-svc.default.svc", 9001),
        ] {
            let address: ServerAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port));
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn others_say_why_not() {
        for (text, words) in [
            ("localhost", "no port"),
            (":9001", "no host"),
            ("localhost:", "not a number"),
            ("localhost:66000", "not a number"),
            ("localhost:0", "port 0"),
            ("https://localhost:9001", "scheme"),
            ("::1:9001", "brackets"),
            ("[::1", "characters"),
            ("[zz]:1", "no IPv6"),
            ("a b:1", "characters"),
        ] {
            let error = text.parse::<ServerAddress>().unwrap_err();
            assert!(error.to_string().contains(words), "{text}: {error}");
            assert_eq!(error.code(), "bad-address");
        }
    }

    proptest! {
        #[test]
        fn what_parses_prints_as_something_that_parses_to_the_same(text in ".{0,40}") {
            if let Ok(address) = text.parse::<ServerAddress>() {
                prop_assert_eq!(address.to_string().parse::<ServerAddress>().unwrap(), address);
            }
        }
    }
}
