//! The wire interfaces of Adytum: the code generated from the `.proto` files
//! in `proto/`, and the validated types of their fields.
//!
//! Generated messages carry raw bytes and strings. The receiver parses
//! its fields into the types of [`names`] (and those of the crate that owns the
//! subject) before acting on them.
//!
//! The feature `services` has the services' clients and servers; without it, this is
//! messages only.

#![forbid(unsafe_code)]

pub mod address;
pub mod canonical;
mod debug;
pub mod names;
pub mod refusal;
pub mod resource;

/// Attested session v1: messages before the first byte of HTTP/2.
pub mod session {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/adytum.session.v1.rs"));
}

/// The key broker's services.
pub mod broker {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/adytum.broker.v1.rs"));
}

/// TensorFlow's messages, as far as serving needs them.
pub mod tensorflow {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/tensorflow.rs"));

    /// TensorFlow Serving's services.
    pub mod serving {
        include!(concat!(env!("OUT_DIR"), "/tensorflow.serving.rs"));
    }
}

/// The Open Inference Protocol (KServe's V2).
pub mod inference {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/inference.rs"));
}

/// What Occlum's own init asks a key broker for.
pub mod occlum {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/ratls.rs"));
}

/// KubeTEE's Enclave Configuration Service, as far as a program in a TEE needs it.
pub mod kubetee {
    #![allow(missing_docs, unreachable_pub, clippy::all)]
    include!(concat!(env!("OUT_DIR"), "/kubetee.rs"));
}

/// All messages and services as an encoded `google.protobuf.FileDescriptorSet`, for server
/// reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
