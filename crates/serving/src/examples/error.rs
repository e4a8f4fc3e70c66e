//! The faults of examples.

use adytum_wire::WireError;

/// The fault of the examples of a request. The texts are TensorFlow's where it has one.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExampleError {
    /// The bytes of an example are no `tf.Example`.
    ///
    /// Do: send each example as a `tf.Example` (`tensorflow/core/example/example.proto`).
    #[error("Could not parse example input: {0}")]
    Malformed(#[from] WireError),
    /// The request has no examples.
    ///
    /// Do: send at least one example.
    #[error("Input is empty.")]
    Empty,
    /// An example lacks a feature that has no default.
    ///
    /// Do: send the feature with each example.
    #[error("Index: {index}. Feature: {name} (data type: {expected}) is required but could not be found.")]
    Missing {
        name: String,
        /// Which example, counted from 0.
        index: usize,
        expected: &'static str,
    },
    /// A feature is in another list than the model takes.
    ///
    /// Do: put the values into the list that the message names.
    #[error(
        "Key: {name}, Index: {index}. Data types don't match. Data type: {found} but expected type: {expected}"
    )]
    Type {
        name: String,
        /// Which example, counted from 0.
        index: usize,
        expected: &'static str,
        found: &'static str,
    },
    /// A feature has another number of values than the model takes.
    ///
    /// Do: send as many values as the message expects.
    #[error(
        "Key: {name}, Index: {index}. Number of {kind} values != expected. values size: {found} but output shape: \
         {expected}"
    )]
    Count {
        name: String,
        /// Which example, counted from 0.
        index: usize,
        kind: &'static str,
        /// The shape of one example's feature.
        expected: String,
        found: usize,
    },
    /// The examples stand for more values than the largest message could hold.
    ///
    /// Do: send fewer examples.
    #[error("the examples stand for more values than fit in {limit} bytes, the largest message")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
}

impl ExampleError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "example-malformed",
            Self::Empty => "examples-empty",
            Self::Missing { .. } => "example-missing-feature",
            Self::Type { .. } => "example-feature-type",
            Self::Count { .. } => "example-feature-count",
            Self::TooLarge { .. } => "examples-too-large",
        }
    }
}
