//! Compress, NonZero, OneHot, Trilu.

use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{owned_values, single, tensor_of, unfit, values_of},
        axes::{around, axis_of, product},
        cast::as_doubles,
        layout::{copy_blocks, reserve_places},
        registry::Builder,
        types::for_every_type,
    },
    tensor::{Element, ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Compress", compress),
    ("", "NonZero", non_zero),
    ("", "OneHot", one_hot),
    ("", "Trilu", triangle),
];

fn compress(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    if definition.tensor_type(1)? != ElementType::Bool {
        return Err(definition.unsupported_type(1));
    }
    let axis = definition.attributes.integer("axis")?;
    single(definition, element_type, move |arguments, context| {
        let (tensor, conditions) = (arguments.tensor(0)?, arguments.values::<bool>(1)?);
        let (shape, axis) = match axis {
            Some(axis) => (tensor.shape().to_vec(), axis_of(axis, tensor.rank())?),
            None => (vec![tensor.len()], 0),
        };
        let (outer, size, block) = around(&shape, axis);
        let chosen: Vec<usize> = conditions
            .iter()
            .take(size)
            .enumerate()
            .filter(|(_, chosen)| **chosen)
            .map(|(place, _)| place)
            .collect();
        let mut result = shape;
        result[axis] = chosen.len();
        reserve_places(outer.saturating_mul(chosen.len()), context)?;
        let mut starts = Vec::with_capacity(outer * chosen.len());
        for row in 0..outer {
            starts.extend(chosen.iter().map(|place| (row * size + place) * block));
        }
        copy_blocks(tensor, &starts, block, &result, context)
    })
}

fn non_zero(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for_every_type!(
        element_type,
        T => single(definition, ElementType::Int64, |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let zero = T::default();
            let values = values_of::<T>(tensor)?;
            let found = values.iter().filter(|value| **value != zero).count();
            // A tensor without dimensions is counted as one of a single dimension.
            let shape = if tensor.rank() == 0 { &[1][..] } else { tensor.shape() };
            let count = context.reserve(ElementType::Int64, &[shape.len(), found])?;
            let mut indices = vec![0_i64; count];
            let mut position = vec![0_i64; shape.len()];
            let mut column = 0;
            for value in values {
                if *value != zero {
                    for (axis, index) in position.iter().enumerate() {
                        indices[axis * found + column] = *index;
                    }
                    column += 1;
                }
                for axis in (0..shape.len()).rev() {
                    position[axis] += 1;
                    if position[axis] < shape[axis] as i64 {
                        break;
                    }
                    position[axis] = 0;
                }
            }
            tensor_of([shape.len(), found], indices)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn one_hot(definition: &Definition<'_>) -> Result<Built, Refusal> {
    for index in [0, 1] {
        if matches!(definition.tensor_type(index)?, ElementType::Bool | ElementType::Text) {
            return Err(definition.unsupported_type(index));
        }
    }
    let element_type = definition.tensor_type(2)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(-1);
    for_every_type!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            hot::<T>(&arguments, axis, context)
        }),
        Err(definition.unsupported_type(2))
    )
}

fn hot<T: Element>(arguments: &Arguments, axis: i64, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    let [off, on] = arguments.values::<T>(2)? else {
        return unfit("the values of OneHot are not two: off and on");
    };
    let depth = match as_doubles(arguments.tensor(1)?)?.as_slice() {
        [depth] if *depth >= 1.0 && *depth < 9e18 => *depth as usize,
        depth => return unfit(format!("the depth of OneHot is {depth:?}; expected one number from 1")),
    };
    let indices = arguments.tensor(0)?;
    let mut shape = indices.shape().to_vec();
    let axis = axis_of(axis, shape.len() + 1)?;
    shape.insert(axis, depth);
    let count = context.reserve(T::TYPE, &shape)?;
    let (_, _, inner) = around(&shape, axis);
    let mut values = vec![off.clone(); count];
    let bound = depth as f64;
    for (place, index) in as_doubles(indices)?.into_iter().enumerate() {
        let index = index.trunc();
        let index = if index < 0.0 { index + bound } else { index };
        if (0.0..bound).contains(&index) {
            let (row, column) = (place / inner, place % inner);
            values[(row * depth + index as usize) * inner + column] = on.clone();
        }
    }
    tensor_of(shape, values)
}

fn triangle(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let upper = definition.attributes.flag("upper", true)?;
    if definition.has_input(1) && definition.tensor_type(1)? != ElementType::Int64 {
        return Err(definition.unsupported_type(1));
    }
    for_every_type!(
        element_type,
        T => single(definition, element_type, move |mut arguments, _| {
            let diagonal = arguments.integer(1)?.unwrap_or(0);
            cut::<T>(arguments.take(0)?, upper, diagonal)
        }),
        Err(definition.unsupported_type(0))
    )
}

/// Zeros on one side of a diagonal of each matrix.
fn cut<T: Element>(tensor: Tensor, upper: bool, diagonal: i64) -> Result<Tensor, OperatorError> {
    let shape = tensor.shape().to_vec();
    let [.., rows, columns] = shape.as_slice() else {
        return unfit(format!("the shape {shape:?} is not of matrices"));
    };
    let (rows, columns) = (*rows, *columns);
    let mut values = owned_values::<T>(tensor)?;
    if product(&shape) > 0 {
        for (number, row) in values.chunks_exact_mut(columns).enumerate() {
            // The first column on the diagonal's right side.
            let place = (number % rows) as i128 + i128::from(diagonal);
            let dropped = if upper {
                0..place.clamp(0, columns as i128) as usize
            } else {
                (place + 1).clamp(0, columns as i128) as usize..columns
            };
            row[dropped].fill(T::default());
        }
    }
    tensor_of(shape, values)
}

/// Copies rows that are chosen along an axis: for operators that sort.
pub(crate) fn rows_along(
    tensor: &Tensor,
    axis: usize,
    chosen: &[usize],
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let (outer, size, block) = around(tensor.shape(), axis);
    reserve_places(outer.saturating_mul(chosen.len()), context)?;
    let starts: Vec<usize> =
        (0..outer).flat_map(|row| chosen.iter().map(move |place| (row * size + place) * block)).collect();
    let mut shape = tensor.shape().to_vec();
    shape[axis] = chosen.len();
    copy_blocks(tensor, &starts, block, &shape, context)
}
