//! A deployment on which the real binaries run: one simulated platform, brokers,
//! replicas, all on loopback with ports that the system picks, all ended with
//! the deployment. The end-to-end tests, the demo and the benchmarks use it.

#![forbid(unsafe_code)]

pub mod build;
pub mod deployment;
#[cfg(feature = "leaks")]
pub mod leaks;
pub mod owner;
pub mod process;
