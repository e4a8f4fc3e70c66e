//! Relu, Clip, Shrink: functions with bounds, of every number type.

use super::unary::map;
use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{Arguments, single, unfit},
        number::Number,
        registry::Builder,
        types::for_numbers,
    },
    tensor::ElementType,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Relu", relu), ("", "Clip", clip), ("", "Shrink", shrink)];

fn relu(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for_numbers!(
        element_type,
        T => single(definition, element_type, |arguments, _| {
            map::<T>(arguments, |value| if value.is_below_zero() { T::ZERO } else { value })
        }),
        Err(definition.unsupported_type(0))
    )
}

/// Bounds are attributes below opset 11. Where the least bound is above the greatest, the
/// greatest holds, as in NumPy.
fn clip(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let (mut fixed_least, mut fixed_greatest) = (None, None);
    if definition.opset < 11 {
        fixed_least = definition.attributes.float("min")?;
        fixed_greatest = definition.attributes.float("max")?;
    } else {
        for index in [1, 2] {
            if definition.has_input(index) && definition.tensor_type(index)? != element_type {
                return Err(definition.unsupported_type(index));
            }
        }
    }
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, _| {
            let bound = |index, fixed: Option<f32>| {
                bound::<T>(&arguments, index).map(|bound| {
                    bound.or(fixed.map(|fixed| T::from_f64(fixed.into())))
                })
            };
            let (least, greatest) = (bound(1, fixed_least)?, bound(2, fixed_greatest)?);
            map::<T>(arguments, |value| {
                let value = match least {
                    Some(least) if value < least => least,
                    _ => value,
                };
                match greatest {
                    Some(greatest) if value > greatest => greatest,
                    _ => value,
                }
            })
        }),
        Err(definition.unsupported_type(0))
    )
}

fn bound<T: Number>(arguments: &Arguments, index: usize) -> Result<Option<T>, OperatorError> {
    match arguments.optional_values::<T>(index)? {
        None => Ok(None),
        Some([bound]) => Ok(Some(*bound)),
        Some(bounds) => unfit(format!("a bound of Clip has {} elements; expected one", bounds.len())),
    }
}

fn shrink(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let bias = f64::from(definition.attributes.float("bias")?.unwrap_or(0.0));
    let lambda = f64::from(definition.attributes.float("lambd")?.unwrap_or(0.5));
    if element_type == ElementType::Bool {
        return Err(definition.unsupported_type(0));
    }
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, _| {
            map::<T>(arguments, |value| {
                let number = value.to_f64();
                if number < -lambda {
                    T::from_f64(number + bias)
                } else if number > lambda {
                    T::from_f64(number - bias)
                } else if value.is_nan() {
                    value
                } else {
                    T::ZERO
                }
            })
        }),
        Err(definition.unsupported_type(0))
    )
}
