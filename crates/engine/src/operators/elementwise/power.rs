//! Pow: the result is of the base's type, whatever the exponent's.

use crate::{
    operators::{
        Built, Definition, OperatorError, Refusal,
        arguments::{single, unfit, values_of},
        broadcast::zip_with,
        definition::Builder,
        number::{Number, Real},
        types::{for_numbers, for_reals},
        widen::{in_float, widened_type},
    },
    tensor::{Element, ElementType, Tensor},
};

/// The operators of this file.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] = &[("", "Pow", power)];

fn power(definition: &Definition<'_>) -> Result<Built, Refusal> {
    in_float(definition, build)
}

fn build(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let (base, exponent) = (definition.tensor_type(0)?, definition.tensor_type(1)?);
    let refused = || Err(definition.unsupported_type(1));
    for_numbers!(exponent, _E => (), return refused());
    for_reals!(
        base,
        T => return if exponent == base {
            single(definition, base, |arguments, context| {
                let (base, exponent) = (arguments.tensor(0)?, arguments.tensor(1)?);
                // Squares are common, and exact.
                if let [two] = values_of::<T>(exponent)?
                    && *two == 2.0
                    && exponent.rank() <= base.rank()
                {
                    return zip_with::<T, T, T>(base, exponent, context, |base, _| base * base);
                }
                zip_with::<T, T, T>(base, exponent, context, |base, exponent| base.power(*exponent))
            })
        } else {
            single(definition, base, |arguments, context| {
                let exponent = as_doubles(arguments.tensor(1)?)?;
                zip_with::<T, f64, T>(arguments.tensor(0)?, &exponent, context, |base, exponent| {
                    T::from_f64(base.to_f64().powf(*exponent))
                })
            })
        },
        ()
    );
    for_numbers!(
        base,
        T => if matches!(widened_type(exponent), ElementType::Float | ElementType::Double) {
            single(definition, base, |arguments, context| {
                let exponent = as_doubles(arguments.tensor(1)?)?;
                zip_with::<T, f64, T>(arguments.tensor(0)?, &exponent, context, |base, exponent| {
                    T::from_f64(base.to_f64().powf(*exponent))
                })
            })
        } else {
            single(definition, base, |arguments, context| {
                let exponent = as_integers(arguments.tensor(1)?)?;
                let negative = values_of::<i64>(&exponent)?.iter().any(|exponent| *exponent < 0);
                if negative && values_of::<T>(arguments.tensor(0)?)?.contains(&T::ZERO) {
                    return unfit("the whole number 0 can't be raised to a negative power");
                }
                zip_with::<T, i64, T>(arguments.tensor(0)?, &exponent, context, |base, exponent| {
                    whole_power(*base, *exponent)
                })
            })
        },
        Err(definition.unsupported_type(0))
    )
}

fn as_doubles(tensor: &Tensor) -> Result<Tensor, OperatorError> {
    convert(tensor, Number::to_f64, Number::to_f64, |value| value as f64)
}

/// Exponents beyond 63 bits end there: the parity, which is all that matters of them, is kept.
fn as_integers(tensor: &Tensor) -> Result<Tensor, OperatorError> {
    convert(
        tensor,
        |value: f32| value as i64,
        |value: f64| value as i64,
        |value| i64::try_from(value).unwrap_or(i64::MAX - 1 + (value & 1) as i64),
    )
}

fn convert<R: Element>(
    tensor: &Tensor,
    float: impl Fn(f32) -> R,
    double: impl Fn(f64) -> R,
    whole: impl Fn(i128) -> R,
) -> Result<Tensor, OperatorError> {
    let shape = tensor.shape();
    if let Some(values) = tensor.values::<f32>() {
        let values = values.iter().map(|value| float(*value)).collect();
        return crate::operators::arguments::tensor_of::<R>(shape, values);
    }
    if let Some(values) = tensor.values::<f64>() {
        let values = values.iter().map(|value| double(*value)).collect();
        return crate::operators::arguments::tensor_of::<R>(shape, values);
    }
    crate::operators::types::for_integers!(
        tensor.element_type(),
        T => {
            let values = values_of::<T>(tensor)?.iter().map(|value| whole(i128::from(*value))).collect();
            crate::operators::arguments::tensor_of::<R>(shape, values)
        },
        unfit(format!("{} is not a number", tensor.element_type()))
    )
}

/// A power of whole numbers, wrapped as products are. A negative exponent gives what is
/// left of the fraction: 0 but for the bases 1 and -1.
fn whole_power<T: Number>(base: T, exponent: i64) -> T {
    if exponent < 0 {
        let minus_one = T::ZERO.minus(T::ONE);
        return if base == T::ONE {
            T::ONE
        } else if base == minus_one && minus_one < T::ZERO {
            if exponent % 2 == 0 { T::ONE } else { minus_one }
        } else {
            T::ZERO
        };
    }
    let (mut result, mut square, mut left) = (T::ONE, base, exponent);
    while left > 0 {
        if left & 1 == 1 {
            result = result.times(square);
        }
        square = square.times(square);
        left >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_whole_numbers_are_exact() {
        assert_eq!(whole_power(10_i64, 11), 100_000_000_000);
        assert_eq!(whole_power(-2_i32, 3), -8);
        assert_eq!(whole_power(-1_i32, -3), -1);
        assert_eq!(whole_power(2_u8, -1), 0);
        assert_eq!(whole_power(255_u8, -1), 0);
        // pow(3, 200, 256) of Python.
        assert_eq!(whole_power(3_u8, 200), 161);
    }
}
