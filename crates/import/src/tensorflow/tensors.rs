//! TensorFlow's types, shapes and literals.

use bytes::Bytes;

use super::messages;
use crate::tensor::{ElementType, Tensor, count};

/// The element type of a `DataType`; `None` for those without a counterpart.
pub(crate) fn element_type(kind: i32) -> Option<ElementType> {
    // References to variables of TensorFlow 1 have 100 more.
    let kind = if kind > 100 { kind - 100 } else { kind };
    Some(match kind {
        1 => ElementType::Float32,
        2 => ElementType::Float64,
        3 => ElementType::Int32,
        4 => ElementType::UInt8,
        5 => ElementType::Int16,
        6 => ElementType::Int8,
        7 => ElementType::String,
        9 => ElementType::Int64,
        10 => ElementType::Bool,
        14 => ElementType::BFloat16,
        17 => ElementType::UInt16,
        19 => ElementType::Float16,
        22 => ElementType::UInt32,
        23 => ElementType::UInt64,
        _ => return None,
    })
}

/// The dimensions of a shape that is fully known.
pub(crate) fn dimensions(shape: Option<&messages::Shape>) -> Option<Vec<usize>> {
    let Some(shape) = shape else { return Some(Vec::new()) };
    if shape.unknown_rank {
        return None;
    }
    shape.dimensions.iter().map(|dimension| usize::try_from(dimension.size).ok()).collect()
}

/// A literal. `limit` is in bytes: one value may stand for all elements.
pub(crate) fn tensor(message: &messages::Tensor, limit: u64) -> Result<Tensor, String> {
    let kind =
        element_type(message.kind).ok_or_else(|| format!("a literal of type number {}", message.kind))?;
    let dimensions = dimensions(message.shape.as_ref()).ok_or("a literal of unknown shape")?;
    let total = count(&dimensions)
        .filter(|total| {
            (*total as u64).checked_mul(kind.size().unwrap_or(32) as u64).is_some_and(|size| size <= limit)
        })
        .ok_or_else(|| format!("a literal of the shape {dimensions:?}: more than {limit} bytes"))?;
    let wrong = || format!("a literal of the shape {dimensions:?} whose values don't fit it");
    if !message.content.is_empty() {
        return Tensor::fixed(kind, dimensions.clone(), message.content.clone()).ok_or_else(wrong);
    }
    if kind == ElementType::String {
        let strings = repeated(&message.strings, total, Bytes::clone, Bytes::new()).ok_or_else(wrong)?;
        return Tensor::strings(dimensions.clone(), strings).ok_or_else(wrong);
    }
    macro_rules! bytes {
        ($values:expr, $type:ty) => {
            repeated($values, total, |value| (*value as $type).to_le_bytes(), [0; size_of::<$type>()])
                .map(|values| values.concat())
        };
    }
    let bytes: Option<Vec<u8>> = match kind {
        ElementType::Float32 => bytes!(&message.floats, f32),
        ElementType::Float64 => bytes!(&message.doubles, f64),
        ElementType::Int32 => bytes!(&message.integers, i32),
        ElementType::Int16 | ElementType::UInt16 => bytes!(&message.integers, u16),
        ElementType::Int8 | ElementType::UInt8 => bytes!(&message.integers, u8),
        ElementType::Int64 => bytes!(&message.longs, i64),
        ElementType::Bool => bytes!(&message.booleans, u8),
        ElementType::Float16 | ElementType::BFloat16 => bytes!(&message.halves, u16),
        ElementType::UInt32 => bytes!(&message.unsigned, u32),
        ElementType::UInt64 => bytes!(&message.unsigned_longs, u64),
        ElementType::String => None,
    };
    let bytes = bytes.ok_or_else(wrong)?;
    Tensor::fixed(kind, dimensions.clone(), bytes.into()).ok_or_else(wrong)
}

/// `total` values: those given, and the last of them for the rest.
fn repeated<T, U: Clone>(values: &[T], total: usize, convert: impl Fn(&T) -> U, zero: U) -> Option<Vec<U>> {
    if values.len() > total {
        return None;
    }
    let mut result: Vec<U> = values.iter().map(convert).collect();
    let last = result.last().cloned().unwrap_or(zero);
    result.resize(total, last);
    Some(result)
}

#[cfg(test)]
mod tests;
