//! From a request's `TensorProto` to a tensor that the model accepts.

use adytum_api::tensorflow::{DataType, TensorProto, TensorShapeProto};

use super::{ElementType, Elements, Tensor};
use crate::onnx::signature::TensorSpecification;

/// TensorFlow's own limit (`TensorShape::MaxDimensions`).
const MAXIMUM_RANK: usize = 254;

/// What is wrong with a tensor of a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
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

/// Checks a tensor of a request against what the model takes, and takes its
/// values out. At most `limit` bytes of elements are made.
///
/// Values come from `tensor_content` if it is not empty, else from the typed
/// field; there TensorFlow's rule holds that the last value is repeated until
/// the shape is full, and that no value at all means zeros.
pub fn decode(
    proto: TensorProto,
    specification: &TensorSpecification,
    limit: usize,
) -> Result<Tensor, TensorError> {
    let element_type = element_type(proto.dtype, specification)?;
    let (shape, count) = shape(proto.tensor_shape.as_ref(), specification, element_type, limit)?;
    let elements = if proto.tensor_content.is_empty() {
        from_typed_field(proto, element_type, count, &shape)?
    } else {
        from_content(&proto.tensor_content, element_type, count, &shape)?
    };
    Ok(Tensor { shape, elements })
}

fn element_type(found: i32, specification: &TensorSpecification) -> Result<ElementType, TensorError> {
    let found = DataType::try_from(found).map_err(|_| found.to_string());
    let known = found.clone().ok().and_then(ElementType::from_tensorflow);
    match (known, specification.element_type) {
        (Some(found), Some(expected)) if found != expected => Err(TensorError::WrongType { expected, found }),
        (Some(found), _) => Ok(found),
        (None, expected) => Err(TensorError::UnsupportedType {
            expected: expected.map_or_else(|| "a number".to_owned(), |expected| expected.to_string()),
            found: found.map_or_else(|number| number, |known| known.as_str_name().to_owned()),
        }),
    }
}

/// `[?,224,224,3]`
pub(crate) fn describe_shape(shape: Option<&[Option<usize>]>) -> String {
    let Some(shape) = shape else { return "of any rank".to_owned() };
    let sizes: Vec<String> =
        shape.iter().map(|size| size.map_or_else(|| "?".to_owned(), |size| size.to_string())).collect();
    format!("[{}]", sizes.join(","))
}

fn describe_found(found: &[i64]) -> String {
    let mut sizes: Vec<String> = found.iter().take(12).map(i64::to_string).collect();
    if found.len() > 12 {
        sizes.push("...".to_owned());
    }
    format!("[{}]", sizes.join(","))
}

fn shape(
    proto: Option<&TensorShapeProto>,
    specification: &TensorSpecification,
    element_type: ElementType,
    limit: usize,
) -> Result<(Vec<usize>, usize), TensorError> {
    let expected = || describe_shape(specification.shape.as_deref());
    let found: Vec<i64> = proto
        .map(|shape| shape.dim.iter().take(MAXIMUM_RANK + 1).map(|dim| dim.size).collect())
        .unwrap_or_default();
    let invalid =
        |reason| TensorError::InvalidShape { expected: expected(), found: describe_found(&found), reason };
    if proto.is_some_and(|shape| shape.unknown_rank) {
        return Err(invalid("its rank is unknown"));
    }
    if found.len() > MAXIMUM_RANK {
        return Err(invalid("it has more than 254 dimensions"));
    }
    let shape = found
        .iter()
        .map(|size| usize::try_from(*size))
        .collect::<Result<Vec<usize>, _>>()
        .map_err(|_| invalid("a size is negative"))?;
    if let Some(wanted) = &specification.shape {
        let matches = wanted.len() == shape.len()
            && wanted.iter().zip(&shape).all(|(wanted, size)| wanted.is_none_or(|wanted| wanted == *size));
        if !matches {
            return Err(TensorError::WrongShape { expected: expected(), found: describe_found(&found) });
        }
    }
    // Without the zeros, so that [0, 2^40] does not pass and then overflow
    // where strides are computed.
    let bytes = shape
        .iter()
        .filter(|size| **size != 0)
        .try_fold(element_type.size(), |product, size| product.checked_mul(*size))
        .filter(|bytes| *bytes <= limit);
    if bytes.is_none() {
        return Err(TensorError::TooLarge { expected: expected(), found: describe_found(&found), limit });
    }
    let count = shape.iter().product();
    Ok((shape, count))
}

fn from_content(
    content: &[u8],
    element_type: ElementType,
    count: usize,
    shape: &[usize],
) -> Result<Elements, TensorError> {
    let expected = count.saturating_mul(element_type.size());
    if content.len() != expected {
        return Err(TensorError::ContentLength {
            expected,
            found: content.len(),
            element_type,
            shape: format!("{shape:?}"),
        });
    }
    macro_rules! little_endian {
        ($type:ty) => {
            content
                .as_chunks::<{ size_of::<$type>() }>()
                .0
                .iter()
                .map(|bytes| <$type>::from_le_bytes(*bytes))
                .collect()
        };
    }
    Ok(match element_type {
        ElementType::Float => Elements::Float(little_endian!(f32)),
        ElementType::Double => Elements::Double(little_endian!(f64)),
        ElementType::Half => Elements::Half(little_endian!(u16)),
        ElementType::Bfloat16 => Elements::Bfloat16(little_endian!(u16)),
        ElementType::Int8 => Elements::Int8(little_endian!(i8)),
        ElementType::Int16 => Elements::Int16(little_endian!(i16)),
        ElementType::Int32 => Elements::Int32(little_endian!(i32)),
        ElementType::Int64 => Elements::Int64(little_endian!(i64)),
        ElementType::Uint8 => Elements::Uint8(content.to_vec()),
        ElementType::Uint16 => Elements::Uint16(little_endian!(u16)),
        ElementType::Uint32 => Elements::Uint32(little_endian!(u32)),
        ElementType::Uint64 => Elements::Uint64(little_endian!(u64)),
        ElementType::Bool => Elements::Bool(content.iter().map(|byte| *byte != 0).collect()),
    })
}

fn from_typed_field(
    proto: TensorProto,
    element_type: ElementType,
    count: usize,
    shape: &[usize],
) -> Result<Elements, TensorError> {
    let filled = filled_field(&proto);
    let fill = Fill { element_type, count, shape, filled };
    Ok(match element_type {
        ElementType::Float => Elements::Float(fill.exact("float_val", proto.float_val)?),
        ElementType::Double => Elements::Double(fill.exact("double_val", proto.double_val)?),
        ElementType::Half => Elements::Half(fill.low_bits("half_val", &proto.half_val)?),
        ElementType::Bfloat16 => Elements::Bfloat16(fill.low_bits("half_val", &proto.half_val)?),
        ElementType::Int8 => Elements::Int8(fill.narrow("int_val", &proto.int_val)?),
        ElementType::Int16 => Elements::Int16(fill.narrow("int_val", &proto.int_val)?),
        ElementType::Int32 => Elements::Int32(fill.exact("int_val", proto.int_val)?),
        ElementType::Int64 => Elements::Int64(fill.exact("int64_val", proto.int64_val)?),
        ElementType::Uint8 => Elements::Uint8(fill.narrow("int_val", &proto.int_val)?),
        ElementType::Uint16 => Elements::Uint16(fill.narrow("int_val", &proto.int_val)?),
        ElementType::Uint32 => Elements::Uint32(fill.exact("uint32_val", proto.uint32_val)?),
        ElementType::Uint64 => Elements::Uint64(fill.exact("uint64_val", proto.uint64_val)?),
        ElementType::Bool => Elements::Bool(fill.exact("bool_val", proto.bool_val)?),
    })
}

/// The first typed field that has values.
fn filled_field(proto: &TensorProto) -> Option<&'static str> {
    [
        ("float_val", proto.float_val.is_empty()),
        ("double_val", proto.double_val.is_empty()),
        ("int_val", proto.int_val.is_empty()),
        ("string_val", proto.string_val.is_empty()),
        ("scomplex_val", proto.scomplex_val.is_empty()),
        ("int64_val", proto.int64_val.is_empty()),
        ("bool_val", proto.bool_val.is_empty()),
        ("dcomplex_val", proto.dcomplex_val.is_empty()),
        ("half_val", proto.half_val.is_empty()),
        ("uint32_val", proto.uint32_val.is_empty()),
        ("uint64_val", proto.uint64_val.is_empty()),
    ]
    .into_iter()
    .find_map(|(name, empty)| (!empty).then_some(name))
}

struct Fill<'a> {
    element_type: ElementType,
    count: usize,
    shape: &'a [usize],
    filled: Option<&'static str>,
}

impl Fill<'_> {
    /// Repeats the last value until the shape is full.
    fn exact<T: Copy + Default>(
        &self,
        field: &'static str,
        mut values: Vec<T>,
    ) -> Result<Vec<T>, TensorError> {
        if values.len() > self.count {
            return Err(TensorError::ValueCount {
                expected: self.count,
                found: values.len(),
                field,
                shape: format!("{:?}", self.shape),
            });
        }
        if let (true, Some(found)) = (values.is_empty(), self.filled) {
            return Err(TensorError::ValueField { element_type: self.element_type, expected: field, found });
        }
        let last = values.last().copied().unwrap_or_default();
        values.resize(self.count, last);
        Ok(values)
    }

    fn narrow<T: Copy + Default + TryFrom<i32>>(
        &self,
        field: &'static str,
        values: &[i32],
    ) -> Result<Vec<T>, TensorError> {
        let narrowed = values
            .iter()
            .map(|value| {
                T::try_from(*value).map_err(|_| TensorError::ValueRange {
                    value: i64::from(*value),
                    field,
                    element_type: self.element_type,
                })
            })
            .collect::<Result<Vec<T>, TensorError>>()?;
        self.exact(field, narrowed)
    }

    fn low_bits(&self, field: &'static str, values: &[i32]) -> Result<Vec<u16>, TensorError> {
        let bits = values
            .iter()
            .map(|value| {
                u16::try_from(*value).map_err(|_| TensorError::ValueRange {
                    value: i64::from(*value),
                    field,
                    element_type: self.element_type,
                })
            })
            .collect::<Result<Vec<u16>, TensorError>>()?;
        self.exact(field, bits)
    }
}
