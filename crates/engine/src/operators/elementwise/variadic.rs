//! Max, Min, Sum, Mean of any number of tensors.

use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{owned_values, single, tensor_of, unfit},
        broadcast::combine,
        definition::Builder,
        number::Number,
        types::{for_numbers, for_reals},
        widen::in_float,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Max", extreme), ("", "Min", extreme), ("", "Sum", sum), ("", "Mean", sum)];

/// The type of inputs that must all be of one.
pub(crate) fn type_of_all(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for index in 1..definition.inputs.len() {
        if definition.tensor_type(index)? != element_type {
            return Err(definition.unsupported_type(index));
        }
    }
    Ok(element_type)
}

fn extreme(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = type_of_all(definition)?;
    let greatest = definition.operator == "Max";
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            let tensors = arguments.into_tensors()?;
            if greatest {
                fold(tensors, context, T::greatest)
            } else {
                fold(tensors, context, T::least)
            }
        }),
        Err(definition.unsupported_type(0))
    )
}

fn sum(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = type_of_all(definition)?;
        let mean = definition.operator == "Mean";
        for_reals!(
            element_type,
            T => single(definition, element_type, move |arguments, context| {
                let tensors = arguments.into_tensors()?;
                let count = tensors.len() as T;
                let sum = fold(tensors, context, T::plus)?;
                if !mean {
                    return Ok(sum);
                }
                let shape = sum.shape().to_vec();
                let mut values = owned_values::<T>(sum)?;
                values.iter_mut().for_each(|value| *value /= count);
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}

fn fold<T: Number>(
    tensors: Vec<Tensor>,
    context: &Context<'_>,
    function: impl Fn(T, T) -> T,
) -> Result<Tensor, OperatorError> {
    let mut tensors = tensors.into_iter();
    let Some(mut result) = tensors.next() else { return unfit("there is no input; expected at least one") };
    for tensor in tensors {
        result = combine::<T>(result, tensor, context, &function)?;
    }
    Ok(result)
}
