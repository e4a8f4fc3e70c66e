//! The faults of a tensor in a request.

use adytum_engine::tensor::ElementType;
use adytum_wire::WireError;

/// The fault of a tensor in a request.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The bytes of an input are no `TensorProto`.
    ///
    /// Do: send each input as a `TensorProto` (`tensorflow/core/framework/tensor.proto`).
    #[error("not a TensorProto: {0}")]
    Malformed(#[from] WireError),
    /// The tensor has an element type that no served model takes.
    ///
    /// Do: convert the values to the type that the message names.
    #[error("the type {found} can't be served; expected {expected}")]
    UnsupportedType {
        /// What the model takes.
        expected: String,
        found: String,
    },
    /// The tensor has another element type than the model's input.
    ///
    /// Do: convert the values to the type that the message names.
    #[error("expected to be {expected} but {found} is provided")]
    WrongType {
        /// What the model takes.
        expected: ElementType,
        found: ElementType,
    },
    /// The tensor's shape is not valid, for example because a size is negative.
    ///
    /// Do: send the shape that the message expects, with all its sizes.
    #[error("the shape {found} is invalid: {reason}; expected {expected}")]
    InvalidShape {
        /// What the model takes.
        expected: String,
        found: String,
        reason: &'static str,
    },
    /// The tensor's shape has more elements than the largest message could hold.
    ///
    /// Do: send a smaller batch.
    #[error(
        "the shape {found} has more elements than fit in {limit} bytes, the largest message; expected {expected}"
    )]
    TooLarge {
        /// What the model takes.
        expected: String,
        found: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// The tensor has another shape than the model's input.
    ///
    /// Do: send the shape that the message expects; a `?` in it is any size.
    #[error("expected the shape {expected} but {found} is provided")]
    WrongShape {
        /// What the model takes; `?` stands for any size.
        expected: String,
        found: String,
    },
    /// The field `tensor_content` does not have the length that the shape needs.
    ///
    /// Do: send as many bytes as the message expects, or correct the shape.
    #[error("expected {expected} bytes of tensor_content for {element_type} of shape {shape}, found {found}")]
    ContentLength {
        /// Bytes that the shape needs.
        expected: usize,
        found: usize,
        element_type: ElementType,
        shape: String,
    },
    /// The tensor has more values than its shape has elements.
    ///
    /// Do: send as many values as the shape has elements, or one for all.
    #[error("expected at most {expected} values in {field} for the shape {shape}, found {found}")]
    ValueCount {
        /// Elements of the shape.
        expected: usize,
        found: usize,
        /// The field they are in.
        field: &'static str,
        shape: String,
    },
    /// The tensor's values are in the field of another element type.
    ///
    /// Do: put the values into the field that the message names, or into `tensor_content`.
    #[error("expected the values of {element_type} in {expected} or tensor_content, found them in {found}")]
    ValueField {
        element_type: ElementType,
        /// Where its values belong.
        expected: &'static str,
        /// Where values were found.
        found: &'static str,
    },
    /// The tensor has a value that its element type can't hold.
    ///
    /// Do: send a value in the range of the type, or a wider type if the model takes one.
    #[error("the value {value} in {field} is out of the range of {element_type}")]
    ValueRange {
        value: i64,
        /// The field it is in.
        field: &'static str,
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
