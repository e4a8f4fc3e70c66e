//! The names of classes: whole numbers or texts.

use crate::{
    operators::{Attributes, Refusal},
    tensor::{ElementType, Tensor, Text},
};

/// The classes of a classifier, in the order of its scores.
#[derive(Debug)]
pub(super) enum Classes {
    /// Whole numbers.
    Integers(Vec<i64>),
    /// Texts.
    Texts(Vec<Text>),
}

impl Classes {
    /// Reads them from the attributes of these names. Texts win, as in ONNX Runtime.
    pub(super) fn read(attributes: &Attributes, integers: &str, texts: &str) -> Result<Self, Refusal> {
        match attributes.texts(texts)? {
            Some(names) if !names.is_empty() => Ok(Self::Texts(names.to_vec())),
            _ => match attributes.integers(integers)? {
                Some(numbers) if !numbers.is_empty() => Ok(Self::Integers(numbers.to_vec())),
                _ => Err(Refusal::new(format!("one of {integers} and {texts} must name the classes"))),
            },
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Integers(numbers) => numbers.len(),
            Self::Texts(names) => names.len(),
        }
    }

    /// The type of a label.
    pub(super) fn element_type(&self) -> ElementType {
        match self {
            Self::Integers(_) => ElementType::Int64,
            Self::Texts(_) => ElementType::Text,
        }
    }

    /// The classes 1 and 0 where a classifier has one score and names no two classes.
    pub(super) fn zero_and_one(&self) -> Self {
        match self {
            Self::Integers(_) => Self::Integers(vec![0, 1]),
            Self::Texts(_) => Self::Texts(vec![Text::from_static(b"0"), Text::from_static(b"1")]),
        }
    }

    /// The labels of the classes at these indices, each below [`Classes::len`].
    pub(super) fn labels(&self, indices: &[usize]) -> Tensor {
        match self {
            Self::Integers(numbers) => Tensor::vector(indices.iter().map(|index| numbers[*index]).collect()),
            Self::Texts(names) => {
                Tensor::vector(indices.iter().map(|index| names[*index].clone()).collect::<Vec<_>>())
            }
        }
    }
}
