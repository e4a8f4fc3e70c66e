//! A stage on which the real binaries run: one simulated platform, brokers,
//! replicas, all on loopback with ports that the system picks, all ended with
//! the stage. The end-to-end tests, the demo and the benchmarks play on it.

#![forbid(unsafe_code)]

pub mod build;
#[cfg(feature = "leaks")]
pub mod leaks;
pub mod owner;
pub mod process;
pub mod stage;
