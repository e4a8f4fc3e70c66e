//! A client of KubeTEE's Enclave Configuration Service (AECS).
//!
//! The protocol is AECS's own (`proto/aecs.proto` there, and the library "ual" for
//! reports): one gRPC call, [`TaRemoteCall`](adytum_api::kubetee), whose arguments are JSON.
//! Both sides show a report, which is a quote with its collateral, and sign the JSON with the
//! RSA key that the report names. The secret comes in an envelope to the client's key.
//!
//! The original client checks neither the server's report nor a nonce, so everybody on the
//! way could be the server. This one
//! 1. verifies the server's report and holds it against a policy ([`Server`]),
//! 2. checks that the report names the server's key, and that key's signature,
//! 3. asks with 32 random bytes, and takes no answer without them,
//! 4. opens the envelope, and checks the hash and the signature of its content,
//! 5. checks that the content is the secret that was asked for.
//!
//! Each is done before the next.

mod answer;
mod client;
mod collateral;
mod envelope;
mod error;
mod messages;
mod name;
mod passport;
mod server;

pub use self::{
    answer::{Answer, read_answer},
    client::{AecsClient, DEADLINE},
    error::AecsError,
    name::{AecsName, Encoding, NameError},
    server::{Server, ServerPolicy, ServerReport},
};
