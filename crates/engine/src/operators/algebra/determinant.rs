//! Det: determinants of square matrices, by elimination.

use crate::operators::{
    Built, Definition, Refusal,
    arguments::{single, tensor_of, unfit, values_of},
    axes::product,
    definition::Builder,
    number::Real,
    types::for_reals,
    widen::in_float,
};
use crate::tensor::Element;

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Det", determinants)];

fn determinants(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        for_reals!(
            element_type,
            T => single(definition, element_type, |arguments, context| {
                let tensor = arguments.tensor(0)?;
                let [batch @ .., rows, columns] = tensor.shape() else {
                    return unfit(format!("the shape {:?} is not of matrices", tensor.shape()));
                };
                if rows != columns {
                    return unfit(format!("a matrix of {rows} by {columns} is not square"));
                }
                let values = values_of::<T>(tensor)?;
                let count = product(batch);
                context.reserve(T::TYPE, &[*rows, *columns])?;
                context.reserve(T::TYPE, batch)?;
                let results = (0..count)
                    .map(|number| determinant(values[number * rows * rows..(number + 1) * rows * rows].to_vec(), *rows))
                    .collect();
                tensor_of::<T>(batch, results)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn determinant<T: Real>(mut matrix: Vec<T>, size: usize) -> T {
    let mut result = T::ONE;
    for step in 0..size {
        let mut pivot = step;
        for row in step + 1..size {
            if matrix[row * size + step].abs() > matrix[pivot * size + step].abs() {
                pivot = row;
            }
        }
        let value = matrix[pivot * size + step];
        if value == T::ZERO {
            return T::ZERO;
        }
        if pivot != step {
            for column in 0..size {
                matrix.swap(pivot * size + column, step * size + column);
            }
            result = -result;
        }
        result = result * value;
        for row in step + 1..size {
            let factor = matrix[row * size + step] / value;
            for column in step..size {
                let above = matrix[step * size + column];
                matrix[row * size + column] = matrix[row * size + column] - factor * above;
            }
        }
    }
    result
}
