//! Attested session v1 (DESIGN; docs/protocol.md): TLS 1.3 connections on which
//! both ends have proved what they are before the first byte of HTTP/2.
//!
//! A [`connector::AttestedConnector`] and an [`acceptor::AttestedAcceptor`] hand
//! tonic streams that are already attested, so every reconnect attests again.

#![forbid(unsafe_code)]

pub mod acceptor;
pub mod claims;
pub mod connector;
pub mod error;
pub mod handshake;
pub mod heads;
pub mod limits;
pub mod session;
mod stream;
mod tls;

pub use stream::AttestedStream;

/// ALPN protocol name of attested session v1.
pub const ALPN: &[u8] = b"adytum-ra/1";
