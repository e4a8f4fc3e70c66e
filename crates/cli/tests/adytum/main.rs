//! The real binary `adytum`: what it does to files, what it asks of a broker on a
//! simulated platform and of a model server, and what it says when the input is wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

#[cfg(feature = "simulation")]
mod audit;
mod azure_policy;
#[cfg(feature = "simulation")]
mod broken_sessions;
mod cluster;
mod command_line;
#[cfg(feature = "simulation")]
mod contexts;
mod explain;
mod fixture;
mod json;
mod keys_and_models;
#[cfg(feature = "simulation")]
mod made_secrets;
#[cfg(feature = "simulation")]
mod manifest_tools;
#[cfg(feature = "simulation")]
mod manifests;
mod model;
mod predict;
#[cfg(feature = "simulation")]
mod provisioning;
#[cfg(feature = "simulation")]
mod rollback;
#[cfg(feature = "simulation")]
mod verification;
#[cfg(feature = "simulation")]
mod verify;
