//! Raw tensors: elements one after the other, little-endian, row-major. A text is its length in
//! four bytes and its bytes.

use std::sync::Arc;

use adytum_engine::tensor::{Element, ElementType, Elements, Text};
use half::{bf16, f16};

/// Why bytes are not the elements that they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RawError {
    /// There are more or fewer bytes than the elements take.
    #[error("expected {expected} bytes of raw data for the shape, found {found}")]
    Length { expected: usize, found: usize },
    /// There are more or fewer texts than the shape has elements.
    #[error("expected {expected} values for the shape, found {found}")]
    Count { expected: usize, found: usize },
    /// The bytes end within a text.
    #[error("the text {index} is cut off; expected its length in four bytes, and as many bytes")]
    TextCutOff { index: usize },
}

/// Reads `count` elements.
pub fn decode_raw(raw: &[u8], element_type: ElementType, count: usize) -> Result<Elements, RawError> {
    if element_type == ElementType::Text {
        return texts(raw, count).map(|texts| Text::wrap(Arc::new(texts)));
    }
    let expected = count.saturating_mul(element_type.size());
    if raw.len() != expected {
        return Err(RawError::Length { expected, found: raw.len() });
    }
    macro_rules! numbers {
        ($type:ty) => {
            <$type>::wrap(Arc::new(
                raw.as_chunks::<{ size_of::<$type>() }>()
                    .0
                    .iter()
                    .map(|bytes| <$type>::from_le_bytes(*bytes))
                    .collect(),
            ))
        };
    }
    Ok(match element_type {
        ElementType::Float => numbers!(f32),
        ElementType::Double => numbers!(f64),
        ElementType::Half => numbers!(f16),
        ElementType::Bfloat16 => numbers!(bf16),
        ElementType::Int8 => numbers!(i8),
        ElementType::Int16 => numbers!(i16),
        ElementType::Int32 => numbers!(i32),
        ElementType::Int64 => numbers!(i64),
        ElementType::Uint8 => numbers!(u8),
        ElementType::Uint16 => numbers!(u16),
        ElementType::Uint32 => numbers!(u32),
        ElementType::Uint64 => numbers!(u64),
        ElementType::Bool => bool::wrap(Arc::new(raw.iter().map(|byte| *byte != 0).collect())),
        ElementType::Text => Text::wrap(Arc::default()),
    })
}

fn texts(raw: &[u8], count: usize) -> Result<Vec<Text>, RawError> {
    let mut rest = raw;
    // A text takes four bytes at least: more room is not made for what is not there.
    let mut texts = Vec::with_capacity(count.min(raw.len() / 4));
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let Some((text, after)) = after.split_at_checked(length) else {
            return Err(RawError::TextCutOff { index: texts.len() });
        };
        if texts.len() == count {
            return Err(RawError::Count { expected: count, found: count + 1 });
        }
        texts.push(Text::copy_from_slice(text));
        rest = after;
    }
    if !rest.is_empty() {
        return Err(RawError::TextCutOff { index: texts.len() });
    }
    if texts.len() != count {
        return Err(RawError::Count { expected: count, found: texts.len() });
    }
    Ok(texts)
}

/// Writes elements.
pub fn encode_raw(elements: &Elements) -> Vec<u8> {
    macro_rules! numbers {
        ($values:expr) => {{
            let mut raw = Vec::with_capacity(elements.len() * elements.element_type().size());
            for value in $values.iter() {
                raw.extend_from_slice(&value.to_le_bytes());
            }
            raw
        }};
    }
    match elements {
        Elements::Float(values) => numbers!(values),
        Elements::Double(values) => numbers!(values),
        Elements::Half(values) => numbers!(values),
        Elements::Bfloat16(values) => numbers!(values),
        Elements::Int8(values) => numbers!(values),
        Elements::Int16(values) => numbers!(values),
        Elements::Int32(values) => numbers!(values),
        Elements::Int64(values) => numbers!(values),
        Elements::Uint8(values) => values.as_ref().clone(),
        Elements::Uint16(values) => numbers!(values),
        Elements::Uint32(values) => numbers!(values),
        Elements::Uint64(values) => numbers!(values),
        Elements::Bool(values) => values.iter().map(|value| u8::from(*value)).collect(),
        Elements::Text(values) => {
            let mut raw = Vec::with_capacity(values.iter().map(|text| text.len() + 4).sum());
            for text in values.iter() {
                // A model's text never has 4 GiB.
                raw.extend_from_slice(&u32::try_from(text.len()).unwrap_or(u32::MAX).to_le_bytes());
                raw.extend_from_slice(text);
            }
            raw
        }
    }
}
