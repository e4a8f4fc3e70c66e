//! Broadcasting: the shape of operands together, and loops over their elements.

use super::{
    Context, OperatorError,
    arguments::{owned_values, tensor_of, unfit, values_of},
};
use crate::tensor::{Element, Shape, Tensor, strides};

/// The shape of several operands together: sizes must be equal or 1, from the last dimension on.
pub(crate) fn broadcast_shape(shapes: &[&[usize]]) -> Result<Shape, OperatorError> {
    let rank = shapes.iter().map(|shape| shape.len()).max().unwrap_or(0);
    let mut result = vec![1; rank];
    for shape in shapes {
        for (size, wanted) in shape.iter().rev().zip(result.iter_mut().rev()) {
            if *wanted == 1 {
                *wanted = *size;
            } else if *size != 1 && *size != *wanted {
                return unfit(format!("the shapes {shapes:?} do not broadcast: {size} is not {wanted} or 1"));
            }
        }
    }
    Ok(result)
}

/// Whether a shape broadcasts to a target without changing it.
pub(crate) fn broadcasts_to(shape: &[usize], target: &[usize]) -> bool {
    shape.len() <= target.len()
        && shape.iter().rev().zip(target.iter().rev()).all(|(size, wanted)| *size == *wanted || *size == 1)
}

/// How to step through operands that are broadcast to one shape.
pub(crate) struct Walk<const N: usize> {
    /// Sizes of the outer dimensions and what a step along each adds to every operand's offset.
    outer: Vec<(usize, [usize; N])>,
    /// The length of a row.
    pub(crate) length: usize,
    /// What a step along a row adds: 0 or 1.
    pub(crate) steps: [usize; N],
}

impl<const N: usize> Walk<N> {
    /// For operands of these shapes, each of which broadcasts to `target`.
    pub(crate) fn new(target: &[usize], shapes: [&[usize]; N]) -> Self {
        let strides = shapes.map(strides);
        let mut dimensions: Vec<(usize, [usize; N])> = Vec::new();
        for (place, size) in target.iter().enumerate() {
            if *size == 1 {
                continue;
            }
            let from_end = target.len() - place;
            let step: [usize; N] =
                std::array::from_fn(|operand| match shapes[operand].len().checked_sub(from_end) {
                    Some(own) if shapes[operand][own] != 1 => strides[operand][own],
                    _ => 0,
                });
            // A dimension that continues the one before it, in every operand, is one with it.
            match dimensions.last_mut() {
                Some((before, steps))
                    if steps.iter().zip(&step).all(|(outer, inner)| {
                        *outer == inner.saturating_mul(*size) && (*outer == 0) == (*inner == 0)
                    }) =>
                {
                    *before = before.saturating_mul(*size);
                    *steps = step;
                }
                _ => dimensions.push((*size, step)),
            }
        }
        let (length, steps) = dimensions.pop().unwrap_or((1, [0; N]));
        Self { outer: dimensions, length, steps }
    }

    /// Calls `row` with the offset of each operand at the start of every row, in order.
    pub(crate) fn rows(
        &self,
        mut row: impl FnMut([usize; N]) -> Result<(), OperatorError>,
    ) -> Result<(), OperatorError> {
        if self.length == 0 || self.outer.iter().any(|(size, _)| *size == 0) {
            return Ok(());
        }
        let mut position = vec![0; self.outer.len()];
        let mut offsets = [0; N];
        loop {
            row(offsets)?;
            let mut dimension = self.outer.len();
            loop {
                if dimension == 0 {
                    return Ok(());
                }
                dimension -= 1;
                let (size, steps) = &self.outer[dimension];
                position[dimension] += 1;
                if position[dimension] < *size {
                    for (offset, step) in offsets.iter_mut().zip(steps) {
                        *offset += step;
                    }
                    break;
                }
                for (offset, step) in offsets.iter_mut().zip(steps) {
                    *offset -= step * (size - 1);
                }
                position[dimension] = 0;
            }
        }
    }
}

/// Applies a function of two elements to two tensors that are broadcast to one shape.
pub(crate) fn zip_with<A: Element, B: Element, R: Element>(
    left: &Tensor,
    right: &Tensor,
    context: &Context<'_>,
    function: impl Fn(&A, &B) -> R,
) -> Result<Tensor, OperatorError> {
    let shape = broadcast_shape(&[left.shape(), right.shape()])?;
    let count = context.reserve(R::TYPE, &shape)?;
    let (first, second) = (values_of::<A>(left)?, values_of::<B>(right)?);
    let walk = Walk::new(&shape, [left.shape(), right.shape()]);
    let mut values = Vec::with_capacity(count);
    let length = walk.length;
    walk.rows(|[at, to]| {
        match walk.steps {
            [0, 0] => values.extend((0..length).map(|_| function(&first[at], &second[to]))),
            [0, _] => {
                let scalar = &first[at];
                values.extend(second[to..to + length].iter().map(|other| function(scalar, other)));
            }
            [_, 0] => {
                let scalar = &second[to];
                values.extend(first[at..at + length].iter().map(|own| function(own, scalar)));
            }
            _ => values.extend(
                first[at..at + length].iter().zip(&second[to..to + length]).map(|(a, b)| function(a, b)),
            ),
        }
        Ok(())
    })?;
    tensor_of(shape, values)
}

/// Like [`zip_with`] for one type, in the memory of an operand where that has the result's shape.
pub(crate) fn combine<T: Element + Copy>(
    left: Tensor,
    right: Tensor,
    context: &Context<'_>,
    function: impl Fn(T, T) -> T,
) -> Result<Tensor, OperatorError> {
    let fits_left = broadcasts_to(right.shape(), left.shape());
    if !fits_left && !broadcasts_to(left.shape(), right.shape()) {
        return zip_with::<T, T, T>(&left, &right, context, |a, b| function(*a, *b));
    }
    if fits_left {
        change(left, &right, function)
    } else {
        change(right, &left, |own: T, other| function(other, own))
    }
}

/// Changes each element by one of another tensor, which broadcasts to the first.
fn change<T: Element + Copy>(
    tensor: Tensor,
    other: &Tensor,
    function: impl Fn(T, T) -> T,
) -> Result<Tensor, OperatorError> {
    let shape = tensor.shape().to_vec();
    let others = values_of::<T>(other)?;
    let mut values = owned_values::<T>(tensor)?;
    let walk = Walk::new(&shape, [&shape, other.shape()]);
    let length = walk.length;
    walk.rows(|[at, from]| {
        if walk.steps[0] == 0 {
            // A single element.
            values[at] = function(values[at], others[from]);
            return Ok(());
        }
        let row = &mut values[at..at + length];
        if walk.steps[1] == 0 {
            let scalar = others[from];
            row.iter_mut().for_each(|value| *value = function(*value, scalar));
        } else {
            row.iter_mut()
                .zip(&others[from..from + length])
                .for_each(|(value, other)| *value = function(*value, *other));
        }
        Ok(())
    })?;
    tensor_of(shape, values)
}

/// A tensor repeated to a shape that it broadcasts to.
pub(crate) fn repeat_to<T: Element>(
    tensor: &Tensor,
    shape: &[usize],
    context: &Context<'_>,
) -> Result<Vec<T>, OperatorError> {
    if !broadcasts_to(tensor.shape(), shape) {
        return unfit(format!("the shape {:?} does not broadcast to {shape:?}", tensor.shape()));
    }
    let count = context.reserve(T::TYPE, shape)?;
    let source = values_of::<T>(tensor)?;
    let walk = Walk::new(shape, [tensor.shape()]);
    let mut values = Vec::with_capacity(count);
    walk.rows(|[at]| {
        if walk.steps[0] == 0 {
            values.extend(std::iter::repeat_n(source[at].clone(), walk.length));
        } else {
            values.extend_from_slice(&source[at..at + walk.length]);
        }
        Ok(())
    })?;
    Ok(values)
}
