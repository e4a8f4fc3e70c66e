//! Attested session v1 (docs/protocol.md): TLS 1.3 connections on which
//! both ends have proved what they are before the first byte of HTTP/2.
//!
//! A [`connector::AttestedConnector`] and an [`acceptor::AttestedAcceptor`] hand
//! tonic streams that are already attested, so every reconnect attests again.

#![forbid(unsafe_code)]

pub mod acceptor;
pub mod configuration;
pub mod connector;
pub mod error;
pub mod gate;
pub mod handshake;
pub mod judge;
pub mod limits;
pub mod protocol;
pub mod session;
mod stream;
mod tls;

pub use stream::AttestedStream;
