//! The key broker: it gives secrets to programs that have proved what they are,
//! as owners have laid down, and to nobody else.
//!
//! - [`genesis`] founds a broker; [`manifest`] says what it does; [`roles`] who may
//!   change that; [`approval`] and [`command`] are how owners agree to a change.
//! - [`decide`] is the decision, [`release`] and [`administration`] act on it,
//!   [`events`] says what happened, [`audit`] keeps it.
//! - [`certificate_authority`] issues certificates for keys made in replicas.
//! - [`confirmation`] is what happens when nobody here can know which state is the
//!   newest.
//! - [`state`] is what a broker holds, [`store`] where it is kept, [`secrets`]
//!   what a value is, [`trust`] whose evidence counts, [`clock`] what time it is
//!   at least.
//! - [`root_key`] is the key to all that is kept, and how it comes back;
//!   [`succession`] is how another broker gets it. [`standby`] is a broker without
//!   it.
//! - [`broker`] puts them together; [`server`] and [`service`] serve it;
//!   [`status`] turns errors into gRPC statuses.
//! - [`health`] and [`metrics`] are for those who run it; [`trace_context`] ties its
//!   log to theirs.
//! - [`mod@reference`] reads the reference deployment's files; [`measured`] is what
//!   of all this a broker's evidence shows.

#![forbid(unsafe_code)]

pub mod administration;
pub mod approval;
pub mod audit;
pub mod broker;
pub mod certificate_authority;
pub mod clock;
pub mod command;
pub mod confirmation;
pub mod decide;
mod detached;
pub mod events;
mod executed;
#[cfg(test)]
mod fixture;
pub mod genesis;
pub mod health;
pub mod manifest;
pub mod measured;
pub mod metrics;
mod noise;
pub mod reference;
pub mod release;
pub mod roles;
pub mod root_key;
pub mod secrets;
pub mod server;
pub mod service;
pub mod standby;
pub mod state;
pub mod status;
pub mod store;
pub mod succession;
pub mod trace_context;
pub mod trust;

pub use broker::{Broker, BrokerConfiguration};
pub use server::{PeerLimits, QuoteLimits, RequestLimits, ServerLimits, serve};
