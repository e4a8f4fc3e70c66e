//! From a request's `TensorProto` to a tensor that the model accepts.
//!
//! The message is read where it lies: generated code would first make vectors
//! of it that can be many times its size (a byte of a packed `int_val` becomes
//! four, an empty dimension of two bytes a struct of thirty-two), and all that
//! before anything was checked.

use std::ops::Range;

use adytum_api::tensorflow::DataType;
use adytum_engine::tensor::{ElementType, Tensor};

use super::{
    Fitted, TensorError, TensorSpecification,
    error::{describe_found, describe_shape},
    from_tensorflow,
    specification::MAXIMUM_RANK,
    values::{FieldValues, from_content},
};
use adytum_wire::{Fields, Value, WireError};

/// A tensor of a request whose type and shape have been checked against what
/// the model takes. Its elements have not been read.
pub struct EncodedTensor<'a> {
    message: &'a [u8],
    element_type: ElementType,
    shape: Vec<usize>,
    extended: bool,
    count: usize,
    content: Range<usize>,
    filled: Option<u64>,
}

/// What a `TensorProto` says besides its values.
#[derive(Default)]
struct Header {
    data_type: i32,
    sizes: Vec<i64>,
    unknown_rank: bool,
    content: Range<usize>,
    /// The first typed field with values.
    filled: Option<u64>,
}

impl Header {
    fn read(message: &[u8]) -> Result<Self, WireError> {
        let mut header = Self::default();
        for field in Fields::of(message) {
            let field = field?;
            match (field.number, field.value) {
                // An enumeration is an int32: the low bits count.
                (1, Value::Varint(number)) => header.data_type = number as i32,
                (2, Value::Bytes(shape)) => header.read_shape(message, shape)?,
                (4, Value::Bytes(content)) => header.content = content,
                (5..=13 | 16 | 17, Value::Bytes(values)) if values.is_empty() => {}
                (5..=13 | 16 | 17, _) => {
                    header.filled.get_or_insert(field.number);
                }
                _ => {}
            }
        }
        Ok(header)
    }

    fn read_shape(&mut self, message: &[u8], shape: Range<usize>) -> Result<(), WireError> {
        for field in Fields::within(message, shape) {
            let field = field?;
            match (field.number, field.value) {
                // More than are allowed are not kept.
                (2, Value::Bytes(dimension)) if self.sizes.len() <= MAXIMUM_RANK => {
                    let mut size = 0;
                    for part in Fields::within(message, dimension) {
                        let part = part?;
                        if let (1, Some(value)) = (part.number, part.varint()) {
                            size = value.cast_signed();
                        }
                    }
                    self.sizes.push(size);
                }
                (3, Value::Varint(unknown)) => self.unknown_rank = unknown != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> EncodedTensor<'a> {
    /// Reads and checks what is said about the values in `message`, an encoded
    /// `TensorProto`. A tensor of more than `limit` bytes of elements is
    /// refused.
    pub fn parse(
        message: &'a [u8],
        specification: &TensorSpecification,
        limit: usize,
    ) -> Result<Self, TensorError> {
        let header = Header::read(message)?;
        let element_type = element_type(header.data_type, specification)?;
        let Fitted { shape, extended } = shape(&header, specification, element_type, limit)?;
        let count = shape.iter().product();
        let Header { content, filled, .. } = header;
        Ok(Self { message, element_type, shape, extended, count, content, filled })
    }

    /// Whether its shape was made to fit ([`Fitted::extended`]).
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// Bytes that its elements will take.
    pub fn size(&self) -> usize {
        self.count.saturating_mul(self.element_type.size())
    }

    /// The number of its elements.
    pub fn elements(&self) -> usize {
        self.count
    }

    /// The least number of bytes of its elements that the message does not carry. Each value
    /// that it carries takes one byte of it or more.
    pub fn repeated(&self) -> usize {
        self.count.saturating_sub(self.message.len()).saturating_mul(self.element_type.size())
    }

    /// Reads its elements.
    ///
    /// They come from `tensor_content` if it is not empty, else from the typed
    /// field; there TensorFlow's rule holds that the last value is repeated
    /// until the shape is full, and that no value at all means zeros.
    pub fn read(self) -> Result<Tensor, TensorError> {
        let content = self.message.get(self.content).unwrap_or_default();
        let elements = if content.is_empty() {
            FieldValues {
                message: self.message,
                element_type: self.element_type,
                count: self.count,
                shape: &self.shape,
                filled: self.filled,
            }
            .read()?
        } else {
            from_content(content, self.element_type, self.count, &self.shape)?
        };
        // The elements are as many as the shape says.
        Tensor::new(self.shape, elements).ok_or(TensorError::Malformed(WireError {
            reason: "the values are not as many as the shape has elements",
            offset: 0,
        }))
    }
}

fn element_type(found: i32, specification: &TensorSpecification) -> Result<ElementType, TensorError> {
    let data_type = DataType::try_from(found).ok();
    let known = data_type.and_then(from_tensorflow);
    let expected = specification.element_type;
    match known {
        Some(found) if found != expected => Err(TensorError::WrongType { expected, found }),
        Some(found) => Ok(found),
        None => Err(TensorError::UnsupportedType {
            expected: expected.to_string(),
            found: data_type.map_or_else(|| found.to_string(), |known| known.as_str_name().to_owned()),
        }),
    }
}

fn shape(
    header: &Header,
    specification: &TensorSpecification,
    element_type: ElementType,
    limit: usize,
) -> Result<Fitted, TensorError> {
    if header.unknown_rank {
        return Err(TensorError::InvalidShape {
            expected: describe_shape(specification.shape.as_deref()),
            found: describe_found(&header.sizes),
            reason: "its rank is unknown",
        });
    }
    specification.check_all(element_type, &header.sizes, limit)
}
