//! The key broker: it gives secrets to programs that have proved what they are,
//! as owners have laid down, and to nobody else. What owners sign and what is decided by it
//! is in `adytum-governance`; this is the server that keeps and gives.
//!
//! - [`broker`] is one broker: its state, and its verbs (release, administration,
//!   confirmation, recovery, handover).
//! - [`store`] is where its state is kept, [`audit`] its log.
//! - [`certificate_authority`] issues certificates for keys made in replicas.
//! - [`start`] is how a broker gets its root key, and what it is without one.
//! - [`server`] serves it, within limits; [`kbs`] for clients of Confidential Containers,
//!   [`occlum`] for those with Occlum's own init.
//! - [`telemetry`] is what the operator sees of it.
//! - [`clock`] says what time it is at least.

#![forbid(unsafe_code)]

pub mod audit;
pub mod broker;
pub mod certificate_authority;
pub mod clock;
#[cfg(test)]
mod fixture;
pub mod kbs;
pub mod occlum;
pub mod server;
pub mod start;
pub mod store;
pub mod telemetry;

pub use broker::{Broker, BrokerConfiguration};
pub use server::{RequestLimits, ServerLimits, serve};
