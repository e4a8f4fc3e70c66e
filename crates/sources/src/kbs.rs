//! A client of a Key Broker Service of Confidential Containers ("KBS", trustee), by its
//! protocol, version 0.4.0.
//!
//! A challenge, evidence over the nonce and a key that was made for this round, then the
//! resources, each encrypted to that key (JWE, RFC 7516). The protocol attests the client and
//! not the server. So the server is one by its certificate: it is asked over TLS only, and only
//! under roots that the caller pins. An old answer does not open, since its key is another.

mod client;
mod error;
mod jwe;
mod resource;

pub use self::{
    client::{DEADLINE, KbsClient, KbsOptions, Resources},
    error::KbsError,
    jwe::read_jwe,
    resource::{ResourceError, ResourcePath},
};
