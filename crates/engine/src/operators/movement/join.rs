//! Concat, and TensorScatter, which writes one tensor over part of another.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{owned_values, single, tensor_of, unfit, values_of},
        axes::{around, axis_of, size_of_input},
        definition::Builder,
        elementwise::variadic::type_of_all,
        types::for_every_type,
    },
    tensor::{Element, Shape, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Concat", concat), ("", "TensorScatter", tensor_scatter)];

fn concat(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = type_of_all(definition)?;
    let axis = definition
        .attributes
        .integer("axis")?
        .ok_or_else(|| Refusal::new("the axis of Concat is missing"))?;
    for_every_type!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            let mut tensors = arguments.into_tensors()?;
            if tensors.len() == 1 {
                return tensors.pop().ok_or_else(|| OperatorError::inputs("there is no input"));
            }
            let shape = joined_shape(&tensors, axis)?;
            let axis = axis_of(axis, shape.len())?;
            let count = context.reserve(T::TYPE, &shape)?;
            let (outer, _, inner) = around(&shape, axis);
            let sources: Result<Vec<(&[T], usize)>, OperatorError> = tensors
                .iter()
                .map(|tensor| Ok((values_of::<T>(tensor)?, tensor.shape()[axis] * inner)))
                .collect();
            let sources = sources?;
            let mut values = Vec::with_capacity(count);
            if count > 0 {
                for row in 0..outer {
                    for (source, length) in &sources {
                        values.extend_from_slice(&source[row * length..(row + 1) * length]);
                    }
                }
            }
            tensor_of(shape, values)
        }),
        Err(definition.unsupported_type(0))
    )
}

/// The shape of tensors joined along an axis.
pub(crate) fn joined_shape(tensors: &[Tensor], axis: i64) -> Result<Shape, OperatorError> {
    let Some(first) = tensors.first() else { return unfit("there is no tensor to join") };
    let mut shape = first.shape().to_vec();
    let axis = axis_of(axis, shape.len())?;
    for tensor in &tensors[1..] {
        let other = tensor.shape();
        let fits = other.len() == shape.len()
            && other.iter().zip(&shape).enumerate().all(|(place, (a, b))| place == axis || a == b);
        if !fits {
            return unfit(format!(
                "the shapes {:?} and {other:?} can't be joined along {axis}",
                first.shape()
            ));
        }
        shape[axis] = shape[axis]
            .checked_add(other[axis])
            .ok_or_else(|| OperatorError::TooLarge { shape: other.to_vec() })?;
    }
    Ok(shape)
}

/// A cache with an update written at a place of its own for each element of the batch.
fn tensor_scatter(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    if definition.tensor_type(1)? != element_type {
        return Err(definition.unsupported_type(1));
    }
    let axis = definition.attributes.integer("axis")?.unwrap_or(-2);
    let circular = match definition.attributes.text("mode")? {
        None | Some("linear") => false,
        Some("circular") => true,
        Some(other) => return Err(Refusal::new(format!("the mode {other:?} is not linear or circular"))),
    };
    for_every_type!(
        element_type,
        T => single(definition, element_type, move |mut arguments, _| {
            let places = arguments.integers(2)?;
            let (cache, update) = (arguments.take(0)?, arguments.take(1)?);
            write_update::<T>(cache, &update, places, axis, circular)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn write_update<T: Element>(
    cache: Tensor,
    update: &Tensor,
    places: Option<Vec<i64>>,
    axis: i64,
    circular: bool,
) -> Result<Tensor, OperatorError> {
    let shape = cache.shape().to_vec();
    let axis = axis_of(axis, shape.len())?;
    let fits = axis > 0
        && update.rank() == shape.len()
        && update.shape().iter().zip(&shape).enumerate().all(|(place, (a, b))| place == axis || a == b)
        && update.shape()[axis] <= shape[axis];
    if !fits {
        return unfit(format!("the update {:?} does not fit the cache {shape:?}", update.shape()));
    }
    let places = places.unwrap_or_else(|| vec![0; shape[0]]);
    if places.len() != shape[0] {
        return unfit(format!("{} places are given for a batch of {}", places.len(), shape[0]));
    }
    let (outer, length, inner) = around(&shape, axis);
    let added = update.shape()[axis];
    let updates = values_of::<T>(update)?;
    let mut values = owned_values::<T>(cache)?;
    for row in 0..outer {
        let place = size_of_input(places[row / (outer / shape[0])], "a place to write at")?;
        for step in 0..added {
            let mut target = place.saturating_add(step);
            if circular {
                target %= length;
            }
            if target >= length {
                return unfit(format!("the place {target} is outside a cache of {length}"));
            }
            let (to, from) = ((row * length + target) * inner, (row * added + step) * inner);
            values[to..to + inner].clone_from_slice(&updates[from..from + inner]);
        }
    }
    tensor_of(shape, values)
}
