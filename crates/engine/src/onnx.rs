//! Reads ONNX files: the graph of a model, its weights, its declarations.
//!
//! The format is a protocol buffer (`onnx.proto` of <https://github.com/onnx/onnx>). A file
//! is untrusted: names, nodes, nesting and sizes have limits ([`Limits`]), and nothing is
//! believed that a file says about the types and shapes inside its graph.
//!
//! - [`model`]: the graph as we keep it. Names became numbers, functions were inlined.
//! - [`read`] makes it of a file.
//! - [`tensor`] decodes constants; large ones stay in the file until the plan needs them.
//! - [`one_file()`] moves the data of other files into the model's.
//! - [`files`]: where the data of tensors lies that is not in the model's own file.

mod attribute;
pub mod data;
pub mod declaration;
mod error;
pub mod files;
mod function;
pub(crate) mod in_file;
mod limits;
pub mod model;
mod one_file;
mod opsets;
mod order;
pub mod read;
mod scope;
pub mod tensor;

pub use error::OnnxError;
pub use limits::Limits;
pub use one_file::one_file;
