//! Equal, Less, LessOrEqual, Greater, GreaterOrEqual, and Where.

use super::arithmetic::common_type;
use crate::{
    operators::{
        Arguments, Built, Context, Definition, OperatorError, Refusal,
        arguments::{single, tensor_of, values_of},
        broadcast::{Walk, broadcast_shape, zip_with},
        registry::Builder,
        types::{for_every_type, for_numbers},
    },
    tensor::{Element, ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Equal", equal),
    ("", "Less", order),
    ("", "LessOrEqual", order),
    ("", "Greater", order),
    ("", "GreaterOrEqual", order),
    ("", "Where", choose),
];

fn equal(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_every_type!(
        element_type,
        T => single(definition, ElementType::Bool, |arguments, context| {
            zip_with::<T, T, bool>(arguments.tensor(0)?, arguments.tensor(1)?, context, |a, b| a == b)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn order(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_numbers!(
        element_type,
        T => {
            let function: fn(&T, &T) -> bool = match definition.operator {
                "Less" => T::lt,
                "LessOrEqual" => T::le,
                "Greater" => T::gt,
                _ => T::ge,
            };
            single(definition, ElementType::Bool, move |arguments, context| {
                zip_with::<T, T, bool>(arguments.tensor(0)?, arguments.tensor(1)?, context, function)
            })
        },
        Err(definition.unsupported_type(0))
    )
}

fn choose(definition: &Definition<'_>) -> Result<Built, Refusal> {
    if definition.tensor_type(0)? != ElementType::Bool {
        return Err(definition.unsupported_type(0));
    }
    let element_type = definition.tensor_type(1)?;
    if definition.tensor_type(2)? != element_type {
        return Err(definition.unsupported_type(2));
    }
    for_every_type!(
        element_type,
        T => single(definition, element_type, chosen::<T>),
        Err(definition.unsupported_type(1))
    )
}

fn chosen<T: Element>(arguments: Arguments, context: &Context<'_>) -> Result<Tensor, OperatorError> {
    let inputs = [arguments.tensor(0)?, arguments.tensor(1)?, arguments.tensor(2)?];
    let shapes = inputs.map(|tensor| tensor.shape());
    let shape = broadcast_shape(&shapes)?;
    let count = context.reserve(T::TYPE, &shape)?;
    let conditions = values_of::<bool>(inputs[0])?;
    let (yes, no) = (values_of::<T>(inputs[1])?, values_of::<T>(inputs[2])?);
    let walk = Walk::new(&shape, shapes);
    let [condition_step, yes_step, no_step] = walk.steps;
    let mut values = Vec::with_capacity(count);
    walk.rows(|[condition, at, to]| {
        values.extend((0..walk.length).map(|index| {
            let value = if conditions[condition + index * condition_step] {
                &yes[at + index * yes_step]
            } else {
                &no[to + index * no_step]
            };
            value.clone()
        }));
        Ok(())
    })?;
    tensor_of(shape, values)
}
