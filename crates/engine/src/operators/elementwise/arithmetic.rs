//! Add, Sub, Mul, Div, Mod.

use crate::{
    operators::{
        Built, Context, Definition, OperatorError, Refusal,
        arguments::{Arguments, single, unfit, values_of},
        broadcast::combine,
        definition::Builder,
        number::Number,
        types::for_numbers,
    },
    tensor::{ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Add", add),
    ("", "Sub", subtract),
    ("", "Mul", multiply),
    ("", "Div", divide),
    ("", "Mod", modulo),
];

/// The type of two operands that must be of one.
pub(crate) fn common_type(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    let element_type = definition.tensor_type(0)?;
    if definition.tensor_type(1)? == element_type {
        Ok(element_type)
    } else {
        Err(definition.unsupported_type(1))
    }
}

fn add(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |arguments, context| {
            apply::<T>(arguments, context, T::plus)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn subtract(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |arguments, context| {
            apply::<T>(arguments, context, T::minus)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn multiply(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |arguments, context| {
            apply::<T>(arguments, context, T::times)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn divide(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |arguments, context| {
            check_divisors::<T>(arguments.tensor(1)?)?;
            apply::<T>(arguments, context, T::over)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn modulo(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    let truncated = definition.attributes.flag("fmod", false)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, context| {
            check_divisors::<T>(arguments.tensor(1)?)?;
            if truncated {
                apply::<T>(arguments, context, T::remainder)
            } else {
                apply::<T>(arguments, context, T::modulo)
            }
        }),
        Err(definition.unsupported_type(0))
    )
}

fn apply<T: Number>(
    mut arguments: Arguments,
    context: &Context<'_>,
    function: impl Fn(T, T) -> T,
) -> Result<Tensor, OperatorError> {
    let (left, right) = (arguments.take(0)?, arguments.take(1)?);
    combine::<T>(left, right, context, function)
}

/// An error if a whole number is to be divided by zero.
fn check_divisors<T: Number>(divisors: &Tensor) -> Result<(), OperatorError> {
    if T::WHOLE && values_of::<T>(divisors)?.contains(&T::ZERO) {
        return unfit("a whole number is divided by 0");
    }
    Ok(())
}
