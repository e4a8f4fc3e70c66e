//! Protobuf's text format, as people write it in TensorFlow Serving's files.
//!
//! [`parse`] reads any message, and [`Fields`] gives its fields by name and type. What
//! the message does not have is an error, as it is for protobuf's own reader: an unknown
//! field, a field that is given twice, a value of another type.
//!
//! Source: the "Text Format Language Specification" of protocol buffers. Extensions and
//! expanded `Any` values are read, and are unknown fields to every message here.

mod fields;
mod syntax;

#[cfg(test)]
mod tests;

pub use fields::Fields;
pub use syntax::{Field, Message, Scalar, Value, parse};

/// The fault of a text in protobuf's text format. It never quotes a value, which may
/// be a key.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text is not valid in protobuf's text format.
    ///
    /// Do: correct the text at the line and column in the message; for an `SSLConfig`,
    /// `adytum ssl-config new` writes a valid one.
    #[error("{message}, line {line}, column {column}: {problem}")]
    Syntax {
        /// The message's type.
        message: &'static str,
        /// The line, counted from 1.
        line: usize,
        /// The column, counted from 1 in bytes.
        column: usize,
        problem: &'static str,
    },
    /// The message has a field that does not exist.
    ///
    /// Do: use only the fields that the message lists.
    #[error("{message}, line {line}: unknown field {name:?}; there are {known}")]
    UnknownField {
        message: &'static str,
        line: usize,
        name: String,
        /// The fields that exist.
        known: String,
    },
    /// The message gives a field twice that it may give once.
    ///
    /// Do: strike one of the two.
    #[error("{message}, line {line}: the field {name} is given twice")]
    Repeated {
        message: &'static str,
        /// The line of the second.
        line: usize,
        name: &'static str,
    },
    /// A field has a value of the wrong type.
    ///
    /// Do: give the kind of value that the message names.
    #[error("{message}, line {line}: the field {name} must be {expected}")]
    Type {
        message: &'static str,
        line: usize,
        name: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// The message gives two fields of which it may give one.
    ///
    /// Do: strike all but one of them.
    #[error("{message}, line {line}: the field {name} is given along with {other}; only one of them may be")]
    Conflict { message: &'static str, line: usize, name: &'static str, other: &'static str },
}

impl TextError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "text-syntax",
            Self::UnknownField { .. } => "text-unknown-field",
            Self::Repeated { .. } => "text-repeated-field",
            Self::Type { .. } => "text-type",
            Self::Conflict { .. } => "text-conflict",
        }
    }
}
