//! What can be wrong with a tensor of a request.

use adytum_engine::tensor::ElementType;
use adytum_wire::WireError;

/// What is wrong with a tensor of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// Not a `TensorProto`.
    #[error("not a TensorProto: {0}")]
    Malformed(#[from] WireError),
    /// A type that no served model takes.
    #[error("the type {found} can't be served; expected {expected}")]
    UnsupportedType {
        /// What the model takes.
        expected: String,
        /// The request's type.
        found: String,
    },
    /// Another type than the model takes.
    #[error("expected to be {expected} but {found} is provided")]
    WrongType {
        /// What the model takes.
        expected: ElementType,
        /// The request's type.
        found: ElementType,
    },
    /// A shape that is no shape.
    #[error("the shape {found} is invalid: {reason}; expected {expected}")]
    InvalidShape {
        /// What the model takes.
        expected: String,
        /// The request's shape.
        found: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// More elements than a request may have.
    #[error(
        "the shape {found} has more elements than fit in {limit} bytes, the largest message; expected {expected}"
    )]
    TooLarge {
        /// What the model takes.
        expected: String,
        /// The request's shape.
        found: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// Another shape than the model takes.
    #[error("expected the shape {expected} but {found} is provided")]
    WrongShape {
        /// What the model takes; `?` stands for any size.
        expected: String,
        /// The request's shape.
        found: String,
    },
    /// `tensor_content` is too short or too long.
    #[error("expected {expected} bytes of tensor_content for {element_type} of shape {shape}, found {found}")]
    ContentLength {
        /// Bytes that the shape needs.
        expected: usize,
        /// Bytes found.
        found: usize,
        /// The type.
        element_type: ElementType,
        /// The shape.
        shape: String,
    },
    /// More values than elements.
    #[error("expected at most {expected} values in {field} for the shape {shape}, found {found}")]
    ValueCount {
        /// Elements of the shape.
        expected: usize,
        /// Values found.
        found: usize,
        /// The field they are in.
        field: &'static str,
        /// The shape.
        shape: String,
    },
    /// Values in a field of another type, and none in the right one.
    #[error("expected the values of {element_type} in {expected} or tensor_content, found them in {found}")]
    ValueField {
        /// The type.
        element_type: ElementType,
        /// Where its values belong.
        expected: &'static str,
        /// Where values were found.
        found: &'static str,
    },
    /// A value that the type can't hold.
    #[error("the value {value} in {field} is out of the range of {element_type}")]
    ValueRange {
        /// The value.
        value: i64,
        /// The field it is in.
        field: &'static str,
        /// The type.
        element_type: ElementType,
    },
}

impl TensorError {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "tensor-malformed",
            Self::UnsupportedType { .. } => "tensor-unsupported-type",
            Self::WrongType { .. } => "tensor-wrong-type",
            Self::InvalidShape { .. } => "tensor-invalid-shape",
            Self::TooLarge { .. } => "tensor-too-large",
            Self::WrongShape { .. } => "tensor-wrong-shape",
            Self::ContentLength { .. } => "tensor-content-length",
            Self::ValueCount { .. } => "tensor-value-count",
            Self::ValueField { .. } => "tensor-value-field",
            Self::ValueRange { .. } => "tensor-value-range",
        }
    }
}

/// `[?,224,224,3]`
pub(super) fn describe_shape(shape: Option<&[Option<usize>]>) -> String {
    let Some(shape) = shape else { return "of any rank".to_owned() };
    let sizes: Vec<String> =
        shape.iter().map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(","))
}

pub(super) fn describe_found(found: &[i64]) -> String {
    let mut sizes: Vec<String> = found.iter().take(12).map(i64::to_string).collect();
    if found.len() > 12 {
        sizes.push("...".to_owned());
    }
    format!("[{}]", sizes.join(","))
}
