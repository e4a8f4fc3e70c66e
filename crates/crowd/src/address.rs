//! The address by which a peer is counted before anything else is known about it.

use std::net::{IpAddr, Ipv6Addr};

/// An address for which connections are counted. Many peers may share one: behind a
/// translation of addresses, such as a NodePort, a whole cluster does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Address {
    /// One IPv4 address, in network order.
    V4([u8; 4]),
    /// The first 64 bits of an IPv6 address, in network order: its network. One peer can have
    /// all addresses within it.
    V6([u8; 8]),
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => Self::V6(network(address)),
        }
    }
}

fn network(address: Ipv6Addr) -> [u8; 8] {
    let [a, b, c, d, e, f, g, h, ..] = address.octets();
    [a, b, c, d, e, f, g, h]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn one_network_of_ipv6_is_one_peer() {
        assert_eq!(address("2001:db8:0:1::1"), address("2001:db8:0:1:ffff::9"));
        assert_ne!(address("2001:db8:0:1::1"), address("2001:db8:0:2::1"));
        // The same IPv4 address, written as IPv6.
        assert_eq!(address("::ffff:10.0.0.2"), address("10.0.0.2"));
        assert_ne!(address("10.0.0.1"), address("10.0.0.2"));
    }
}
