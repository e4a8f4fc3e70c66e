//! Tensors that are known at import: variables, literals and the results computed from them.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ElementType {
    /// Single-precision numbers of IEEE 754.
    Float32,
    /// Double-precision numbers of IEEE 754.
    Float64,
    /// Half-precision numbers of IEEE 754.
    Float16,
    /// The upper 16 bits of single-precision numbers.
    BFloat16,
    /// Signed integers of 8 bits.
    Int8,
    /// Signed integers of 16 bits.
    Int16,
    /// Signed integers of 32 bits.
    Int32,
    /// Signed integers of 64 bits.
    Int64,
    /// Unsigned integers of 8 bits.
    UInt8,
    /// Unsigned integers of 16 bits.
    UInt16,
    /// Unsigned integers of 32 bits.
    UInt32,
    /// Unsigned integers of 64 bits.
    UInt64,
    /// Truth values, one byte each.
    Bool,
    /// Strings of bytes, in no fixed encoding.
    String,
}

impl ElementType {
    /// The bytes of one element; `None` for strings.
    pub(crate) fn size(self) -> Option<usize> {
        Some(match self {
            Self::Int8 | Self::UInt8 | Self::Bool => 1,
            Self::Float16 | Self::BFloat16 | Self::Int16 | Self::UInt16 => 2,
            Self::Float32 | Self::Int32 | Self::UInt32 => 4,
            Self::Float64 | Self::Int64 | Self::UInt64 => 8,
            Self::String => return None,
        })
    }

    pub(crate) fn is_float(self) -> bool {
        matches!(self, Self::Float32 | Self::Float64 | Self::Float16 | Self::BFloat16)
    }

    /// Integers whose every value fits an `i64`.
    pub(crate) fn is_integer(self) -> bool {
        matches!(
            self,
            Self::Int8 | Self::Int16 | Self::Int32 | Self::Int64 | Self::UInt8 | Self::UInt16 | Self::UInt32
        )
    }
}

/// The elements of a tensor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Elements {
    /// Little-endian, row-major.
    Fixed(Bytes),
    Strings(Arc<[Bytes]>),
}

/// A tensor. There are as many elements as the dimensions say.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Tensor {
    kind: ElementType,
    dimensions: Vec<usize>,
    elements: Elements,
}

/// How many elements a shape has, if that can be counted.
pub(crate) fn count(dimensions: &[usize]) -> Option<usize> {
    dimensions.iter().try_fold(1usize, |product, dimension| product.checked_mul(*dimension))
}

impl Tensor {
    /// Numbers or booleans from little-endian bytes; `None` if the length is wrong.
    pub(crate) fn fixed(kind: ElementType, dimensions: Vec<usize>, bytes: Bytes) -> Option<Self> {
        let expected = count(&dimensions)?.checked_mul(kind.size()?)?;
        (expected == bytes.len()).then_some(Self { kind, dimensions, elements: Elements::Fixed(bytes) })
    }

    /// Strings; `None` if their number is wrong.
    pub(crate) fn strings(dimensions: Vec<usize>, strings: Vec<Bytes>) -> Option<Self> {
        let right = count(&dimensions)? == strings.len();
        let elements = Elements::Strings(strings.into());
        right.then_some(Self { kind: ElementType::String, dimensions, elements })
    }

    /// A vector of 64-bit integers.
    pub(crate) fn vector(values: &[i64]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let dimensions = vec![values.len()];
        Self { kind: ElementType::Int64, dimensions, elements: Elements::Fixed(bytes.into()) }
    }

    /// A 64-bit integer.
    pub(crate) fn integer(value: i64) -> Self {
        let elements = Elements::Fixed(Bytes::copy_from_slice(&value.to_le_bytes()));
        Self { kind: ElementType::Int64, dimensions: Vec::new(), elements }
    }

    /// A number of any type but string, with the nearest value that the type has.
    pub(crate) fn scalar(kind: ElementType, value: f64) -> Option<Self> {
        let numbers = match kind {
            ElementType::Float64 => Numbers::Doubles(vec![value]),
            ElementType::Float32 => Numbers::Singles(vec![value as f32]),
            ElementType::Float16 => {
                let bytes = Bytes::copy_from_slice(&half_bits(value as f32).to_le_bytes());
                return Self::fixed(kind, Vec::new(), bytes);
            }
            ElementType::BFloat16 => {
                let bits = (value as f32).to_bits();
                let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
                return Self::fixed(
                    kind,
                    Vec::new(),
                    Bytes::copy_from_slice(&(rounded as u16).to_le_bytes()),
                );
            }
            _ => Numbers::Integers(vec![value as i64]),
        };
        Self::from_numbers(kind, Vec::new(), numbers)
    }

    pub(crate) fn kind(&self) -> ElementType {
        self.kind
    }

    pub(crate) fn dimensions(&self) -> &[usize] {
        &self.dimensions
    }

    pub(crate) fn elements(&self) -> &Elements {
        &self.elements
    }

    /// How many elements there are.
    pub(crate) fn len(&self) -> usize {
        count(&self.dimensions).unwrap_or(0)
    }

    /// The bytes of the elements themselves.
    pub(crate) fn content_length(&self) -> u64 {
        match &self.elements {
            Elements::Fixed(bytes) => bytes.len() as u64,
            Elements::Strings(strings) => strings.iter().map(|string| string.len() as u64).sum(),
        }
    }

    /// What the elements occupy in memory.
    pub(crate) fn byte_length(&self) -> u64 {
        match &self.elements {
            Elements::Fixed(bytes) => bytes.len() as u64,
            Elements::Strings(strings) => strings.iter().map(|string| string.len() as u64 + 32).sum(),
        }
    }

    /// The same elements in another shape.
    pub(crate) fn reshaped(&self, dimensions: Vec<usize>) -> Option<Self> {
        (count(&dimensions)? == self.len()).then(|| Self {
            kind: self.kind,
            dimensions,
            elements: self.elements.clone(),
        })
    }

    /// Integers and booleans as 64-bit integers.
    pub(crate) fn integers(&self) -> Option<Vec<i64>> {
        match self.numbers()? {
            Numbers::Integers(values) => Some(values),
            _ => None,
        }
    }

    /// Single- and double-precision numbers as doubles.
    pub(crate) fn doubles(&self) -> Option<Vec<f64>> {
        match self.numbers()? {
            Numbers::Singles(values) => Some(values.into_iter().map(f64::from).collect()),
            Numbers::Doubles(values) => Some(values),
            Numbers::Integers(_) => None,
        }
    }

    /// The one element of a number's tensor, as a double.
    pub(crate) fn single(&self) -> Option<f64> {
        match self.numbers()? {
            Numbers::Singles(values) => values.first().filter(|_| values.len() == 1).map(|v| f64::from(*v)),
            Numbers::Doubles(values) => values.first().filter(|_| values.len() == 1).copied(),
            Numbers::Integers(values) => values.first().filter(|_| values.len() == 1).map(|v| *v as f64),
        }
    }

    /// The elements, to compute with. Strings, halves and 64-bit unsigned
    /// integers are not computed with at import.
    pub(crate) fn numbers(&self) -> Option<Numbers> {
        let Elements::Fixed(bytes) = &self.elements else { return None };
        macro_rules! read {
            ($type:ty, $variant:ident, $as:ty) => {{
                let (chunks, _) = bytes.as_chunks::<{ size_of::<$type>() }>();
                Numbers::$variant(chunks.iter().map(|chunk| <$type>::from_le_bytes(*chunk) as $as).collect())
            }};
        }
        Some(match self.kind {
            ElementType::Float32 => read!(f32, Singles, f32),
            ElementType::Float64 => read!(f64, Doubles, f64),
            ElementType::Int8 => read!(i8, Integers, i64),
            ElementType::Int16 => read!(i16, Integers, i64),
            ElementType::Int32 => read!(i32, Integers, i64),
            ElementType::Int64 => read!(i64, Integers, i64),
            ElementType::UInt8 => read!(u8, Integers, i64),
            ElementType::Bool => Numbers::Integers(bytes.iter().map(|byte| i64::from(*byte != 0)).collect()),
            ElementType::UInt16 => read!(u16, Integers, i64),
            ElementType::UInt32 => read!(u32, Integers, i64),
            ElementType::UInt64 | ElementType::Float16 | ElementType::BFloat16 | ElementType::String => {
                return None;
            }
        })
    }

    /// A tensor of computed elements. Integers wrap as the type does.
    pub(crate) fn from_numbers(kind: ElementType, dimensions: Vec<usize>, numbers: Numbers) -> Option<Self> {
        macro_rules! write {
            ($values:expr, $type:ty) => {
                $values.iter().flat_map(|value| (*value as $type).to_le_bytes()).collect()
            };
        }
        let bytes: Vec<u8> = match (&numbers, kind) {
            (Numbers::Singles(values), ElementType::Float32) => write!(values, f32),
            (Numbers::Doubles(values), ElementType::Float64) => write!(values, f64),
            (Numbers::Integers(values), ElementType::Int8 | ElementType::UInt8) => write!(values, u8),
            (Numbers::Integers(values), ElementType::Int16 | ElementType::UInt16) => write!(values, u16),
            (Numbers::Integers(values), ElementType::Int32 | ElementType::UInt32) => write!(values, u32),
            (Numbers::Integers(values), ElementType::Int64) => write!(values, i64),
            (Numbers::Integers(values), ElementType::Bool) => {
                values.iter().map(|value| u8::from(*value != 0)).collect()
            }
            _ => return None,
        };
        Self::fixed(kind, dimensions, bytes.into())
    }
}

/// Elements to compute with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Numbers {
    Integers(Vec<i64>),
    Singles(Vec<f32>),
    Doubles(Vec<f64>),
}

/// The half-precision number nearest to `value`, ties to even.
fn half_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let magnitude = bits & 0x7fff_ffff;
    if magnitude > 0x7f80_0000 {
        return sign | 0x7e00;
    }
    if magnitude >= 0x4780_0000 {
        return sign | 0x7c00;
    }
    if magnitude < 0x3880_0000 {
        // Subnormal: the value in units of 2^-24, rounded by the addition of 0.5.
        let shifted = f32::from_bits(magnitude) + 0.5;
        return sign | (shifted.to_bits() - 0x3f00_0000) as u16;
    }
    let odd = magnitude >> 13 & 1;
    sign | ((magnitude - 0x3800_0000 + 0xfff + odd) >> 13) as u16
}
