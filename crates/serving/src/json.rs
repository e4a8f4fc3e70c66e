//! JSON as TensorFlow Serving reads and writes it, from text to tensors and back without a
//! tree of values in between.
//!
//! It is RFC 8259 with one addition: the numbers `NaN`, `Infinity` and `-Infinity`, which
//! tensors have and JSON has not.

mod elements;
mod error;
mod object;
mod reader;
mod tensors;
mod text;
mod write;

#[cfg(test)]
mod tests;

pub use elements::JsonElement;
pub use error::JsonError;
pub use object::{Members, Span, each_member};
pub use reader::{Kind, MAXIMUM_DEPTH, Reader};
pub use tensors::{TensorReader, charge};
pub use write::{write_elements, write_float, write_text};
