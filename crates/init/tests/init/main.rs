//! `adytum-init` as a process: what it refuses, what it starts, how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod aecs;
mod azure;
mod azure_tokens;
mod bundles;
mod clock;
mod confinement;
mod delivery;
mod fixture;
mod flow;
mod gramine;
mod impostors;
mod kbs;
mod logs;
mod nginx;
mod refusals;
mod renewal;
mod sealed_secrets;
mod supervision;
