//! What the tests of several crates share, written once.
//!
//! What one crate alone needs is in the module `fixture` of its own tests
//! (CONTRIBUTING.md, "Tests").

#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, and this is a part of tests"
)]

#[cfg(feature = "any-certificate")]
pub mod any_certificate;
#[cfg(feature = "broker")]
pub mod broker;
#[cfg(feature = "evidence")]
pub mod claims;
pub mod directory;
pub mod half_plus_two;
#[cfg(feature = "kbs")]
pub mod kbs;
pub mod manifest;
#[cfg(feature = "model-server")]
pub mod model_server;
pub mod onnx;
#[cfg(feature = "owners")]
pub mod owners;
pub mod ports;
pub mod program;
#[cfg(feature = "recorded")]
pub mod recorded;
#[cfg(feature = "session")]
pub mod session;
#[cfg(feature = "evidence")]
pub mod tee;
#[cfg(feature = "version-1")]
pub mod version_1;
