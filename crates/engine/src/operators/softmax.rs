//! Softmax, LogSoftmax, Hardmax. Below opset 13 all dimensions from the axis on are one
//! row; from 13 on a row is along the axis only.

use super::{
    Built, Definition, Refusal,
    arguments::{owned_values, single, tensor_of},
    axes::{around, axis_of, product},
    definition::Builder,
    number::{Number, Real},
    rounding::Rounding,
    types::for_reals,
    widen::in_float_with,
};
use crate::tensor::Element;

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Softmax", softmax), ("", "LogSoftmax", softmax), ("", "Hardmax", softmax)];

fn softmax(definition: &Definition<'_>) -> Result<Built, Refusal> {
    // From opset 13 on the operator is defined by a function of operators.
    let given = definition.tensor_type(0)?;
    let rounding = if definition.opset < 13 { Rounding::Exact } else { Rounding::to(given) };
    let build = |definition: &Definition<'_>| {
        let element_type = definition.tensor_type(0)?;
        let flat = definition.opset < 13;
        let axis = definition.attributes.integer("axis")?.unwrap_or(if flat { 1 } else { -1 });
        for_reals!(
            element_type,
            T => {
                let function: fn(&mut [T]) = match definition.operator {
                    "Softmax" => match rounding {
                        Rounding::Exact => normalize,
                        Rounding::Half => |row| Rounding::Half.normalize(row),
                        Rounding::Bfloat16 => |row| Rounding::Bfloat16.normalize(row),
                    },
                    "LogSoftmax" => logarithms,
                    _ => hard,
                };
                single(definition, element_type, move |mut arguments, context| {
                    let tensor = arguments.take(0)?;
                    let shape = tensor.shape().to_vec();
                    let rank = shape.len();
                    let (outer, size, inner) = if rank == 0 {
                        (1, 1, 1)
                    } else if flat {
                        let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank)? };
                        (product(&shape[..axis]), product(&shape[axis..]), 1)
                    } else {
                        around(&shape, axis_of(axis, rank)?)
                    };
                    let mut values = owned_values::<T>(tensor)?;
                    if size == 0 || values.is_empty() {
                        return tensor_of(shape, values);
                    }
                    if inner == 1 {
                        values.chunks_exact_mut(size).for_each(function);
                        return tensor_of(shape, values);
                    }
                    context.reserve(T::TYPE, &[size])?;
                    let mut row = vec![T::ZERO; size];
                    for start in 0..outer {
                        for column in 0..inner {
                            let first = start * size * inner + column;
                            for (place, value) in row.iter_mut().enumerate() {
                                *value = values[first + place * inner];
                            }
                            function(&mut row);
                            for (place, value) in row.iter().enumerate() {
                                values[first + place * inner] = *value;
                            }
                        }
                    }
                    tensor_of(shape, values)
                })
            },
            Err(definition.unsupported_type(0))
        )
    };
    in_float_with(definition, build, |_| given)
}

fn greatest<T: Real>(row: &[T]) -> T {
    row.iter().fold(T::LOWEST, |greatest, value| greatest.greatest(*value))
}

/// The exponentials of a row, by their sum.
pub(crate) fn normalize<T: Real>(row: &mut [T]) {
    let shift = greatest(row);
    let mut sum = T::ZERO;
    for value in row.iter_mut() {
        *value = (*value - shift).exp();
        sum += *value;
    }
    for value in row {
        *value = *value / sum;
    }
}

fn logarithms<T: Real>(row: &mut [T]) {
    let shift = greatest(row);
    let sum: T = row.iter().map(|value| (*value - shift).exp()).sum();
    let logarithm = sum.ln();
    for value in row {
        *value = *value - shift - logarithm;
    }
}

/// 1 at the first of the greatest, 0 elsewhere.
fn hard<T: Real>(row: &mut [T]) {
    let mut best = 0;
    for (place, value) in row.iter().enumerate() {
        if *value > row[best] {
            best = place;
        }
    }
    row.fill(T::ZERO);
    if let Some(value) = row.get_mut(best) {
        *value = T::ONE;
    }
}
