//! Typed tensors: `InferTensorContents`.

use std::sync::Arc;

use adytum_api::inference::InferTensorContents;
use adytum_engine::tensor::{Element, ElementType, Elements, Text};
use adytum_wire::{Fields, Value, WireError};

use super::DataError;

/// The number of the field that holds a type's elements; `None` for a type that only raw data
/// can hold.
fn field(element_type: ElementType) -> Option<u64> {
    match element_type {
        ElementType::Bool => Some(1),
        ElementType::Int8 | ElementType::Int16 | ElementType::Int32 => Some(2),
        ElementType::Int64 => Some(3),
        ElementType::Uint8 | ElementType::Uint16 | ElementType::Uint32 => Some(4),
        ElementType::Uint64 => Some(5),
        ElementType::Float => Some(6),
        ElementType::Double => Some(7),
        ElementType::Text => Some(8),
        ElementType::Half | ElementType::Bfloat16 => None,
    }
}

/// Reads `count` elements of an encoded `InferTensorContents`, and never more of them.
pub(super) fn decode(
    contents: &[u8],
    element_type: ElementType,
    count: usize,
) -> Result<Elements, DataError> {
    let number = field(element_type).ok_or(DataError::RawOnly)?;
    let reader = Typed { contents, number, count };
    Ok(match element_type {
        ElementType::Float => wrap(reader.fixed(f32::from_le_bytes)?),
        ElementType::Double => wrap(reader.fixed(f64::from_le_bytes)?),
        // Of an int32 or a uint32 the low bits count.
        ElementType::Int8 => wrap(reader.varints(|value| i8::try_from(value as i32).ok())?),
        ElementType::Int16 => wrap(reader.varints(|value| i16::try_from(value as i32).ok())?),
        ElementType::Int32 => wrap(reader.varints(|value| Some(value as i32))?),
        ElementType::Int64 => wrap(reader.varints(|value| Some(value.cast_signed()))?),
        ElementType::Uint8 => wrap(reader.varints(|value| u8::try_from(value as u32).ok())?),
        ElementType::Uint16 => wrap(reader.varints(|value| u16::try_from(value as u32).ok())?),
        ElementType::Uint32 => wrap(reader.varints(|value| Some(value as u32))?),
        ElementType::Uint64 => wrap(reader.varints(Some)?),
        ElementType::Bool => wrap(reader.varints(|value| Some(value != 0))?),
        ElementType::Text => wrap(reader.texts()?),
        ElementType::Half | ElementType::Bfloat16 => return Err(DataError::RawOnly),
    })
}

fn wrap<T: Element>(values: Vec<T>) -> Elements {
    T::wrap(Arc::new(values))
}

struct Typed<'a> {
    contents: &'a [u8],
    number: u64,
    count: usize,
}

impl Typed<'_> {
    /// The values of the field, if they are as many as there should be.
    fn whole<T>(&self, values: Vec<T>, found: usize, other: bool) -> Result<Vec<T>, DataError> {
        match found {
            0 if other && self.count > 0 => Err(DataError::OtherField),
            _ if found != self.count => Err(DataError::Count { expected: self.count, found }),
            _ => Ok(values),
        }
    }

    fn fixed<T, const SIZE: usize>(&self, convert: impl Fn([u8; SIZE]) -> T) -> Result<Vec<T>, DataError> {
        let (mut values, mut found, mut other) = (Vec::with_capacity(self.count), 0, false);
        for part in Fields::of(self.contents) {
            let part = part?;
            if part.number != self.number {
                other = true;
                continue;
            }
            let (Value::Bytes(range) | Value::Fixed(range)) = part.value else {
                return Err(WireError { reason: "a number is a varint", offset: part.whole.start }.into());
            };
            let offset = range.start;
            let (numbers, rest) = self.contents.get(range).unwrap_or_default().as_chunks::<SIZE>();
            if !rest.is_empty() {
                return Err(WireError { reason: "a packed number is cut off", offset }.into());
            }
            found += numbers.len();
            let room = self.count - values.len();
            values.extend(numbers.iter().take(room).map(|bytes| convert(*bytes)));
        }
        self.whole(values, found, other)
    }

    fn varints<T>(&self, convert: impl Fn(u64) -> Option<T>) -> Result<Vec<T>, DataError> {
        let (mut values, mut found, mut other) = (Vec::with_capacity(self.count), 0, false);
        let mut take = |value| {
            found += 1;
            if values.len() < self.count {
                values.push(convert(value).ok_or(DataError::Range { index: found - 1 })?);
            }
            Ok::<(), DataError>(())
        };
        for part in Fields::of(self.contents) {
            let part = part?;
            match part.value {
                _ if part.number != self.number => other = true,
                Value::Varint(value) => take(value)?,
                Value::Bytes(range) => {
                    let mut packed = Fields::within(self.contents, range);
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
        self.whole(values, found, other)
    }

    fn texts(&self) -> Result<Vec<Text>, DataError> {
        let (mut values, mut found, mut other) = (Vec::with_capacity(self.count), 0, false);
        for part in Fields::of(self.contents) {
            let part = part?;
            let (true, Some(range)) = (part.number == self.number, part.bytes()) else {
                other = true;
                continue;
            };
            found += 1;
            if values.len() < self.count {
                values.push(Text::copy_from_slice(self.contents.get(range).unwrap_or_default()));
            }
        }
        self.whole(values, found, other)
    }
}

/// The elements in the field of their type; `None` for a type that only raw data can hold.
pub(super) fn encode(elements: &Elements) -> Option<InferTensorContents> {
    let mut contents = InferTensorContents::default();
    match elements {
        Elements::Float(values) => contents.fp32_contents = values.to_vec(),
        Elements::Double(values) => contents.fp64_contents = values.to_vec(),
        Elements::Int8(values) => {
            contents.int_contents = values.iter().map(|value| (*value).into()).collect()
        }
        Elements::Int16(values) => {
            contents.int_contents = values.iter().map(|value| (*value).into()).collect()
        }
        Elements::Int32(values) => contents.int_contents = values.to_vec(),
        Elements::Int64(values) => contents.int64_contents = values.to_vec(),
        Elements::Uint8(values) => {
            contents.uint_contents = values.iter().map(|value| (*value).into()).collect()
        }
        Elements::Uint16(values) => {
            contents.uint_contents = values.iter().map(|value| (*value).into()).collect()
        }
        Elements::Uint32(values) => contents.uint_contents = values.to_vec(),
        Elements::Uint64(values) => contents.uint64_contents = values.to_vec(),
        Elements::Bool(values) => contents.bool_contents = values.to_vec(),
        Elements::Text(values) => contents.bytes_contents = values.iter().map(|text| text.to_vec()).collect(),
        Elements::Half(_) | Elements::Bfloat16(_) => return None,
    }
    Some(contents)
}
