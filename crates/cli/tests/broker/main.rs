//! The real binary against a broker on a simulated platform.

#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[path = "../hosted/mod.rs"]
mod hosted;
mod manifests;
mod provisioning;
mod stage;
mod verification;
