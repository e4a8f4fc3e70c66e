//! The faults of a JSON document.

/// The fault of a JSON document.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JsonError {
    /// The body of the request is not JSON.
    ///
    /// Do: correct the document at the byte that the message names.
    #[error("JSON Parse error: {problem} at offset: {offset}")]
    Syntax {
        problem: &'static str,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// The document has lists and objects in each other to a depth that no tensor has.
    ///
    /// Do: send a tensor of fewer dimensions.
    #[error("JSON Parse error: more than {limit} lists and objects in each other at offset: {offset}")]
    Depth {
        limit: usize,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// A value of the document does not have the type that is expected there.
    ///
    /// Do: send a value of the type that the message names; `GetModelMetadata` gives the
    /// types of a model's inputs.
    #[error("JSON Value: {value} Type: {kind} is not of expected type: {expected} at offset: {offset}")]
    Type {
        /// The first characters of the value.
        value: String,
        kind: &'static str,
        expected: &'static str,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// A number of the document can't be held by the type of the tensor.
    ///
    /// Do: send a number that the type can hold, or text if the model takes strings.
    #[error("Cannot convert JSON value: {value} to {expected} without loss of precision at offset: {offset}")]
    Lossy {
        value: String,
        expected: &'static str,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// A list of the document has another length than the lists next to it.
    ///
    /// Do: give all lists of one level the same length: tensors have no ragged edge.
    #[error(
        "Encountered list at unexpected size: {found} at level: {level} expected size: {expected} at offset: \
         {offset}"
    )]
    Ragged {
        /// The length of the first list of this level.
        expected: usize,
        found: usize,
        /// How many lists it is in.
        level: usize,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// A value of the document is in more or in fewer lists than the values before it.
    ///
    /// Do: put all values of a tensor into the same number of lists.
    #[error("Encountered {found} at unexpected level: {level} expected: {expected} at offset: {offset}")]
    Level {
        /// `list` or `value`.
        found: &'static str,
        /// The number of lists that it is in.
        level: usize,
        expected: usize,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// A text that should be base64 is not.
    ///
    /// Do: encode the bytes as base64 (RFC 4648, section 4).
    #[error("Unable to base64 decode the text at offset: {offset}")]
    Base64 {
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// An object of the document has a key twice.
    ///
    /// Do: give each key once.
    #[error("the key {key:?} is given twice, again at offset: {offset}")]
    Twice {
        key: String,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
    /// The examples of one request have tensors of different shapes.
    ///
    /// Do: give all examples of a request the same shape, or send several requests.
    #[error("Expecting shape {expected} but got: {found} at offset: {offset}")]
    Shape {
        expected: String,
        found: String,
        /// Where, in bytes from the beginning.
        offset: usize,
    },
}

impl JsonError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "json-syntax",
            Self::Depth { .. } => "json-depth",
            Self::Type { .. } => "json-type",
            Self::Lossy { .. } => "json-lossy",
            Self::Ragged { .. } => "json-ragged",
            Self::Level { .. } => "json-level",
            Self::Base64 { .. } => "json-base64",
            Self::Twice { .. } => "json-key-twice",
            Self::Shape { .. } => "json-shape",
        }
    }
}
