//! LpNormalization and MeanVarianceNormalization.

use super::moments;
use crate::operators::{
    Built, Definition, Refusal,
    arguments::{owned_values, single, tensor_of},
    axes::{around, axes_of, axis_of},
    layout::View,
    number::Number,
    reduction::Rows,
    registry::Builder,
    types::for_reals,
    widen::in_float,
};
use crate::tensor::Element;

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "LpNormalization", by_norm), ("", "MeanVarianceNormalization", by_moments)];

fn by_norm(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let axis = definition.attributes.integer("axis")?.unwrap_or(-1);
        let squares = match definition.attributes.integer("p")? {
            None | Some(2) => true,
            Some(1) => false,
            Some(other) => return Err(Refusal::new(format!("the norm of order {other} is not 1 or 2"))),
        };
        for_reals!(
            element_type,
            T => single(definition, element_type, move |mut arguments, _| {
                let tensor = arguments.take(0)?;
                let shape = tensor.shape().to_vec();
                let (outer, size, inner) = around(&shape, axis_of(axis, shape.len())?);
                let mut values = owned_values::<T>(tensor)?;
                for row in 0..outer {
                    for column in 0..inner {
                        let places = (0..size).map(|step| (row * size + step) * inner + column);
                        let norm = places.clone().fold(T::ZERO, |sum, place| {
                            let value = values[place];
                            sum + if squares { value * value } else { value.abs() }
                        });
                        let norm = if squares { norm.sqrt() } else { norm };
                        if norm != T::ZERO {
                            places.for_each(|place| values[place] /= norm);
                        }
                    }
                }
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn by_moments(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let axes = definition.attributes.integers("axes")?.unwrap_or(&[0, 2, 3]).to_vec();
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let axes = axes_of(&axes, tensor.rank())?;
                let rows = Rows::<T>::new(tensor, &axes, context)?;
                context.reserve(T::TYPE, tensor.shape())?;
                let mut values = rows.values.to_vec();
                for row in values.chunks_exact_mut(rows.length.max(1)) {
                    let (mean, variance) = moments(row);
                    let deviation = variance.sqrt() + T::from_f64(1e-9);
                    row.iter_mut().for_each(|value| *value = (*value - mean) / deviation);
                }
                // Back from rows to the order of the dimensions as they were.
                let (inner, outer): (Vec<usize>, Vec<usize>) =
                    (0..tensor.rank()).partition(|axis| axes.contains(axis));
                let order: Vec<usize> = outer.into_iter().chain(inner).collect();
                let moved: Vec<usize> = order.iter().map(|axis| tensor.shape()[*axis]).collect();
                let mut back = vec![0; order.len()];
                for (place, axis) in order.iter().enumerate() {
                    back[*axis] = place;
                }
                View::transposed(&moved, &back).copy(&tensor_of(moved.as_slice(), values)?, context)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}
