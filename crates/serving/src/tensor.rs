//! Tensors of requests and answers: those of requests are checked and converted, those of
//! answers are encoded. The tensors themselves are the engine's.

mod data_type;
mod decode;
mod encode;
mod error;
mod raw;
pub(crate) mod rows;
mod specification;
mod values;

#[cfg(test)]
mod tests;

pub use data_type::{from_tensorflow, to_tensorflow};
pub use decode::EncodedTensor;
pub use encode::encode;
pub use error::TensorError;
pub use raw::{RawError, decode_raw, encode_raw};
pub use specification::{Fitted, NotATensor, Signature, TensorSpecification};
