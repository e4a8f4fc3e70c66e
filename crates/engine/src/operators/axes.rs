//! Axes, and settings that were attributes in one opset and are inputs in a later one.

use super::{
    Arguments, Definition, OperatorError, Refusal,
    arguments::{fault, unfit},
};
use crate::tensor::Shape;

/// An axis, counted from the end if it is negative.
pub(crate) fn axis_of(axis: i64, rank: usize) -> Result<usize, OperatorError> {
    let from_end = if axis < 0 { axis.checked_add_unsigned(rank as u64) } else { Some(axis) };
    match from_end.and_then(|axis| usize::try_from(axis).ok()) {
        Some(axis) if axis < rank => Ok(axis),
        _ => unfit(format!("the axis {axis} is not one of a tensor of {rank} dimensions")),
    }
}

/// Axes, each at most once.
pub(crate) fn axes_of(axes: &[i64], rank: usize) -> Result<Vec<usize>, OperatorError> {
    let mut found = Vec::with_capacity(axes.len().min(rank));
    for axis in axes {
        let axis = axis_of(*axis, rank)?;
        if found.contains(&axis) {
            return unfit(format!("the axis {axis} is named twice"));
        }
        found.push(axis);
    }
    Ok(found)
}

/// An index, counted from the end if it is negative.
pub(crate) fn index_of(index: i64, size: usize) -> Result<usize, OperatorError> {
    let from_end = if index < 0 { index.checked_add_unsigned(size as u64) } else { Some(index) };
    match from_end.and_then(|index| usize::try_from(index).ok()) {
        Some(index) if index < size => Ok(index),
        _ => unfit(format!("the index {index} is outside a dimension of {size}")),
    }
}

/// A size or a count that an input says.
pub(crate) fn size_of_input(value: i64, what: &str) -> Result<usize, OperatorError> {
    usize::try_from(value).or_else(|_| unfit(format!("{what} is {value}; expected 0 or more")))
}

/// Sizes that an input says.
pub(crate) fn sizes_of_input(values: &[i64], what: &str) -> Result<Shape, OperatorError> {
    values.iter().map(|value| size_of_input(*value, what)).collect()
}

/// The product of sizes of a tensor that exists.
pub(crate) fn product(sizes: &[usize]) -> usize {
    // A zero anywhere makes the product zero, whatever overflows besides it.
    if sizes.contains(&0) { 0 } else { sizes.iter().product() }
}

/// The products before, at and after an axis.
pub(crate) fn around(shape: &[usize], axis: usize) -> (usize, usize, usize) {
    (product(&shape[..axis]), shape[axis], product(&shape[axis + 1..]))
}

/// Whole numbers that the node itself says, or an input of it.
#[derive(Clone, Debug)]
pub(crate) enum Setting {
    /// Neither does.
    Absent,
    /// The node does.
    Fixed(Vec<i64>),
    /// An input does.
    Input(usize),
}

impl Setting {
    /// An attribute below the opset `since`, the input `index` from then on.
    pub(crate) fn new(
        definition: &Definition<'_>,
        name: &str,
        index: usize,
        since: i64,
    ) -> Result<Self, Refusal> {
        if definition.opset >= since {
            if definition.attributes.contains(name) {
                return Err(Refusal::new(format!(
                    "the attribute {name:?} is an input of {} since opset {since}",
                    definition.operator
                )));
            }
            return Self::input(definition, index);
        }
        Ok(match definition.attributes.integers(name)? {
            Some(values) => Self::Fixed(values.to_vec()),
            None => Self::Absent,
        })
    }

    /// An input that may be left out.
    pub(crate) fn input(definition: &Definition<'_>, index: usize) -> Result<Self, Refusal> {
        if !definition.has_input(index) {
            return Ok(Self::Absent);
        }
        match definition.tensor_type(index)? {
            crate::tensor::ElementType::Int64 | crate::tensor::ElementType::Int32 => Ok(Self::Input(index)),
            _ => Err(definition.unsupported_type(index)),
        }
    }

    /// The numbers, if they are anywhere.
    pub(crate) fn get(&self, arguments: &Arguments) -> Result<Option<Vec<i64>>, OperatorError> {
        match self {
            Self::Absent => Ok(None),
            Self::Fixed(values) => Ok(Some(values.clone())),
            Self::Input(index) => arguments.integers(*index),
        }
    }

    /// The numbers, which must be there.
    pub(crate) fn need(&self, arguments: &Arguments) -> Result<Vec<i64>, OperatorError> {
        self.get(arguments)?.ok_or_else(|| fault("a setting is not there"))
    }

    /// A refusal if the numbers are nowhere.
    pub(crate) fn required(self, what: &str) -> Result<Self, Refusal> {
        match self {
            Self::Absent => Err(Refusal::new(format!("{what} is missing"))),
            other => Ok(other),
        }
    }
}
