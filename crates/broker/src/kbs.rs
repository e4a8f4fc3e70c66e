//! A listener for the KBS protocol of Confidential Containers, version 0.4.0, so that its
//! clients fetch secrets from this broker. Off unless a flag asks for it.
//!
//! In this protocol the broker shows no evidence. What it gives is encrypted to a key that the
//! client's evidence is bound to, together with a nonce of the broker's, so nobody else can
//! read it. Which secret has which path, and which workloads may have it, is in the manifest and
//! nowhere else.
//!
//! - [`message`] reads requests, [`key`] the client's key in them.
//! - [`jwe`] encrypts to that key.
//! - `sessions` remembers clients whose evidence was accepted.
//! - `answers` answers requests, [`error`] says why not, `server` accepts connections.

mod answers;
pub mod error;
pub mod jwe;
pub mod key;
pub mod message;
mod server;
mod sessions;

pub use self::server::serve;

/// The version of the protocol. Clients and servers must agree on it exactly.
pub const VERSION: &str = "0.4.0";
/// The longest body of a request, in bytes: the evidence of a guest with its certificates, as
/// lists of numbers.
pub const MAXIMUM_BODY_LENGTH: usize = 192 * 1024;
