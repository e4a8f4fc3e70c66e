//! A listener for the protocol of Occlum's own init: gRPC `ratls.GrSecret` over TLS, where
//! both certificates carry a quote (RA-TLS). So an unmodified image of Occlum fetches its secrets from
//! this broker. Off unless a flag asks for it.
//!
//! A quote in a certificate is bound to the certificate's key and to nothing else: to no nonce
//! and no connection. An attacker who took a key out of an enclave once can use its certificate from
//! then on. So only secrets whose entry in the manifest says `occlum = true` go out here, and the audit
//! log marks each grant as `weak-binding`.
//!
//! - `identity` is the broker's own key with its certificate, of the form in `certificate`; `tls` is the
//!   handshake.
//! - `server` accepts connections and verifies the evidence of peers, `session` is what is open.
//! - `service` answers.

mod certificate;
mod error;
mod identity;
mod server;
mod service;
mod session;
mod tls;

pub use self::{error::OcclumListenError, server::OcclumListener};
