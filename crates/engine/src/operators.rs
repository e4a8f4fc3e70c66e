//! Operators that we compute ourselves: right in every type that they accept.
//!
//! A family of operators is a file or a folder. Each has a function
//! `build(&Definition) -> Result<Built, Refusal>`, which [`find`] names by the
//! operator's domain and name. Whatever a node's attributes, its types and its
//! constants decide is decided in `build`: a node that would be computed wrongly, or
//! not at all, is refused there.

mod algebra;
pub(crate) mod arguments;
mod attention;
mod attributes;
mod axes;
pub(crate) mod broadcast;
mod cast;
pub(crate) mod constant;
mod context;
mod definition;
mod elementwise;
mod error;
mod identity;
mod layout;
mod machine_learning;
pub(crate) mod movement;
mod normalization;
mod number;
mod operands;
mod optional;
mod pairing;
pub(crate) mod quantization;
mod random;
mod recurrent;
mod reduction;
mod registry;
mod rounding;
mod scatter;
mod selection;
mod sequence;
pub(crate) mod share;
mod signal;
mod softmax;
mod text;
mod types;
pub(crate) mod vision;
pub(crate) mod widen;
pub(crate) mod windows;

pub(crate) use arguments::Arguments;
pub use attributes::{Attribute, AttributeError, Attributes};
pub use context::{Budget, Cancellation, Context, Memory};
pub use definition::{Builder, Built, Definition, Divisible, Input, Operator};
pub use error::{OperatorError, Refusal};
pub use registry::{find, known};
