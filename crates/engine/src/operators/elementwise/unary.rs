//! Functions of one number without settings.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{Arguments, owned_values, single, tensor_of},
        definition::Builder,
        number::{Number, Real},
        types::{for_numbers, for_reals, for_types},
        widen::in_float,
    },
    tensor::{Element, ElementType, Tensor},
};
use adytum_kernels::{Level, activation::Activation};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[
    ("", "Abs", of_any_number),
    ("", "Sign", of_any_number),
    ("", "Neg", negate),
    ("", "Acos", of_reals),
    ("", "Acosh", of_reals),
    ("", "Asin", of_reals),
    ("", "Asinh", of_reals),
    ("", "Atan", of_reals),
    ("", "Atanh", of_reals),
    ("", "Ceil", of_reals),
    ("", "Cos", of_reals),
    ("", "Cosh", of_reals),
    ("", "Erf", of_any_real),
    ("", "Exp", of_reals),
    ("", "Floor", of_reals),
    ("", "HardSwish", of_reals),
    ("", "Log", of_reals),
    ("", "Mish", of_reals),
    ("", "Reciprocal", of_reals),
    ("", "Round", of_reals),
    ("", "Sigmoid", of_reals),
    ("", "Sin", of_reals),
    ("", "Sinh", of_reals),
    ("", "Softplus", of_reals),
    ("", "Softsign", of_reals),
    ("", "Sqrt", of_reals),
    ("", "Tan", of_reals),
    ("", "Tanh", of_reals),
    ("", "IsNaN", is_nan),
    ("", "IsInf", is_infinite),
];

/// Applies a function to every element, in place where the memory is not shared.
pub(crate) fn map<T: Element + Copy>(
    mut arguments: Arguments,
    function: impl Fn(T) -> T,
) -> Result<Tensor, OperatorError> {
    let tensor = arguments.take(0)?;
    let shape = tensor.shape().to_vec();
    let mut values = owned_values::<T>(tensor)?;
    values.iter_mut().for_each(|value| *value = function(*value));
    tensor_of(shape, values)
}

/// An operator of one function of floats and doubles. 16-bit floats are computed as floats.
fn of_reals(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, |definition| {
        let element_type = definition.tensor_type(0)?;
        if let (ElementType::Float, Some(activation)) = (element_type, activation(definition.operator)) {
            return single(definition, element_type, move |mut arguments: Arguments, _| {
                let tensor = arguments.take(0)?;
                let shape = tensor.shape().to_vec();
                let mut values = owned_values::<f32>(tensor)?;
                adytum_kernels::activation::map(Level::best(), activation, &mut values);
                tensor_of(shape, values)
            });
        }
        for_reals!(
            element_type,
            T => {
                let function = function_of::<T>(definition.operator)
                    .ok_or_else(|| Refusal::new(format!("there is no function {}", definition.operator)))?;
                single(definition, element_type, move |arguments, _| map::<T>(arguments, function))
            },
            Err(definition.unsupported_type(0))
        )
    })
}

/// The function of a kernel that is many times as fast.
fn activation(operator: &str) -> Option<Activation> {
    match operator {
        "Sigmoid" => Some(Activation::Sigmoid),
        "Tanh" => Some(Activation::Tanh),
        _ => None,
    }
}

fn function_of<T: Real>(operator: &str) -> Option<fn(T) -> T> {
    Some(match operator {
        "Acos" => T::acos,
        "Acosh" => T::acosh,
        "Asin" => T::asin,
        "Asinh" => T::asinh,
        "Atan" => T::atan,
        "Atanh" => T::atanh,
        "Ceil" => T::ceil,
        "Cos" => T::cos,
        "Cosh" => T::cosh,
        "Erf" => T::error_function,
        "Exp" => T::exp,
        "Floor" => T::floor,
        "HardSwish" => |x| {
            let gate = x / T::from_f64(6.0) + T::from_f64(0.5);
            x * gate.greatest(T::ZERO).least(T::ONE)
        },
        "Log" => T::ln,
        "Mish" => |x| x * x.softplus().tanh(),
        "Reciprocal" => |x| T::ONE / x,
        "Round" => T::round_ties_even,
        "Sigmoid" => T::sigmoid,
        "Sin" => T::sin,
        "Sinh" => T::sinh,
        "Softplus" => T::softplus,
        "Softsign" => |x| x / (T::ONE + x.abs()),
        "Sqrt" => T::sqrt,
        "Tan" => T::tan,
        "Tanh" => T::tanh,
        _ => return None,
    })
}

/// Erf takes whole numbers too, though little of it is left for them.
fn of_any_real(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    crate::operators::types::for_integers!(
        element_type,
        T => single(definition, element_type, |arguments, _| {
            map::<T>(arguments, |value| T::from_f64(value.to_f64().error_function()))
        }),
        of_reals(definition)
    )
}

fn of_any_number(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let sign = definition.operator == "Sign";
    for_numbers!(
        element_type,
        T => single(definition, element_type, move |arguments, _| {
            if !sign {
                return map::<T>(arguments, T::magnitude);
            }
            map::<T>(arguments, |value| {
                if value > T::ZERO {
                    T::ONE
                } else if value.is_below_zero() {
                    T::ZERO.minus(T::ONE)
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

fn negate(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for_types!(
        element_type,
        [f32, f64, half::f16, half::bf16],
        T => return single(definition, element_type, |arguments, _| map::<T>(arguments, |value| -value)),
        ()
    );
    for_types!(
        element_type,
        [i8, i16, i32, i64],
        T => single(definition, element_type, |arguments, _| map::<T>(arguments, T::wrapping_neg)),
        Err(definition.unsupported_type(0))
    )
}

fn is_nan(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    for_types!(
        element_type,
        [f32, f64, half::f16, half::bf16],
        T => single(definition, ElementType::Bool, |arguments, _| {
            let tensor = arguments.tensor(0)?;
            let values = arguments.values::<T>(0)?.iter().map(|value| value.is_nan()).collect();
            tensor_of::<bool>(tensor.shape(), values)
        }),
        Err(definition.unsupported_type(0))
    )
}

fn is_infinite(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let element_type = definition.tensor_type(0)?;
    let negative = definition.attributes.flag("detect_negative", true)?;
    let positive = definition.attributes.flag("detect_positive", true)?;
    for_types!(
        element_type,
        [f32, f64, half::f16, half::bf16],
        T => single(definition, ElementType::Bool, move |arguments, _| {
            let tensor = arguments.tensor(0)?;
            let found = |value: &T| {
                (positive && *value == T::INFINITY) || (negative && *value == T::NEG_INFINITY)
            };
            tensor_of::<bool>(tensor.shape(), arguments.values::<T>(0)?.iter().map(found).collect())
        }),
        Err(definition.unsupported_type(0))
    )
}
