//! com.microsoft's EmbedLayerNormalization: the sum of embeddings, normalised.

use super::layer::Normal;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{several, tensor_of, unfit},
        axes::index_of,
        definition::Builder,
        number::Real,
        types::for_types,
        widen::in_float_with,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("com.microsoft", "EmbedLayerNormalization", embed)];

fn embed(definition: &Definition<'_>) -> Result<Built, Refusal> {
    for index in [0, 1, 7, 8] {
        if (index == 0 || definition.has_input(index)) && definition.tensor_type(index)? != ElementType::Int32
        {
            return Err(definition.unsupported_type(index));
        }
    }
    if definition.attributes.integer("mask_index_type")?.unwrap_or(1) > 1 {
        return Err(Refusal::new("a mask_index_type above 1 is not computed here"));
    }
    let table = definition.tensor_type(2)?;
    let epsilon = definition.attributes.float("epsilon")?.unwrap_or(1e-12);
    let build = |definition: &Definition<'_>| -> Result<Built, Refusal> {
        let element_type = definition.tensor_type(2)?;
        for index in [3, 4, 5, 6] {
            if (index != 4 || definition.has_input(4)) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
        let types = vec![element_type, ElementType::Int32, element_type];
        for_types!(
            element_type,
            [f32, f64],
            T => several(definition, types, move |arguments, context| run::<T>(&arguments, epsilon, context)),
            Err(definition.unsupported_type(2))
        )
    };
    in_float_with(definition, build, |_| table)
}

fn run<T: Real>(
    arguments: &Arguments,
    epsilon: f32,
    context: &Context<'_>,
) -> Result<Vec<Tensor>, OperatorError> {
    let [batch, rows] = *arguments.tensor(0)?.shape() else {
        return unfit(format!(
            "words have the shape {:?}; expected batch and rows",
            arguments.tensor(0)?.shape()
        ));
    };
    let [_, width] = *arguments.tensor(2)?.shape() else {
        return unfit("the table of words is not a matrix");
    };
    let shape = [batch, rows, width];
    let count = context.reserve(T::TYPE, &shape)?;
    let mut sum = vec![T::ZERO; count];
    let places: Vec<i32> = match arguments.optional_values::<i32>(8)? {
        Some(positions) => positions.to_vec(),
        None => (0..rows).map(|row| row as i32).collect(),
    };
    let mut add = |table: usize, indices: Option<&[i32]>| -> Result<(), OperatorError> {
        let (Some(indices), Some(tensor)) = (indices, arguments.optional(table)) else { return Ok(()) };
        let [length, found] = *tensor.shape() else { return unfit("a table is not a matrix") };
        if found != width || (indices.len() != batch * rows && indices.len() != rows) {
            return unfit(format!("a table of the shape {:?} or its indices do not fit", tensor.shape()));
        }
        let values = arguments.values::<T>(table)?;
        if width == 0 {
            return Ok(());
        }
        for (row, index) in sum.chunks_exact_mut(width).zip(indices.iter().cycle()) {
            if *index < 0 {
                return unfit(format!("the index {index} is below 0"));
            }
            let place = index_of((*index).into(), length)?;
            for (value, own) in row.iter_mut().zip(&values[place * width..(place + 1) * width]) {
                *value += *own;
            }
        }
        Ok(())
    };
    add(2, Some(arguments.values(0)?))?;
    add(3, Some(&places))?;
    add(4, arguments.optional_values(1)?)?;
    let sum = tensor_of(shape, sum)?;
    let normal = Normal { epsilon, centred: true };
    let (result, _, _) =
        normal.run::<T>(sum.clone(), Some(arguments.tensor(5)?), Some(arguments.tensor(6)?), 2, context)?;
    // How many words of each row count.
    let lengths = match arguments.optional_values::<i32>(7)? {
        Some(marks) if marks.len() == batch * rows && rows > 0 => {
            marks.chunks_exact(rows).map(|row| row.iter().filter(|mark| **mark == 1).count() as i32).collect()
        }
        Some(_) => return unfit("the mask does not fit the words"),
        None => vec![0; batch],
    };
    Ok(vec![result, Tensor::vector::<i32>(lengths), sum])
}
