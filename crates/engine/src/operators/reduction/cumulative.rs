//! CumSum and CumProd.

use crate::operators::{
    Built, Definition, Refusal,
    arguments::{owned_values, single, tensor_of, unfit},
    axes::{Setting, around, axis_of},
    definition::Builder,
    number::Number,
    types::for_types,
    widen::in_float,
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "CumSum", cumulative), ("", "CumProd", cumulative)];

fn cumulative(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        let axis = Setting::input(definition, 1)?.required("the axis")?;
        let exclusive = definition.attributes.flag("exclusive", false)?;
        let reverse = definition.attributes.flag("reverse", false)?;
        let sum = definition.operator == "CumSum";
        for_types!(
            element_type,
            [f32, f64, i8, i16, i32, i64, u8, u16, u32, u64],
            T => single(definition, element_type, move |mut arguments, _| {
                let [axis] = axis.need(&arguments)?[..] else {
                    return unfit("more than one axis is given");
                };
                let tensor = arguments.take(0)?;
                let shape = tensor.shape().to_vec();
                let (outer, size, inner) = around(&shape, axis_of(axis, shape.len())?);
                let mut values = owned_values::<T>(tensor)?;
                let (neutral, function): (T, fn(T, T) -> T) =
                    if sum { (T::ZERO, T::plus) } else { (T::ONE, T::times) };
                for row in 0..outer {
                    for column in 0..inner {
                        let mut result = neutral;
                        for step in 0..size {
                            let step = if reverse { size - 1 - step } else { step };
                            let value = &mut values[(row * size + step) * inner + column];
                            let next = function(result, *value);
                            *value = if exclusive { result } else { next };
                            result = next;
                        }
                    }
                }
                tensor_of(shape, values)
            }),
            Err(definition.unsupported_type(0))
        )
    })
}
