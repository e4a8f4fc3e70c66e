//! The elements of an encoded tensor.

use std::sync::Arc;

use adytum_engine::tensor::{Element, ElementType, Elements, Text};
use adytum_wire::{Fields, Value, WireError};
use half::{bf16, f16};

use super::{TensorError, raw::decode_raw};

/// Elements from `tensor_content`: row-major, little-endian.
pub(super) fn from_content(
    content: &[u8],
    element_type: ElementType,
    count: usize,
    shape: &[usize],
) -> Result<Elements, TensorError> {
    if element_type == ElementType::Text {
        return Err(TensorError::ValueField { element_type, expected: STRING.name, found: "tensor_content" });
    }
    decode_raw(content, element_type, count).map_err(|_| TensorError::ContentLength {
        expected: count.saturating_mul(element_type.size()),
        found: content.len(),
        element_type,
        shape: format!("{shape:?}"),
    })
}

/// A typed field of `TensorProto`.
#[derive(Clone, Copy)]
struct TypedField {
    number: u64,
    name: &'static str,
}

const FLOAT: TypedField = TypedField { number: 5, name: "float_val" };
const DOUBLE: TypedField = TypedField { number: 6, name: "double_val" };
const INT: TypedField = TypedField { number: 7, name: "int_val" };
const INT64: TypedField = TypedField { number: 10, name: "int64_val" };
const BOOL: TypedField = TypedField { number: 11, name: "bool_val" };
const HALF: TypedField = TypedField { number: 13, name: "half_val" };
const UINT32: TypedField = TypedField { number: 16, name: "uint32_val" };
const UINT64: TypedField = TypedField { number: 17, name: "uint64_val" };
const STRING: TypedField = TypedField { number: 8, name: "string_val" };
const OTHERS: [TypedField; 2] =
    [TypedField { number: 9, name: "scomplex_val" }, TypedField { number: 12, name: "dcomplex_val" }];

/// Elements from the typed field of their type.
pub(super) struct FieldValues<'a> {
    pub(super) message: &'a [u8],
    pub(super) element_type: ElementType,
    /// Elements of the shape.
    pub(super) count: usize,
    pub(super) shape: &'a [usize],
    /// The first typed field with values.
    pub(super) filled: Option<u64>,
}

impl FieldValues<'_> {
    pub(super) fn read(&self) -> Result<Elements, TensorError> {
        Ok(match self.element_type {
            ElementType::Float => wrap(self.fixed(FLOAT, f32::from_le_bytes)?),
            ElementType::Double => wrap(self.fixed(DOUBLE, f64::from_le_bytes)?),
            ElementType::Half => wrap(self.halves(f16::from_bits)?),
            ElementType::Bfloat16 => wrap(self.halves(bf16::from_bits)?),
            ElementType::Int8 => wrap(self.narrow::<i8>(INT)?),
            ElementType::Int16 => wrap(self.narrow::<i16>(INT)?),
            ElementType::Int32 => wrap(self.narrow::<i32>(INT)?),
            ElementType::Int64 => wrap(self.varints(INT64, |value| Ok(value.cast_signed()))?),
            ElementType::Uint8 => wrap(self.narrow::<u8>(INT)?),
            ElementType::Uint16 => wrap(self.narrow::<u16>(INT)?),
            // Of a 32-bit varint the low bits count.
            ElementType::Uint32 => wrap(self.varints(UINT32, |value| Ok(value as u32))?),
            ElementType::Uint64 => wrap(self.varints(UINT64, Ok)?),
            ElementType::Bool => wrap(self.varints(BOOL, |value| Ok(value != 0))?),
            ElementType::Text => wrap(self.texts()?),
        })
    }

    /// Texts, each in a field of its own.
    fn texts(&self) -> Result<Vec<Text>, TensorError> {
        let mut values = Vec::with_capacity(self.count);
        let mut found = 0;
        for part in Fields::of(self.message) {
            let part = part?;
            let (true, Value::Bytes(range)) = (part.number == STRING.number, part.value) else { continue };
            found += 1;
            if values.len() < self.count {
                values.push(Text::copy_from_slice(self.message.get(range).unwrap_or_default()));
            }
        }
        self.fill(STRING, values, found)
    }

    /// Numbers of `SIZE` bytes each.
    fn fixed<T: Copy + Default, const SIZE: usize>(
        &self,
        field: TypedField,
        convert: impl Fn([u8; SIZE]) -> T,
    ) -> Result<Vec<T>, TensorError> {
        let mut values = Vec::with_capacity(self.count);
        let mut found = 0;
        for part in Fields::of(self.message) {
            let part = part?;
            let (true, Value::Bytes(range) | Value::Fixed(range)) = (part.number == field.number, part.value)
            else {
                continue;
            };
            let offset = range.start;
            let (numbers, rest) = self.message.get(range).unwrap_or_default().as_chunks::<SIZE>();
            if !rest.is_empty() {
                return Err(WireError { reason: "a packed number is cut off", offset }.into());
            }
            found += numbers.len();
            let room = self.count - values.len();
            values.extend(numbers.iter().take(room).map(|bytes| convert(*bytes)));
        }
        self.fill(field, values, found)
    }

    /// Numbers of varying length.
    fn varints<T: Copy + Default>(
        &self,
        field: TypedField,
        convert: impl Fn(u64) -> Result<T, TensorError>,
    ) -> Result<Vec<T>, TensorError> {
        let mut values = Vec::with_capacity(self.count);
        let mut found = 0;
        let mut take = |value| {
            found += 1;
            if values.len() < self.count {
                values.push(convert(value)?);
            }
            Ok::<(), TensorError>(())
        };
        for part in Fields::of(self.message) {
            let part = part?;
            match part.value {
                _ if part.number != field.number => {}
                Value::Varint(value) => take(value)?,
                Value::Bytes(range) => {
                    let mut packed = Fields::within(self.message, range);
                    while !packed.is_at_end() {
                        take(packed.varint()?)?;
                    }
                }
                Value::Fixed(range) => {
                    let offset = range.start;
                    return Err(WireError { reason: "a number is not a varint", offset }.into());
                }
            }
        }
        self.fill(field, values, found)
    }

    /// 16 bits in 32-bit numbers.
    fn halves<T: Copy + Default>(&self, convert: impl Fn(u16) -> T) -> Result<Vec<T>, TensorError> {
        self.varints(HALF, |value| {
            // Of an int32 the low bits count.
            let value = value as i32;
            u16::try_from(value).map(&convert).map_err(|_| self.out_of_range(value, HALF))
        })
    }

    fn out_of_range(&self, value: i32, field: TypedField) -> TensorError {
        TensorError::ValueRange {
            value: i64::from(value),
            field: field.name,
            element_type: self.element_type,
        }
    }

    /// 32-bit numbers that must be in the range of a smaller type.
    fn narrow<T: Copy + Default + TryFrom<i32>>(&self, field: TypedField) -> Result<Vec<T>, TensorError> {
        self.varints(field, |value| {
            // Of an int32 the low bits count.
            let value = value as i32;
            T::try_from(value).map_err(|_| self.out_of_range(value, field))
        })
    }

    /// Repeats the last value until the shape is full.
    fn fill<T: Clone + Default>(
        &self,
        field: TypedField,
        mut values: Vec<T>,
        found: usize,
    ) -> Result<Vec<T>, TensorError> {
        if found > self.count {
            return Err(TensorError::ValueCount {
                expected: self.count,
                found,
                field: field.name,
                shape: format!("{:?}", self.shape),
            });
        }
        if let (0, Some(other)) = (found, self.filled) {
            let known = [FLOAT, DOUBLE, INT, INT64, BOOL, HALF, UINT32, UINT64, STRING];
            let other = known.iter().chain(&OTHERS).find(|known| known.number == other);
            return Err(TensorError::ValueField {
                element_type: self.element_type,
                expected: field.name,
                found: other.map_or("another field", |other| other.name),
            });
        }
        let last = values.last().cloned().unwrap_or_default();
        values.resize(self.count, last);
        Ok(values)
    }
}

fn wrap<T: Element>(values: Vec<T>) -> Elements {
    T::wrap(Arc::new(values))
}
