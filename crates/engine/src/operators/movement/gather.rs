//! Gather, GatherElements, GatherND.

use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{integers_of, single, unfit},
        axes::{around, axis_of, index_of, product, size_of_input},
        definition::Builder,
        layout::{copy_blocks, reserve_places},
    },
    tensor::{ElementType, Shape, Tensor, strides},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Gather", gather), ("", "GatherElements", gather_elements), ("", "GatherND", gather_many)];

pub(crate) fn needs_indices(definition: &Definition<'_>, index: usize) -> Result<(), Refusal> {
    match definition.tensor_type(index)? {
        ElementType::Int64 | ElementType::Int32 => Ok(()),
        _ => Err(definition.unsupported_type(index)),
    }
}

fn gather(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_indices(definition, 1)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    single(definition, element_type, move |arguments, context| {
        let (tensor, indices) = (arguments.tensor(0)?, arguments.tensor(1)?);
        gathered(tensor, indices, axis, context)
    })
}

fn gathered(
    tensor: &Tensor,
    indices: &Tensor,
    axis: i64,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let axis = axis_of(axis, tensor.rank())?;
    let (outer, size, block) = around(tensor.shape(), axis);
    let places: Result<Vec<usize>, OperatorError> =
        integers_of(indices)?.into_iter().map(|index| index_of(index, size)).collect();
    let places = places?;
    let mut shape: Shape = tensor.shape()[..axis].to_vec();
    shape.extend(indices.shape());
    shape.extend(&tensor.shape()[axis + 1..]);
    reserve_places(outer.saturating_mul(places.len()), context)?;
    let mut starts = Vec::with_capacity(outer * places.len());
    for row in 0..outer {
        starts.extend(places.iter().map(|place| (row * size + place) * block));
    }
    copy_blocks(tensor, &starts, block, &shape, context)
}

/// For each index of an indices tensor, the place that it names along an axis of a tensor
/// of the shape `data`: GatherElements reads there, ScatterElements writes there.
pub(crate) fn element_places(
    data: &[usize],
    indices: &Tensor,
    axis: i64,
    context: &Context<'_>,
) -> Result<Vec<usize>, OperatorError> {
    let axis = axis_of(axis, data.len())?;
    let shape = indices.shape();
    let fits = shape.len() == data.len()
        && shape.iter().zip(data).enumerate().all(|(place, (own, size))| place == axis || own <= size);
    if !fits && !indices.is_empty() {
        return unfit(format!("indices of the shape {shape:?} do not fit data of the shape {data:?}"));
    }
    reserve_places(indices.len(), context)?;
    let steps = strides(data);
    let mut places = Vec::with_capacity(indices.len());
    let mut position = vec![0; shape.len()];
    for index in integers_of(indices)? {
        let along = index_of(index, data[axis])?;
        let place = position
            .iter()
            .zip(&steps)
            .enumerate()
            .map(|(place, (own, step))| if place == axis { along * step } else { own * step })
            .sum();
        places.push(place);
        for dimension in (0..shape.len()).rev() {
            position[dimension] += 1;
            if position[dimension] < shape[dimension] {
                break;
            }
            position[dimension] = 0;
        }
    }
    Ok(places)
}

fn gather_elements(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_indices(definition, 1)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(0);
    single(definition, element_type, move |arguments, context| {
        let (tensor, indices) = (arguments.tensor(0)?, arguments.tensor(1)?);
        let places = element_places(tensor.shape(), indices, axis, context)?;
        copy_blocks(tensor, &places, 1, indices.shape(), context)
    })
}

fn gather_many(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_indices(definition, 1)?;
    let batch = definition.attributes.integer("batch_dims")?.unwrap_or(0);
    let batch = size_of_input(batch, "batch_dims").map_err(|error| Refusal::new(error.to_string()))?;
    single(definition, element_type, move |arguments, context| {
        let (tensor, indices) = (arguments.tensor(0)?, arguments.tensor(1)?);
        let (data, shape) = (tensor.shape(), indices.shape());
        let Some((length, outer)) = shape.split_last() else {
            return unfit("the indices of GatherND have no dimension");
        };
        let misfit = || {
            unfit(format!(
                "indices of the shape {shape:?} do not fit data of the shape {data:?} with {batch} batch dimensions"
            ))
        };
        if batch > outer.len() || batch > data.len() || *length > data.len() - batch {
            return misfit();
        }
        if data[..batch] != outer[..batch] {
            return misfit();
        }
        let batches = product(&data[..batch]);
        let places = block_places(&data[batch..], &integers_of(indices)?, *length, product(outer))?;
        let (per_batch, size) = (product(&outer[batch..]), product(&data[batch..]));
        let block = product(&data[batch + length..]);
        reserve_places(places.len(), context)?;
        let starts: Vec<usize> = (0..batches)
            .flat_map(|number| {
                places[number * per_batch..(number + 1) * per_batch]
                    .iter()
                    .map(move |place| number * size + place)
            })
            .collect();
        let mut result = outer.to_vec();
        result.extend(&data[batch + length..]);
        copy_blocks(tensor, &starts, block, &result, context)
    })
}

/// Where each block begins that a row of `length` indices names in data of the shape `data`.
pub(crate) fn block_places(
    data: &[usize],
    indices: &[i64],
    length: usize,
    count: usize,
) -> Result<Vec<usize>, OperatorError> {
    if length == 0 {
        return Ok(vec![0; count]);
    }
    let steps = strides(data);
    indices
        .chunks_exact(length)
        .map(|row| {
            row.iter()
                .enumerate()
                .try_fold(0, |sum, (place, index)| Ok(sum + index_of(*index, data[place])? * steps[place]))
        })
        .collect()
}
