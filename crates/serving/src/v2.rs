//! The Open Inference Protocol (KServe's V2,
//! <https://github.com/kserve/open-inference-protocol>), as far as gRPC and REST have it in
//! common, and its gRPC messages.

mod contents;
mod data_type;
mod error;
mod infer;
mod metadata;
mod request;

#[cfg(test)]
mod tests;

pub use data_type::{from_name, name};
pub use error::{DataError, V2Error};
pub(crate) use infer::{Asked, Sent};
pub(crate) use metadata::{EXTENSIONS, SERVER, VERSION, index, metadata, version};
pub use request::Infer;
