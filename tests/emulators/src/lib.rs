//! Servers of protocols that others defined, for tests.
//!
//! No real service can be reached by a test, so each counterpart of
//! `adytum-sources` is written here a second time, from the public description of its
//! bytes and from nothing of the client's. Every server can lie, in one way at a time.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "only tests use it, and a test may fail"
)]

pub mod aecs;
pub mod azure;
pub mod kbs;
mod key_wrap;
pub mod relay;
mod rsa;
pub mod tls_proxy;
mod tls_server;
