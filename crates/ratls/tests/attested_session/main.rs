//! Attested sessions, and attacks on them. Each attack's comment names the
//! defence that it tests: with that defence removed, the test fails.

#![allow(missing_docs, unreachable_pub)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "these are tests")]

mod accepting;
mod binding;
mod broken_connections;
mod certificates;
mod fixture;
mod hostile_clients;
mod hostile_servers;
mod identity;
mod raw;
mod relay;
mod sessions;
mod stapled;
mod transport;
