//! Copies of a tensor in another order: views with strides, and blocks by their places.

use super::{
    Context, OperatorError,
    arguments::{tensor_of, unfit, values_of},
    types::for_every_type,
};
use crate::tensor::{Element, ElementType, Shape, Tensor};

/// Where the elements of a new tensor are in an old one.
#[derive(Clone, Debug)]
pub(crate) struct View {
    /// The shape of the new tensor.
    pub(crate) shape: Shape,
    /// What a step along each dimension adds to the place in the old tensor.
    pub(crate) steps: Vec<isize>,
    /// The place of the first element.
    pub(crate) start: usize,
}

/// The strides of a row-major tensor, signed.
pub(crate) fn steps_of(shape: &[usize]) -> Vec<isize> {
    crate::tensor::strides(shape)
        .into_iter()
        .map(|stride| isize::try_from(stride).unwrap_or(isize::MAX))
        .collect()
}

impl View {
    /// The tensor with its dimensions in another order.
    pub(crate) fn transposed(shape: &[usize], order: &[usize]) -> Self {
        let steps = steps_of(shape);
        Self {
            shape: order.iter().map(|axis| shape[*axis]).collect(),
            steps: order.iter().map(|axis| steps[*axis]).collect(),
            start: 0,
        }
    }

    /// Copies the elements.
    pub(crate) fn copy(&self, tensor: &Tensor, context: &Context<'_>) -> Result<Tensor, OperatorError> {
        for_every_type!(
            tensor.element_type(),
            T => tensor_of(self.shape.as_slice(), self.copy_values::<T>(values_of(tensor)?, context)?),
            unfit("this type can't be copied")
        )
    }

    /// Copies the elements of a slice.
    pub(crate) fn copy_values<T: Element>(
        &self,
        source: &[T],
        context: &Context<'_>,
    ) -> Result<Vec<T>, OperatorError> {
        let count = context.reserve(T::TYPE, &self.shape)?;
        let mut values = Vec::with_capacity(count);
        if count == 0 {
            return Ok(values);
        }
        // Dimensions that continue one another are one.
        let mut dimensions: Vec<(usize, isize)> = Vec::new();
        for (size, step) in self.shape.iter().zip(&self.steps) {
            if *size == 1 {
                continue;
            }
            match dimensions.last_mut() {
                Some((before, outer)) if *outer == step.saturating_mul(*size as isize) => {
                    *before *= size;
                    *outer = *step;
                }
                _ => dimensions.push((*size, *step)),
            }
        }
        let (length, step) = dimensions.pop().unwrap_or((1, 1));
        let mut position = vec![0_usize; dimensions.len()];
        let mut place = self.start as isize;
        loop {
            let start = place as usize;
            match step {
                1 => values.extend_from_slice(&source[start..start + length]),
                0 => values.extend(std::iter::repeat_n(source[start].clone(), length)),
                _ => {
                    let places = (0..length as isize).map(|index| (place + index * step) as usize);
                    values.extend(places.map(|place| source[place].clone()));
                }
            }
            let mut dimension = dimensions.len();
            loop {
                if dimension == 0 {
                    return Ok(values);
                }
                dimension -= 1;
                let (size, step) = dimensions[dimension];
                position[dimension] += 1;
                if position[dimension] < size {
                    place += step;
                    break;
                }
                position[dimension] = 0;
                place -= step * (size as isize - 1);
            }
        }
    }
}

/// Copies blocks of `length` elements that start at `starts`; there must be as many as `shape` needs.
pub(crate) fn copy_blocks(
    tensor: &Tensor,
    starts: &[usize],
    length: usize,
    shape: &[usize],
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    for_every_type!(
        tensor.element_type(),
        T => blocks::<T>(tensor, starts, length, shape, context),
        unfit("this type can't be copied")
    )
}

fn blocks<T: Element>(
    tensor: &Tensor,
    starts: &[usize],
    length: usize,
    shape: &[usize],
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let source = values_of::<T>(tensor)?;
    let count = context.reserve(T::TYPE, shape)?;
    let mut values = Vec::with_capacity(count);
    if length == 1 {
        values.extend(starts.iter().map(|start| source[*start].clone()));
    } else {
        for start in starts {
            values.extend_from_slice(&source[*start..*start + length]);
        }
    }
    tensor_of(shape, values)
}

/// Asks for the memory of `count` places in a tensor.
pub(crate) fn reserve_places(count: usize, context: &Context<'_>) -> Result<(), OperatorError> {
    context.reserve(ElementType::Uint64, &[count]).map(|_| ())
}
