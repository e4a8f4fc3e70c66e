//! Ports for programs that must be given one.

use std::{
    net::{Ipv4Addr, TcpListener},
    sync::atomic::{AtomicU32, Ordering},
};

/// Below the ports that systems choose themselves (Linux: from 32768), and below Kubernetes' own:
/// nobody gets one of these by chance before the program listens.
const FIRST: u32 = 10_000;
const COUNT: u32 = 20_000;

/// A port on which nothing listens. Each call in a process gives another one. Processes begin 61
/// ports apart, so those that run at once seldom meet.
///
/// # Panics
///
/// If no port is free.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let start = std::process::id().wrapping_mul(61);
    for _ in 0..COUNT {
        let number = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
        if let Ok(port) = u16::try_from(FIRST + number)
            && TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
        {
            return port;
        }
    }
    panic!("no port from {FIRST} to {} is free", FIRST + COUNT)
}
