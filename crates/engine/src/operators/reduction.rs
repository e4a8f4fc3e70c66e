//! Operators that make one value of many along axes.

pub(super) mod arg;
pub(super) mod cumulative;
pub(super) mod reduce;

use std::borrow::Cow;

use super::{
    Context, OperatorError,
    arguments::{tensor_of, values_of},
    axes::product,
    layout::View,
};
use crate::tensor::{Element, Shape, Tensor};

/// A tensor as rows: each holds the elements along the reduced axes.
pub(crate) struct Rows<'a, T: Element> {
    /// The elements, row after row.
    pub(crate) values: Cow<'a, [T]>,
    /// The length of a row.
    pub(crate) length: usize,
    /// How many rows there are.
    pub(crate) count: usize,
    /// The shape with the reduced axes as 1.
    pub(crate) kept: Shape,
    /// The shape without the reduced axes.
    pub(crate) dropped: Shape,
}

impl<'a, T: Element> Rows<'a, T> {
    /// The rows of a tensor along `axes`.
    pub(crate) fn new(
        tensor: &'a Tensor,
        axes: &[usize],
        context: &Context<'_>,
    ) -> Result<Self, OperatorError> {
        let shape = tensor.shape();
        let (inner, outer): (Vec<usize>, Vec<usize>) = (0..shape.len()).partition(|axis| axes.contains(axis));
        let order: Vec<usize> = outer.iter().chain(&inner).copied().collect();
        let source = values_of::<T>(tensor)?;
        let values = if order.is_sorted() {
            Cow::Borrowed(source)
        } else {
            Cow::Owned(View::transposed(shape, &order).copy_values(source, context)?)
        };
        let dropped: Shape = outer.iter().map(|axis| shape[*axis]).collect();
        let sizes: Shape = inner.iter().map(|axis| shape[*axis]).collect();
        Ok(Self {
            values,
            length: product(&sizes),
            count: product(&dropped),
            kept: shape
                .iter()
                .enumerate()
                .map(|(axis, size)| if axes.contains(&axis) { 1 } else { *size })
                .collect(),
            dropped,
        })
    }

    /// The row with a number.
    pub(crate) fn row(&self, number: usize) -> &[T] {
        &self.values[number * self.length..(number + 1) * self.length]
    }

    /// One value of each row.
    pub(crate) fn reduce<R: Element>(
        self,
        keep: bool,
        context: &Context<'_>,
        function: impl Fn(&[T]) -> R,
    ) -> Result<Tensor, OperatorError> {
        let count = context.reserve(R::TYPE, &self.kept)?;
        let mut results = Vec::with_capacity(count);
        results.extend((0..self.count).map(|number| function(self.row(number))));
        tensor_of(if keep { self.kept } else { self.dropped }, results)
    }
}
