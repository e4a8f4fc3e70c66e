//! Slices of tensors along an axis, and tensors put together of slices.

use std::sync::Arc;

use crate::{
    operators::{Budget, OperatorError},
    tensor::{Element, ElementType, Elements, Tensor},
};

/// Calls a generic function for the type of elements.
macro_rules! for_type {
    ($elements:expr, $values:ident => $body:expr) => {
        match $elements {
            Elements::Float($values) => $body,
            Elements::Double($values) => $body,
            Elements::Half($values) => $body,
            Elements::Bfloat16($values) => $body,
            Elements::Int8($values) => $body,
            Elements::Int16($values) => $body,
            Elements::Int32($values) => $body,
            Elements::Int64($values) => $body,
            Elements::Uint8($values) => $body,
            Elements::Uint16($values) => $body,
            Elements::Uint32($values) => $body,
            Elements::Uint64($values) => $body,
            Elements::Bool($values) => $body,
            Elements::Text($values) => $body,
        }
    };
}

/// An axis of a tensor of this rank.
pub(super) fn resolve(axis: i64, rank: usize) -> Result<usize, OperatorError> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let resolved = if axis < 0 { axis.saturating_add(signed) } else { axis };
    usize::try_from(resolved)
        .ok()
        .filter(|resolved| *resolved < rank)
        .ok_or_else(|| OperatorError::inputs(format!("the axis {axis} is not one of {rank} dimensions")))
}

/// The part of a tensor at an index of an axis, without that axis.
pub(super) fn slice(tensor: &Tensor, axis: usize, index: usize) -> Result<Tensor, OperatorError> {
    fn part<T: Element>(values: &[T], outer: usize, size: usize, inner: usize, index: usize) -> Elements {
        let mut part = Vec::with_capacity(outer * inner);
        for block in 0..outer {
            let start = (block * size + index) * inner;
            part.extend_from_slice(values.get(start..start + inner).unwrap_or_default());
        }
        T::wrap(Arc::new(part))
    }
    let shape = tensor.shape();
    let outer: usize = shape.iter().take(axis).product();
    let inner: usize = shape.iter().skip(axis + 1).product();
    let size = shape.get(axis).copied().unwrap_or(0);
    let elements = for_type!(tensor.elements(), values => part(values, outer, size, inner, index));
    let mut shape = shape.to_vec();
    if axis < shape.len() {
        shape.remove(axis);
    }
    Tensor::new(shape, elements).ok_or_else(|| OperatorError::inputs("a slice is outside the tensor"))
}

/// Tensors of one shape, put together along a new axis.
pub(super) fn stack(
    parts: &[Tensor],
    element_type: ElementType,
    empty: &[usize],
    axis: i64,
) -> Result<Tensor, OperatorError> {
    fn join<T: Element>(parts: &[Tensor], outer: usize, inner: usize) -> Option<Elements> {
        let values: Vec<&[T]> = parts.iter().map(Tensor::values::<T>).collect::<Option<_>>()?;
        let mut joined = Vec::with_capacity(outer * inner * parts.len());
        for block in 0..outer {
            for values in &values {
                joined.extend_from_slice(values.get(block * inner..(block + 1) * inner)?);
            }
        }
        Some(T::wrap(Arc::new(joined)))
    }
    let shape = parts.first().map_or(empty, Tensor::shape);
    if parts.iter().any(|part| part.shape() != shape) {
        return Err(OperatorError::inputs(
            "the turns give tensors of different shapes, which can't be put together",
        ));
    }
    let position = resolve(axis, shape.len() + 1)?;
    let mut joined_shape = shape.to_vec();
    joined_shape.insert(position, parts.len());
    let failed = || OperatorError::inputs("the turns give tensors of different types");
    if parts.is_empty() {
        return Tensor::zeros(element_type, joined_shape).ok_or_else(failed);
    }
    let outer: usize = shape.iter().take(position).product();
    let inner: usize = shape.iter().skip(position).product();
    let elements = parts
        .first()
        .and_then(|first| {
            fn of<T: Element>(
                _: &Arc<Vec<T>>,
                parts: &[Tensor],
                outer: usize,
                inner: usize,
            ) -> Option<Elements> {
                join::<T>(parts, outer, inner)
            }
            for_type!(first.elements(), values => of(values, parts, outer, inner))
        })
        .ok_or_else(failed)?;
    Tensor::new(joined_shape, elements).ok_or_else(failed)
}

/// Tensors that are gathered over the turns of a loop, charged to the run's budget.
pub(super) struct Gathered<'a> {
    pub(super) tensors: Vec<Tensor>,
    budget: &'a dyn Budget,
    bytes: usize,
}

impl<'a> Gathered<'a> {
    pub(super) fn new(budget: &'a dyn Budget) -> Self {
        Self { tensors: Vec::new(), budget, bytes: 0 }
    }

    pub(super) fn push(&mut self, tensor: Tensor) -> Result<(), OperatorError> {
        // Twice: the parts, and the whole that is made of them. Even an empty one takes room.
        let bytes = tensor.bytes().saturating_mul(2).saturating_add(64);
        self.budget.charge(bytes)?;
        self.bytes = self.bytes.saturating_add(bytes);
        self.tensors.push(tensor);
        Ok(())
    }
}

impl Drop for Gathered<'_> {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}
