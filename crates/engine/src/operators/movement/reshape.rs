//! Reshape, Flatten, Squeeze, Unsqueeze; Expand and Tile, which repeat.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{integers_of, reshaped, single, tensor_of, unfit},
        axes::{Setting, axes_of, axis_of, product, sizes_of_input},
        broadcast::{broadcast_shape, repeat_to},
        constant::list,
        definition::Builder,
        layout::{View, steps_of},
        types::for_every_type,
    },
    tensor::{ElementType, Shape},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Reshape", reshape),
    ("", "Flatten", flatten),
    ("", "Squeeze", squeeze),
    ("", "Unsqueeze", unsqueeze),
    ("", "Expand", expand),
    ("", "Tile", tile),
];

fn needs_int64(definition: &Definition<'_>, index: usize) -> Result<(), Refusal> {
    if definition.tensor_type(index)? == ElementType::Int64 {
        Ok(())
    } else {
        Err(definition.unsupported_type(index))
    }
}

fn reshape(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_int64(definition, 1)?;
    let zero_is_a_size = definition.attributes.flag("allowzero", false)?;
    single(definition, element_type, move |mut arguments, _| {
        let wanted = list::<i64>(arguments.tensor(1)?, "the shape")?.to_vec();
        let tensor = arguments.take(0)?;
        let shape = wanted_shape(tensor.shape(), &wanted, zero_is_a_size)?;
        reshaped(tensor, shape)
    })
}

/// The shape that Reshape asks for: 0 is the size as it was, one -1 is what is left.
pub(crate) fn wanted_shape(
    found: &[usize],
    wanted: &[i64],
    zero_is_a_size: bool,
) -> Result<Shape, OperatorError> {
    let mut shape = Shape::with_capacity(wanted.len());
    let mut open = None;
    for (place, size) in wanted.iter().enumerate() {
        shape.push(match *size {
            -1 if open.is_none() => {
                open = Some(place);
                1
            }
            0 if !zero_is_a_size => match found.get(place) {
                Some(size) => *size,
                None => return unfit(format!("the shape {found:?} has no size {place} to keep")),
            },
            size => match usize::try_from(size) {
                Ok(size) => size,
                Err(_) => return unfit(format!("the shape {wanted:?} is not one to reshape to")),
            },
        });
    }
    if let Some(place) = open {
        let count = product(found);
        let others = crate::tensor::element_count(&shape)
            .ok_or_else(|| OperatorError::TooLarge { shape: shape.clone() })?;
        if others == 0 || !count.is_multiple_of(others) {
            return unfit(format!("the shape {found:?} does not fit the shape {wanted:?}"));
        }
        shape[place] = count / others;
    }
    Ok(shape)
}

fn flatten(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let axis = definition.attributes.integer("axis")?.unwrap_or(1);
    single(definition, element_type, move |mut arguments, _| {
        let tensor = arguments.take(0)?;
        let rank = tensor.rank();
        let axis = if axis == rank as i64 { rank } else { axis_of(axis, rank)? };
        let shape = [product(&tensor.shape()[..axis]), product(&tensor.shape()[axis..])];
        reshaped(tensor, shape)
    })
}

fn squeeze(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let axes = Setting::new(definition, "axes", 1, 13)?;
    single(definition, element_type, move |mut arguments, _| {
        let axes = axes.get(&arguments)?;
        let tensor = arguments.take(0)?;
        let shape = tensor.shape();
        let dropped = match axes {
            Some(axes) => axes_of(&axes, shape.len())?,
            None => (0..shape.len()).filter(|axis| shape[*axis] == 1).collect(),
        };
        if let Some(axis) = dropped.iter().find(|axis| shape[**axis] != 1) {
            return unfit(format!(
                "the dimension {axis} of the shape {shape:?} is not 1; it can't be dropped"
            ));
        }
        let kept: Shape = shape
            .iter()
            .enumerate()
            .filter(|(axis, _)| !dropped.contains(axis))
            .map(|(_, size)| *size)
            .collect();
        reshaped(tensor, kept)
    })
}

fn unsqueeze(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let axes = Setting::new(definition, "axes", 1, 13)?.required("axes")?;
    single(definition, element_type, move |mut arguments, _| {
        let axes = axes.need(&arguments)?;
        let tensor = arguments.take(0)?;
        let rank = tensor.rank() + axes.len();
        let added = axes_of(&axes, rank)?;
        let mut sizes = tensor.shape().iter().copied();
        let shape: Shape =
            (0..rank).map(|axis| if added.contains(&axis) { 1 } else { sizes.next().unwrap_or(1) }).collect();
        reshaped(tensor, shape)
    })
}

fn expand(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_int64(definition, 1)?;
    for_every_type!(
        element_type,
        T => single(definition, element_type, |arguments, context| {
            let tensor = arguments.tensor(0)?;
            let wanted = sizes_of_input(list::<i64>(arguments.tensor(1)?, "the shape")?, "a size of the shape")?;
            let shape = broadcast_shape(&[tensor.shape(), &wanted])?;
            let values = repeat_to::<T>(tensor, &shape, context)?;
            tensor_of(shape, values)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn tile(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    needs_int64(definition, 1)?;
    single(definition, element_type, |arguments, context| {
        let tensor = arguments.tensor(0)?;
        let repeats = sizes_of_input(&integers_of(arguments.tensor(1)?)?, "a repetition")?;
        let shape = tensor.shape();
        if repeats.len() != shape.len() {
            return unfit(format!("{} repetitions are given for the shape {shape:?}", repeats.len()));
        }
        let too_large = || OperatorError::TooLarge { shape: repeats.clone() };
        let sizes: Option<Shape> =
            shape.iter().zip(&repeats).map(|(size, repeats)| size.checked_mul(*repeats)).collect();
        let sizes = sizes.ok_or_else(too_large)?;
        let steps = steps_of(shape);
        let view = View {
            shape: repeats.iter().zip(shape).flat_map(|(repeats, size)| [*repeats, *size]).collect(),
            steps: steps.iter().flat_map(|step| [0, *step]).collect(),
            start: 0,
        };
        reshaped(view.copy(tensor, context)?, sizes)
    })
}

#[cfg(test)]
mod tests {
    use super::wanted_shape;

    #[test]
    fn shapes_keep_zeros_and_fill_the_open_size() {
        assert_eq!(wanted_shape(&[2, 3, 4], &[0, -1], false).unwrap(), [2, 12]);
        assert_eq!(wanted_shape(&[0, 3], &[3, 0], true).unwrap(), [3, 0]);
        assert!(wanted_shape(&[2, 3], &[-1, -1], false).is_err());
        assert!(wanted_shape(&[2, 3], &[-1, 4], false).is_err());
        assert!(wanted_shape(&[2, 3], &[-1, i64::MAX, i64::MAX], false).is_err());
        assert!(wanted_shape(&[2], &[1, 0], false).is_err());
        assert!(wanted_shape(&[0, 2], &[0, -1], true).is_err());
    }
}
