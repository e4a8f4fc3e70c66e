//! Arithmetic that is the same in every number type.

use std::{
    fmt::Display,
    ops::{Add, AddAssign, Div, Mul, Neg, Sub},
};

use half::{bf16, f16};

use crate::tensor::Element;

/// A number of a tensor. Whole numbers wrap, as those of ONNX Runtime do.
pub(crate) trait Number: Element + Copy + PartialOrd + Display {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The least value: minus infinity if there is one.
    const LOWEST: Self;
    /// The greatest value: infinity if there is one.
    const HIGHEST: Self;
    /// Whether it is a whole number.
    const WHOLE: bool;

    /// The sum.
    fn plus(self, other: Self) -> Self;
    /// The difference.
    fn minus(self, other: Self) -> Self;
    /// The product.
    fn times(self, other: Self) -> Self;
    /// The quotient, towards zero. Whole numbers give 0 for a divisor of 0: callers look first.
    fn over(self, divisor: Self) -> Self;
    /// The remainder with the dividend's sign. Whole numbers give 0 for a divisor of 0.
    fn remainder(self, divisor: Self) -> Self;
    /// The remainder with the divisor's sign. Whole numbers give 0 for a divisor of 0.
    fn modulo(self, divisor: Self) -> Self;
    /// The distance from zero.
    fn magnitude(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
    /// The nearest of this type: towards zero for whole numbers, which end at their bounds.
    fn from_f64(value: f64) -> Self;
    /// As a double.
    fn to_f64(self) -> f64;
    /// Of a count or an index, with the type's own rounding or wrapping.
    fn from_i64(value: i64) -> Self;

    /// Whether it is below zero.
    fn is_below_zero(self) -> bool {
        self < Self::ZERO
    }

    /// The lesser; a value that is not a number if either is.
    fn least(self, other: Self) -> Self {
        if self.is_nan() || self < other {
            self
        } else if other.is_nan() || other <= self {
            other
        } else {
            self
        }
    }

    /// The greater; a value that is not a number if either is.
    fn greatest(self, other: Self) -> Self {
        if self.is_nan() || self > other {
            self
        } else if other.is_nan() || other >= self {
            other
        } else {
            self
        }
    }
}

macro_rules! whole_numbers {
    ($($rust:ty, $magnitude:expr, $modulo:expr;)*) => {
        $(
            impl Number for $rust {
                const ZERO: Self = 0;
                const ONE: Self = 1;
                const LOWEST: Self = <$rust>::MIN;
                const HIGHEST: Self = <$rust>::MAX;
                const WHOLE: bool = true;

                fn plus(self, other: Self) -> Self {
                    self.wrapping_add(other)
                }
                fn minus(self, other: Self) -> Self {
                    self.wrapping_sub(other)
                }
                fn times(self, other: Self) -> Self {
                    self.wrapping_mul(other)
                }
                fn over(self, divisor: Self) -> Self {
                    if divisor == 0 { 0 } else { self.wrapping_div(divisor) }
                }
                fn remainder(self, divisor: Self) -> Self {
                    if divisor == 0 { 0 } else { self.wrapping_rem(divisor) }
                }
                fn modulo(self, divisor: Self) -> Self {
                    let remainder = self.remainder(divisor);
                    $modulo(remainder, divisor)
                }
                fn magnitude(self) -> Self {
                    $magnitude(self)
                }
                fn is_nan(self) -> bool {
                    false
                }
                fn from_f64(value: f64) -> Self {
                    value as Self
                }
                fn to_f64(self) -> f64 {
                    self as f64
                }
                fn from_i64(value: i64) -> Self {
                    value as Self
                }
            }
        )*
    };
}

macro_rules! signed_modulo {
    () => {
        |remainder, divisor| {
            if remainder != 0 && (remainder < 0) != (divisor < 0) { remainder + divisor } else { remainder }
        }
    };
}

macro_rules! unsigned_modulo {
    () => {
        |remainder, _| remainder
    };
}

whole_numbers! {
    i8, i8::wrapping_abs, signed_modulo!();
    i16, i16::wrapping_abs, signed_modulo!();
    i32, i32::wrapping_abs, signed_modulo!();
    i64, i64::wrapping_abs, signed_modulo!();
    u8, std::convert::identity, unsigned_modulo!();
    u16, std::convert::identity, unsigned_modulo!();
    u32, std::convert::identity, unsigned_modulo!();
    u64, std::convert::identity, unsigned_modulo!();
}

macro_rules! reals {
    ($($rust:ty, $erf:path, $floats:expr;)*) => {
        $(
            impl Number for $rust {
                const ZERO: Self = 0.0;
                const ONE: Self = 1.0;
                const LOWEST: Self = <$rust>::NEG_INFINITY;
                const HIGHEST: Self = <$rust>::INFINITY;
                const WHOLE: bool = false;

                fn plus(self, other: Self) -> Self {
                    self + other
                }
                fn minus(self, other: Self) -> Self {
                    self - other
                }
                fn times(self, other: Self) -> Self {
                    self * other
                }
                fn over(self, divisor: Self) -> Self {
                    self / divisor
                }
                fn remainder(self, divisor: Self) -> Self {
                    self % divisor
                }
                fn modulo(self, divisor: Self) -> Self {
                    let remainder = self % divisor;
                    if remainder == 0.0 {
                        remainder.abs().copysign(divisor)
                    } else if (remainder < 0.0) != (divisor < 0.0) {
                        remainder + divisor
                    } else {
                        remainder
                    }
                }
                fn magnitude(self) -> Self {
                    self.abs()
                }
                fn is_nan(self) -> bool {
                    <$rust>::is_nan(self)
                }
                fn from_f64(value: f64) -> Self {
                    value as Self
                }
                fn to_f64(self) -> f64 {
                    self.into()
                }
                fn from_i64(value: i64) -> Self {
                    value as Self
                }
            }

            impl Real for $rust {
                real_functions! {
                    exp, exp_m1, ln, ln_1p, sqrt, floor, ceil, round_ties_even, sin, cos, tan, asin, acos,
                    atan, sinh, cosh, tanh, asinh, acosh, atanh, abs,
                }
                fn power(self, exponent: Self) -> Self {
                    <$rust>::powf(self, exponent)
                }
                fn error_function(self) -> Self {
                    $erf(self)
                }
                fn is_finite(self) -> bool {
                    <$rust>::is_finite(self)
                }
                fn as_floats(values: &[Self]) -> Option<&[f32]> {
                    $floats(values)
                }
            }
        )*
    };
}

macro_rules! real_functions {
    ($($name:ident,)*) => { $( fn $name(self) -> Self { Self::$name(self) } )* };
}

macro_rules! real_signatures {
    ($( $(#[$documentation:meta])* $name:ident, )*) => { $( $(#[$documentation])* fn $name(self) -> Self; )* };
}

/// A number with the functions of analysis: float or double.
pub(crate) trait Real:
    Number
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + std::iter::Sum
{
    real_signatures! {
        exp, exp_m1, ln, ln_1p, sqrt, floor, ceil,
        /// The nearest whole number; the even one of two.
        round_ties_even,
        sin, cos, tan, asin, acos, atan, sinh, cosh, tanh, asinh, acosh, atanh, abs,
    }
    /// A power.
    fn power(self, exponent: Self) -> Self;
    /// The error function.
    fn error_function(self) -> Self;
    /// Whether it is a number and not infinite.
    fn is_finite(self) -> bool;
    /// The same numbers, if they are floats: for what kernels compute in floats only.
    fn as_floats(values: &[Self]) -> Option<&[f32]>;

    /// 1 / (1 + e^-x).
    fn sigmoid(self) -> Self {
        if self >= Self::ZERO {
            Self::ONE / (Self::ONE + (-self).exp())
        } else {
            let power = self.exp();
            power / (Self::ONE + power)
        }
    }

    /// ln(1 + e^x).
    fn softplus(self) -> Self {
        if self > Self::ZERO { self + (-self).exp().ln_1p() } else { self.exp().ln_1p() }
    }
}

reals! {
    f32, error_function_of_float, Some;
    f64, error_function_of_double, |_| None;
}

macro_rules! halves {
    ($($rust:ty),*) => {
        $(
            impl Number for $rust {
                const ZERO: Self = <$rust>::ZERO;
                const ONE: Self = <$rust>::ONE;
                const LOWEST: Self = <$rust>::NEG_INFINITY;
                const HIGHEST: Self = <$rust>::INFINITY;
                const WHOLE: bool = false;

                fn plus(self, other: Self) -> Self {
                    Self::from_f32(self.to_f32() + other.to_f32())
                }
                fn minus(self, other: Self) -> Self {
                    Self::from_f32(self.to_f32() - other.to_f32())
                }
                fn times(self, other: Self) -> Self {
                    Self::from_f32(self.to_f32() * other.to_f32())
                }
                fn over(self, divisor: Self) -> Self {
                    Self::from_f32(self.to_f32() / divisor.to_f32())
                }
                fn remainder(self, divisor: Self) -> Self {
                    Self::from_f32(self.to_f32() % divisor.to_f32())
                }
                fn modulo(self, divisor: Self) -> Self {
                    Self::from_f32(self.to_f32().modulo(divisor.to_f32()))
                }
                fn magnitude(self) -> Self {
                    Self::from_f32(self.to_f32().abs())
                }
                fn is_nan(self) -> bool {
                    <$rust>::is_nan(self)
                }
                fn from_f64(value: f64) -> Self {
                    <$rust>::from_f64(value)
                }
                fn to_f64(self) -> f64 {
                    <$rust>::to_f64(self)
                }
                fn from_i64(value: i64) -> Self {
                    <$rust>::from_f32(value as f32)
                }
            }
        )*
    };
}

halves!(f16, bf16);

/// The error function by a ratio of polynomials: right to the last bits of a float.
fn error_function_of_float(x: f32) -> f32 {
    const ABOVE: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const BELOW: [f32; 5] = [-1.456_607_2e-5, -2.133_740_6e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2];
    if x.is_nan() {
        return x;
    }
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let evaluate = |polynomial: &[f32]| {
        polynomial.iter().fold(0.0_f32, |sum, coefficient| sum.mul_add(square, *coefficient))
    };
    (x * evaluate(&ABOVE) / evaluate(&BELOW)).clamp(-1.0, 1.0)
}

/// The error function: its series of positive terms, or far out the continued fraction
/// of its complement (Abramowitz and Stegun 7.1.6 and 7.1.14).
fn error_function_of_double(x: f64) -> f64 {
    let size = x.abs();
    if x.is_nan() {
        return x;
    }
    if size < 3.0 {
        let square = size * size;
        let (mut term, mut sum) = (size, size);
        for n in 1..200 {
            term *= 2.0 * square / f64::from(2 * n + 1);
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return (sum * (-square).exp() * std::f64::consts::FRAC_2_SQRT_PI).copysign(x);
    }
    if size > 6.0 {
        return 1.0_f64.copysign(x);
    }
    let fraction = (1..=60).rev().fold(size, |below, n| size + 0.5 * f64::from(n) / below);
    (1.0 - (-size * size).exp() / (fraction * std::f64::consts::PI.sqrt())).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_function_is_that_of_the_c_library() {
        // math.erf of Python.
        for (x, expected) in [
            (0.0, 0.0),
            (1e-9, 1.128_379_167_095_512_6e-9),
            (0.5, 0.520_499_877_813_046_5),
            (-1.5, -0.966_105_146_475_310_8),
            (2.9, 0.999_958_902_121_900_5),
            (3.1, 0.999_988_351_342_632_9),
            (5.0, 0.999_999_999_998_462_6),
            (40.0, 1.0),
        ] {
            assert!((error_function_of_double(x) - expected).abs() <= 1e-15, "{x}");
            let float = f64::from(error_function_of_float(x as f32));
            assert!((float - expected).abs() <= 3e-7 * expected.abs().max(1e-9), "{x}: {float}");
        }
        assert!(error_function_of_double(f64::NAN).is_nan());
    }

    #[test]
    fn whole_numbers_wrap_and_divide_without_a_panic() {
        assert_eq!(i8::MIN.over(-1), i8::MIN);
        assert_eq!(i64::MIN.remainder(-1), 0);
        assert_eq!(7_i32.over(0), 0);
        assert_eq!((-7_i32).modulo(3), 2);
        assert_eq!(7_i32.modulo(-3), -2);
        assert_eq!(200_u8.plus(100), 44);
    }
}
