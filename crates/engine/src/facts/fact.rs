//! The facts about a value at load.

use super::size::{LARGEST_DIMENSION, Size, Sizes};
use crate::tensor::{ElementType, Tensor, ValueType};

/// Whole numbers of which each element's value is followed through the graph.
const CONTENTS: usize = 128;

/// The facts about a value at load.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    /// Its type. Known of every value that a node made.
    pub value_type: Option<ValueType>,
    /// Its shape, if the number of its dimensions is known.
    pub shape: Option<Vec<Size>>,
    /// Its elements, if it is a small tensor of whole numbers made of constants and dimensions.
    pub contents: Option<Vec<Size>>,
    /// Bounds of its elements, if it is a tensor of whole numbers.
    pub range: Option<(i128, i128)>,
    /// Its value, if it is a constant in memory.
    pub constant: Option<Tensor>,
    /// Whether it is a constant, in memory or in the file.
    pub is_constant: bool,
    /// Whether it depends on constants only: rten computes such values at load.
    pub is_fixed: bool,
}

impl Fact {
    /// Of a constant.
    pub fn constant(tensor: Tensor) -> Self {
        let shape = tensor.shape().iter().map(|size| Size::known(*size)).collect();
        let integers = integers(&tensor);
        let contents = integers
            .as_ref()
            .filter(|values| tensor.rank() <= 1 && values.len() <= CONTENTS)
            .map(|values| values.iter().map(|value| Size::from(*value)).collect());
        let range = integers.and_then(|values| {
            let low = values.iter().copied().min()?;
            let high = values.iter().copied().max()?;
            Some((i128::from(low), i128::from(high)))
        });
        Self {
            value_type: Some(ValueType::Tensor(tensor.element_type())),
            shape,
            contents,
            range,
            constant: Some(tensor),
            is_constant: true,
            is_fixed: true,
        }
    }

    /// Of a constant that is still in the file.
    pub fn stored(element_type: ElementType, shape: &[usize]) -> Self {
        Self {
            value_type: Some(ValueType::Tensor(element_type)),
            shape: shape.iter().map(|size| Size::known(*size)).collect(),
            is_constant: true,
            is_fixed: true,
            ..Self::default()
        }
    }

    /// Of a value of a type.
    pub fn typed(value_type: ValueType) -> Self {
        Self { value_type: Some(value_type), ..Self::default() }
    }

    /// The element type, if it is a tensor's.
    pub fn element_type(&self) -> Option<ElementType> {
        self.value_type.as_ref().and_then(ValueType::tensor)
    }

    /// The number of dimensions, if it is known.
    pub fn rank(&self) -> Option<usize> {
        self.shape.as_ref().map(Vec::len)
    }

    /// The size of a dimension, if it is known at load.
    pub fn dimension(&self, index: usize) -> Option<i64> {
        self.shape.as_ref()?.get(index)?.value()
    }

    /// The whole shape, if it is known at load.
    pub fn known_shape(&self) -> Option<Vec<usize>> {
        self.shape.as_ref()?.iter().map(|size| usize::try_from(size.value()?).ok()).collect()
    }

    /// Its whole numbers, if all are known at load.
    pub fn known_integers(&self) -> Option<Vec<i64>> {
        self.contents.as_ref()?.iter().map(Size::value).collect()
    }

    /// Bounds of its elements, if it is a tensor of whole numbers.
    pub fn bounds(&self, sizes: &Sizes) -> Option<(i128, i128)> {
        if let Some(contents) = &self.contents {
            let bounds = contents.iter().map(|size| sizes.bounds(size));
            let joined = bounds.reduce(|left, right| (left.0.min(right.0), left.1.max(right.1)));
            return Some(joined.unwrap_or((0, 0)));
        }
        self.range.or_else(|| type_bounds(self.element_type()?))
    }

    /// Whether its elements are whole numbers that fit 32 bits, whatever inputs come.
    pub fn fits_32_bits(&self, sizes: &Sizes) -> bool {
        self.bounds(sizes)
            .is_some_and(|(low, high)| low >= i128::from(i32::MIN) && high <= i128::from(i32::MAX))
    }

    /// Keeps what was found of its elements, if that is worth it.
    pub fn with_contents(mut self, contents: Option<Vec<Size>>) -> Self {
        self.contents = contents.filter(|contents| contents.len() <= CONTENTS);
        self
    }
}

/// The smallest and the largest number of a type; `None` for other types than whole numbers.
pub fn type_bounds(element_type: ElementType) -> Option<(i128, i128)> {
    Some(match element_type {
        ElementType::Bool => (0, 1),
        ElementType::Int8 => (i128::from(i8::MIN), i128::from(i8::MAX)),
        ElementType::Uint8 => (0, i128::from(u8::MAX)),
        ElementType::Int16 => (i128::from(i16::MIN), i128::from(i16::MAX)),
        ElementType::Uint16 => (0, i128::from(u16::MAX)),
        ElementType::Int32 => (i128::from(i32::MIN), i128::from(i32::MAX)),
        ElementType::Uint32 => (0, i128::from(u32::MAX)),
        ElementType::Int64 => (i128::from(i64::MIN), i128::from(i64::MAX)),
        ElementType::Uint64 => (0, i128::from(u64::MAX)),
        _ => return None,
    })
}

/// The elements of a tensor of signed whole numbers or of bools, as 64-bit numbers.
pub fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    if let Some(values) = tensor.values::<i64>() {
        return Some(values.to_vec());
    }
    if let Some(values) = tensor.values::<i32>() {
        return Some(values.iter().map(|value| i64::from(*value)).collect());
    }
    tensor.values::<bool>().map(|values| values.iter().map(|value| i64::from(*value)).collect())
}

/// Bounds of a dimension of any value of a run.
pub fn dimension_bounds() -> (i128, i128) {
    (0, i128::from(LARGEST_DIMENSION))
}
