//! Operators that we compute ourselves: right in every type that they accept.
//!
//! A family of operators is a file or a folder. Each has a function
//! `build(&Definition) -> Result<Built, Refusal>`, which [`find`] names by the
//! operator's domain and name. Whatever a node's attributes, its types and its
//! constants decide is decided in `build`: a node that would be computed wrongly, or
//! not at all, is refused there.

mod attributes;
mod context;
mod definition;
mod error;
mod machine_learning;
mod operands;
mod optional;
mod pairing;
mod quantization;
mod registry;
mod sequence;
mod text;

pub use attributes::{Attribute, AttributeError, Attributes};
pub use context::{Budget, Cancellation, Context};
pub use definition::{Built, Definition, Input, Operator};
pub use error::{OperatorError, Refusal};
pub use registry::{Builder, find};
