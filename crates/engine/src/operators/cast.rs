//! Cast, CastLike, BitCast: the same values, or the same bits, in another type.

mod text;

use half::{bf16, f16};

use super::{
    Built, Context, Definition, OperatorError, Refusal,
    arguments::{single, tensor_of, unfit, values_of},
    number::Number,
    registry::Builder,
    types::{for_every_type, for_numbers, for_types},
};
use crate::tensor::{Element, ElementType, Tensor, Text};

/// The operators of this family.
pub(crate) const OPERATORS: &[(&str, &str, Builder)] =
    &[("", "Cast", cast), ("", "CastLike", cast_like), ("", "BitCast", bit_cast)];

fn target(definition: &Definition<'_>) -> Result<ElementType, Refusal> {
    let number = definition
        .attributes
        .integer("to")?
        .ok_or_else(|| Refusal::new("the attribute \"to\" is missing"))?;
    i32::try_from(number)
        .ok()
        .and_then(ElementType::from_onnx)
        .ok_or_else(|| Refusal::new(format!("the type with the number {number} is not computed here")))
}

fn cast(definition: &Definition<'_>) -> Result<Built, Refusal> {
    cast_to(definition, target(definition)?)
}

fn cast_like(definition: &Definition<'_>) -> Result<Built, Refusal> {
    cast_to(definition, definition.tensor_type(1)?)
}

fn cast_to(definition: &Definition<'_>, to: ElementType) -> Result<Built, Refusal> {
    definition.tensor_type(0)?;
    single(definition, to, move |mut arguments, context| convert(arguments.take(0)?, to, context))
}

/// The same values in another type: towards zero and within the bounds for whole numbers,
/// by rounding for floats, true for all but zero. Texts are read and written as numbers.
pub(crate) fn convert(
    tensor: Tensor,
    to: ElementType,
    context: &Context<'_>,
) -> Result<Tensor, OperatorError> {
    let from = tensor.element_type();
    if from == to {
        return Ok(tensor);
    }
    context.reserve(to, tensor.shape())?;
    let shape = tensor.shape();
    if let Some(texts) = tensor.values::<Text>() {
        return text::read(texts, shape, to);
    }
    for_types!(
        to,
        [Text],
        T => return for_every_type!(
            from,
            S => {
                let texts: Vec<T> = values_of::<S>(&tensor)?.iter().map(text::write_any).collect();
                tensor_of(shape, texts)
            },
            unfit("this type can't be written as text")
        ),
        ()
    );
    for_types!(
        from,
        [bool],
        S => {
            let truths = values_of::<S>(&tensor)?;
            return for_numbers!(
                to,
                T => tensor_of(
                    shape,
                    truths.iter().map(|truth| if *truth { T::ONE } else { T::ZERO }).collect()
                ),
                unfit("a truth can't be cast to this type")
            );
        },
        ()
    );
    for_numbers!(
        from,
        S => {
            let values = values_of::<S>(&tensor)?;
            for_types!(
                to,
                [bool],
                T => return tensor_of(shape, values.iter().map(|value| *value != S::ZERO).collect::<Vec<T>>()),
                ()
            );
            for_numbers!(
                to,
                T => tensor_of(shape, values.iter().map(|value| CastTo::<T>::cast(*value)).collect()),
                unfit("this type can't be cast to")
            )
        },
        unfit("this type can't be cast")
    )
}

/// A number in another type.
trait CastTo<T> {
    fn cast(self) -> T;
}

macro_rules! casts {
    ($($from:ty => [$($to:ty),*], by $cast:expr;)*) => {
        $( $(
            impl CastTo<$to> for $from {
                fn cast(self) -> $to {
                    let cast: fn($from) -> _ = $cast;
                    cast(self) as $to
                }
            }
        )* )*
    };
}

macro_rules! casts_of_numbers {
    ($($from:ty),*) => {
        $(
            casts! { $from => [f32, f64], by |value| value; }
            impl CastTo<f16> for $from {
                fn cast(self) -> f16 {
                    f16::from_f64(self as f64)
                }
            }
            impl CastTo<bf16> for $from {
                fn cast(self) -> bf16 {
                    bf16::from_f64(self as f64)
                }
            }
        )*
    };
}

casts_of_numbers!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

// Whole numbers wrap.
casts! {
    i8 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    i16 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    i32 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    i64 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    u8 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    u16 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    u32 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
    u64 => [i8, i16, i32, i64, u8, u16, u32, u64], by |value| value;
}

// ONNX leaves undefined what a float beyond a whole type's bounds gives. Models rely on
// what x86 gives in every framework: -1 is 255 as uint8.
casts! {
    f32 => [i8, i16, i32, u8, u16], by |value| cut_to_32_bits(value.into());
    f32 => [i64, u32], by |value| cut_to_64_bits(value.into());
    f32 => [u64], by |value| cut_to_64_bits_unsigned(value.into());
    f64 => [i8, i16, i32, u8, u16], by cut_to_32_bits;
    f64 => [i64, u32], by cut_to_64_bits;
    f64 => [u64], by cut_to_64_bits_unsigned;
}

/// The whole part; the least number for one that does not fit.
fn cut_to_32_bits(value: f64) -> i32 {
    if value > -2_147_483_649.0 && value < 2_147_483_648.0 { value as i32 } else { i32::MIN }
}

/// The whole part; the least number for one that does not fit.
fn cut_to_64_bits(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// The whole part, wrapped if it is negative; 0 for one that is too large.
fn cut_to_64_bits_unsigned(value: f64) -> u64 {
    const HALF: f64 = 9_223_372_036_854_775_808.0;
    if value >= 2.0 * HALF {
        0
    } else if value >= HALF {
        value as u64
    } else {
        cut_to_64_bits(value) as u64
    }
}

macro_rules! casts_of_halves {
    ($($from:ty),*) => {
        $(
            impl<T> CastTo<T> for $from
            where
                f32: CastTo<T>,
            {
                fn cast(self) -> T {
                    self.to_f32().cast()
                }
            }
        )*
    };
}

casts_of_halves!(f16, bf16);

fn bit_cast(definition: &Definition<'_>) -> Result<Built, Refusal> {
    let (from, to) = (definition.tensor_type(0)?, target(definition)?);
    if from == ElementType::Text || to == ElementType::Text || from.size() != to.size() {
        return Err(Refusal::new(format!("{from} and {to} are not of one width of bits")));
    }
    single(definition, to, move |mut arguments, context| {
        let tensor = arguments.take(0)?;
        context.reserve(to, tensor.shape())?;
        for_types!(
            from,
            [f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool],
            S => {
                let bits: Vec<u64> = values_of::<S>(&tensor)?.iter().map(|value| value.bits()).collect();
                for_types!(
                    to,
                    [f32, f64, half::f16, half::bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool],
                    T => tensor_of(tensor.shape(), bits.iter().map(|bits| T::of_bits(*bits)).collect()),
                    unfit("this type has no bits")
                )
            },
            unfit("this type has no bits")
        )
    })
}

/// A value as its bits, at the low end of 64.
trait Bits {
    fn bits(self) -> u64;
    fn of_bits(bits: u64) -> Self;
}

macro_rules! bits_of_whole_numbers {
    ($($rust:ty => $unsigned:ty),*) => {
        $(
            impl Bits for $rust {
                fn bits(self) -> u64 {
                    u64::from(self as $unsigned)
                }
                fn of_bits(bits: u64) -> Self {
                    bits as Self
                }
            }
        )*
    };
}

bits_of_whole_numbers!(
    i8 => u8, i16 => u16, i32 => u32, i64 => u64, u8 => u8, u16 => u16, u32 => u32, u64 => u64
);

macro_rules! bits_of_floats {
    ($($rust:ty => $unsigned:ty),*) => {
        $(
            impl Bits for $rust {
                fn bits(self) -> u64 {
                    self.to_bits().into()
                }
                fn of_bits(bits: u64) -> Self {
                    Self::from_bits(bits as $unsigned)
                }
            }
        )*
    };
}

bits_of_floats!(f32 => u32, f64 => u64, f16 => u16, bf16 => u16);

impl Bits for bool {
    fn bits(self) -> u64 {
        self.into()
    }
    fn of_bits(bits: u64) -> Self {
        bits & 0xff != 0
    }
}

/// A tensor of a type that is known to be a number's, as doubles.
pub(crate) fn as_doubles(tensor: &Tensor) -> Result<Vec<f64>, OperatorError> {
    for_numbers!(
        tensor.element_type(),
        T => Ok(values_of::<T>(tensor)?.iter().map(|value| value.to_f64()).collect()),
        unfit(format!("{} is not a number type", tensor.element_type()))
    )
}

/// The only element of a tensor.
pub(crate) fn only<T: Element>(tensor: &Tensor, what: &str) -> Result<T, OperatorError> {
    match values_of::<T>(tensor)? {
        [value] => Ok(value.clone()),
        values => unfit(format!("{what} has {} elements; expected one", values.len())),
    }
}
