//! The wire interfaces of Adytum: the code generated from the `.proto` files
//! in `proto/`, and the validated types of their fields.
//!
//! Generated messages carry raw bytes and strings. Whoever receives one parses
//! its fields into the types of [`names`] (and those of the crate that owns the
//! subject) before acting on them.

#![forbid(unsafe_code)]

pub mod canonical;
mod debug;
pub mod names;
pub mod refusal;

/// Attested session v1: messages before the first byte of HTTP/2.
pub mod session {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("adytum.session.v1");
}

/// The key broker's services.
pub mod broker {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("adytum.broker.v1");
}

/// TensorFlow's messages, as far as serving numeric tensors needs them.
pub mod tensorflow {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    tonic::include_proto!("tensorflow");

    /// TensorFlow Serving's services.
    pub mod serving {
        tonic::include_proto!("tensorflow.serving");
    }
}
