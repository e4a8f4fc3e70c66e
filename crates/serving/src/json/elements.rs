//! One element of a tensor, from the value that stands for it.

use adytum_engine::tensor::{Element, Text};
use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use half::{bf16, f16};

use super::{JsonError, Kind, Members, Reader, reader::Number};

/// An element type that JSON has values for.
pub trait JsonElement: Element {
    /// The element that comes next.
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError>;
}

impl<'a> Reader<'a> {
    /// The element that comes next.
    pub fn element<T: JsonElement>(&mut self) -> Result<T, JsonError> {
        T::read(self)
    }

    /// Whether the number that comes next has no fraction and no exponent.
    pub fn is_integer(&self) -> Result<bool, JsonError> {
        self.clone().expect_number("number").map(|number| number.integer)
    }

    /// A number, if one comes next.
    fn expect_number(&mut self, expected: &'static str) -> Result<Number<'a>, JsonError> {
        match self.kind()? {
            Kind::Number => self.number(),
            other => Err(self.not(expected, other, self.position())),
        }
    }
}

macro_rules! integers {
    ($($type:ty, $name:literal;)*) => {
        $(
            impl JsonElement for $type {
                fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
                    let number = reader.expect_number($name)?;
                    let (offset, parsed) = (number.offset, number.integer.then(|| number.text.parse().ok()));
                    parsed.flatten().ok_or_else(|| reader.not($name, Kind::Number, offset))
                }
            }
        )*
    };
}

integers! {
    i8, "int8";
    i16, "int16";
    i32, "int32";
    i64, "int64";
    u8, "uint8";
    u16, "uint16";
    u32, "uint32";
    u64, "uint64";
}

/// Integers up to this are all numbers of the type.
trait Float: Sized {
    const NAME: &'static str;
    const LARGEST_INTEGER: u64;

    /// A number, infinite if it is too large.
    fn parse(text: &str) -> Option<Self>;
    fn is_infinite(&self) -> bool;
    fn special(word: Special) -> Self;
}

#[derive(Clone, Copy)]
enum Special {
    Nan,
    Infinity,
    NegativeInfinity,
}

macro_rules! floats {
    ($($type:ty, $name:literal, $digits:literal, $parse:expr;)*) => {
        $(
            impl Float for $type {
                const NAME: &'static str = $name;
                const LARGEST_INTEGER: u64 = (1 << $digits) - 1;

                fn parse(text: &str) -> Option<Self> {
                    $parse(text)
                }

                fn is_infinite(&self) -> bool {
                    <$type>::is_infinite(*self)
                }

                fn special(word: Special) -> Self {
                    match word {
                        Special::Nan => <$type>::NAN,
                        Special::Infinity => <$type>::INFINITY,
                        Special::NegativeInfinity => <$type>::NEG_INFINITY,
                    }
                }
            }

            impl JsonElement for $type {
                fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
                    float(reader)
                }
            }
        )*
    };
}

floats! {
    f32, "float", 24, |text: &str| text.parse().ok();
    f64, "double", 53, |text: &str| text.parse().ok();
    f16, "half", 11, |text: &str| text.parse().ok().map(f16::from_f64);
    bf16, "bfloat16", 8, |text: &str| text.parse().ok().map(bf16::from_f64);
}

fn float<T: Float>(reader: &mut Reader<'_>) -> Result<T, JsonError> {
    let number = reader.expect_number(T::NAME)?;
    let special = match number.text {
        "NaN" | "-NaN" => Some(Special::Nan),
        "Infinity" | "Inf" => Some(Special::Infinity),
        "-Infinity" | "-Inf" => Some(Special::NegativeInfinity),
        _ => None,
    };
    if let Some(special) = special {
        return Ok(T::special(special));
    }
    let lossy = || JsonError::Lossy {
        value: number.text.chars().take(60).collect(),
        expected: T::NAME,
        offset: number.offset,
    };
    if number.integer {
        let digits = number.text.trim_start_matches('-');
        if digits.len() > 2 && !digits.parse::<u64>().is_ok_and(|value| value <= T::LARGEST_INTEGER) {
            return Err(lossy());
        }
    }
    match T::parse(number.text) {
        Some(value) if !value.is_infinite() => Ok(value),
        _ => Err(lossy()),
    }
}

impl JsonElement for bool {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        reader.boolean()
    }
}

/// With padding or without, as clients write it.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The bytes of `{"b64": TEXT}`.
pub(super) fn base64_object(reader: &mut Reader<'_>) -> Result<Vec<u8>, JsonError> {
    reader.skip_space();
    let offset = reader.position();
    let text = reader.text();
    let members = Members::read(reader)?;
    let (Some(span), 1) = (members.get("b64"), members.keys().count()) else {
        return Err(reader.not("an object with the one key \"b64\"", Kind::Object, offset));
    };
    let mut value = span.reader(text);
    let encoded = value.text_value()?;
    BASE64.decode(encoded.as_bytes()).map_err(|_| JsonError::Base64 { offset })
}

impl JsonElement for Text {
    fn read(reader: &mut Reader<'_>) -> Result<Self, JsonError> {
        match reader.kind()? {
            Kind::Text => Ok(Self::copy_from_slice(reader.read_text()?.as_bytes())),
            Kind::Object => base64_object(reader).map(Self::from),
            other => Err(reader.not("string", other, reader.position())),
        }
    }
}
