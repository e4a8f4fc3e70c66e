//! Ports of this machine for the replicas: those of the last run, or new ones.

use std::{
    fs,
    net::{IpAddr, TcpListener},
    path::Path,
};

use anyhow::Context as _;

use crate::owner_directory::replace;

/// The ports of a replica: one for gRPC and REST, one for probes and metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ports {
    pub(super) service: u16,
    pub(super) health: u16,
}

/// Ports for a number of replicas. From `first` on, if somebody asked for it: one that is taken is an
/// error. Otherwise those in `file`, where they are free; the file is written for the next run.
pub(super) fn choose(
    address: IpAddr,
    first: Option<u16>,
    replicas: u16,
    file: &Path,
) -> anyhow::Result<Vec<Ports>> {
    let known: Vec<u16> = fs::read_to_string(file)
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|port| port.parse().ok())
        .filter(|port| *port > 0)
        .collect();
    // All are held until all are chosen.
    let mut held = Vec::new();
    let mut ports = Vec::new();
    for index in 0..replicas {
        let service = match first {
            Some(first) => asked(address, first, index)?,
            None => {
                let known = known.get(usize::from(index)).and_then(|port| listen(address, *port));
                known.map_or_else(|| any(address), Ok)?
            }
        };
        let health = any(address)?;
        ports.push(Ports { service: port(&service)?, health: port(&health)? });
        held.extend([service, health]);
    }
    if first.is_none() {
        let text: String = ports.iter().map(|ports| format!("{}\n", ports.service)).collect();
        replace(file, text.as_bytes(), 0o644)?;
    }
    Ok(ports)
}

fn listen(address: IpAddr, port: u16) -> Option<TcpListener> {
    TcpListener::bind((address, port)).ok()
}

fn any(address: IpAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind((address, 0)).with_context(|| {
        format!("no port of {address} can be opened; give --listen an address of this machine")
    })
}

fn asked(address: IpAddr, first: u16, index: u16) -> anyhow::Result<TcpListener> {
    let Some(port) = first.checked_add(index) else {
        bail_input!(
            "there is no port {} for the replica {}; give a lower --port",
            u32::from(first) + u32::from(index),
            index + 1
        );
    };
    TcpListener::bind((address, port)).with_context(|| {
        format!("port {port} can't be used; leave --port out to have a free one chosen, or give another")
    })
}

fn port(listener: &TcpListener) -> anyhow::Result<u16> {
    Ok(listener.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn the_next_run_has_the_same_ports_unless_they_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ports");
        let first = choose(HERE, None, 2, &file).unwrap();
        assert_ne!(first[0].service, first[1].service);
        let again = choose(HERE, None, 2, &file).unwrap();
        assert_eq!(again[1].service, first[1].service);
        let taken = listen(HERE, first[0].service).unwrap();
        let other = choose(HERE, None, 2, &file).unwrap();
        assert_ne!(other[0].service, first[0].service);
        let error = choose(HERE, Some(first[0].service), 1, &file).unwrap_err();
        assert!(error.to_string().contains("leave --port out"), "{error}");
        drop(taken);
        assert!(choose(HERE, Some(65535), 2, &file).is_err());
        fs::write(&file, "nonsense -1 99999999 0").unwrap();
        choose(HERE, None, 1, &file).unwrap();
    }
}
