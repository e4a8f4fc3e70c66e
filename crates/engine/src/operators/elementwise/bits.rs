//! Bits of whole numbers: BitShift, BitwiseAnd, BitwiseOr, BitwiseXor, BitwiseNot; And,
//! Or, Xor and Not of truths.

use super::arithmetic::common_type;
use crate::{
    operators::{
        Built, Definition, Refusal,
        arguments::{owned_values, single, tensor_of},
        broadcast::combine,
        registry::Builder,
        types::for_integers,
    },
    tensor::ElementType,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "BitShift", shift),
    ("", "BitwiseAnd", bitwise),
    ("", "BitwiseOr", bitwise),
    ("", "BitwiseXor", bitwise),
    ("", "BitwiseNot", bitwise_not),
    ("", "And", logic),
    ("", "Or", logic),
    ("", "Xor", logic),
    ("", "Not", not),
];

fn shift(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    let left = match definition.attributes.text("direction")? {
        Some("LEFT") => true,
        Some("RIGHT") => false,
        other => {
            let found = other.unwrap_or("missing");
            return Err(Refusal::new(format!("the direction is {found}; expected LEFT or RIGHT")));
        }
    };
    for_integers!(
        element_type,
        T => single(definition, element_type, move |mut arguments, context| {
            let (values, distances) = (arguments.take(0)?, arguments.take(1)?);
            combine::<T>(values, distances, context, |value, distance| {
                let distance = u32::try_from(i128::from(distance)).ok().filter(|distance| *distance < T::BITS);
                match (distance, left) {
                    (Some(distance), true) => value << distance,
                    (Some(distance), false) => value >> distance,
                    // Shifted by all its bits or more, nothing but copies of the sign is left.
                    (None, false) if T::MIN != 0 => value >> (T::BITS - 1),
                    (None, _) => 0,
                }
            })
        }),
        Err(definition.unsupported_type(0))
    )
}

fn bitwise(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = common_type(definition)?;
    for_integers!(
        element_type,
        T => {
            let function: fn(T, T) -> T = match definition.operator {
                "BitwiseAnd" => |a, b| a & b,
                "BitwiseOr" => |a, b| a | b,
                _ => |a, b| a ^ b,
            };
            single(definition, element_type, move |mut arguments, context| {
                let (left, right) = (arguments.take(0)?, arguments.take(1)?);
                combine::<T>(left, right, context, function)
            })
        },
        Err(definition.unsupported_type(0))
    )
}

fn bitwise_not(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for_integers!(
        element_type,
        T => single(definition, element_type, move |mut arguments, _| {
            let tensor = arguments.take(0)?;
            let shape = tensor.shape().to_vec();
            let mut values = owned_values::<T>(tensor)?;
            values.iter_mut().for_each(|value| *value = !*value);
            tensor_of(shape, values)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn logic(definition: &Definition<'_>) -> Result<Built, Refusal> {
    if common_type(definition)? != ElementType::Bool {
        return Err(definition.unsupported_type(0));
    }
    let function: fn(bool, bool) -> bool = match definition.operator {
        "And" => |a, b| a && b,
        "Or" => |a, b| a || b,
        _ => |a, b| a != b,
    };
    single(definition, ElementType::Bool, move |mut arguments, context| {
        let (left, right) = (arguments.take(0)?, arguments.take(1)?);
        combine::<bool>(left, right, context, function)
    })
}

fn not(definition: &Definition<'_>) -> Result<Built, Refusal> {
    if definition.tensor_type(0)? != ElementType::Bool {
        return Err(definition.unsupported_type(0));
    }
    single(definition, ElementType::Bool, |mut arguments, _| {
        let tensor = arguments.take(0)?;
        let shape = tensor.shape().to_vec();
        let mut values = owned_values::<bool>(tensor)?;
        values.iter_mut().for_each(|value| *value = !*value);
        tensor_of(shape, values)
    })
}
