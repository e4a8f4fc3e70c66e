//! Numbers as texts and texts as numbers.

use half::{bf16, f16};

use crate::{
    operators::{
        OperatorError,
        arguments::{tensor_of, unfit},
        number::Number,
        types::{for_integers, for_types},
    },
    tensor::{Element, ElementType, Tensor, Text},
};

/// Texts read as numbers or truths.
pub(super) fn read(texts: &[Text], shape: &[usize], to: ElementType) -> Result<Tensor, OperatorError> {
    for_types!(
        to,
        [f32, f64, f16, bf16],
        T => {
            let values: Result<Vec<T>, _> =
                texts.iter().map(|text| Ok(<T as Number>::from_f64(read_float(text)?))).collect();
            return tensor_of(shape, values?);
        },
        ()
    );
    for_types!(
        to,
        [bool],
        T => {
            let values: Result<Vec<T>, _> =
                texts.iter().map(|text| Ok(read_whole::<i64>(text)? != 0)).collect();
            return tensor_of(shape, values?);
        },
        ()
    );
    for_integers!(
        to,
        T => {
            let values: Result<Vec<T>, _> = texts.iter().map(read_whole).collect();
            tensor_of(shape, values?)
        },
        unfit("a text can't be read as this type")
    )
}

fn letters(text: &Text) -> Result<&str, OperatorError> {
    match std::str::from_utf8(text) {
        Ok(letters) => Ok(letters.trim()),
        Err(_) => unfit("a text that is to be a number is not UTF-8"),
    }
}

fn read_float(text: &Text) -> Result<f64, OperatorError> {
    let letters = letters(text)?;
    let plain = letters.strip_prefix('+').unwrap_or(letters);
    match plain.parse() {
        Ok(number) => Ok(number),
        Err(_) => unfit(format!("the text {letters:?} is not a number")),
    }
}

/// The whole number at the start of a text, as C's `strtoll` reads it; it wraps in `T`.
fn read_whole<T: Number>(text: &Text) -> Result<T, OperatorError> {
    let letters = letters(text)?;
    let signed = letters.strip_prefix(['+', '-']).unwrap_or(letters);
    let digits = signed.bytes().take_while(u8::is_ascii_digit).count();
    let number = signed[..digits]
        .parse::<i128>()
        .ok()
        .map(|number| if letters.starts_with('-') { -number } else { number });
    match number {
        Some(number) if (i128::from(i64::MIN)..=i128::from(u64::MAX)).contains(&number) => {
            Ok(T::from_i64(number as i64))
        }
        _ => unfit(format!("the text {letters:?} does not begin with a whole number of 64 bits")),
    }
}

/// A value as a text.
pub(super) fn write_any<T: Element>(value: &T) -> Text {
    use std::any::Any;
    let value: &dyn Any = value;
    macro_rules! written {
        ($($rust:ty => $write:expr),* $(,)?) => {
            $(
                if let Some(value) = value.downcast_ref::<$rust>() {
                    let write: fn(&$rust) -> String = $write;
                    return Text::from(write(value));
                }
            )*
        };
    }
    written!(
        f32 => |value| write_float((*value).into()),
        f64 => |value| write_float(*value),
        f16 => |value| write_float(value.to_f64()),
        bf16 => |value| write_float(value.to_f64()),
        i8 => i8::to_string,
        i16 => i16::to_string,
        i32 => i32::to_string,
        i64 => i64::to_string,
        u8 => u8::to_string,
        u16 => u16::to_string,
        u32 => u32::to_string,
        u64 => u64::to_string,
        bool => |value| if *value { "1".to_owned() } else { "0".to_owned() },
    );
    Text::new()
}

/// A float as C's `%.8g` writes it, which is what ONNX Runtime does, for doubles too.
fn write_float(value: f64) -> String {
    const DIGITS: i32 = 8;
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "INF".to_owned() } else { "-INF".to_owned() };
    }
    let scientific = format!("{value:.7e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let power: i32 = exponent.parse().unwrap_or(0);
    let trim = |written: &str| {
        if written.contains('.') {
            written.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            written.to_owned()
        }
    };
    if !(-4..DIGITS).contains(&power) {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trim(mantissa), power.unsigned_abs());
    }
    let places = usize::try_from(DIGITS - 1 - power).unwrap_or(0);
    trim(&format!("{value:.places$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_onnx_runtime_writes_them() {
        // Of ONNX Runtime 1.32, Cast of float to string.
        for (value, expected) in [
            (0.5_f32, "0.5"),
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e10, "1e+10"),
            (123_456_789.0, "1.2345679e+08"),
            (1e-5, "9.9999997e-06"),
            (f32::NAN, "NaN"),
            (f32::NEG_INFINITY, "-INF"),
        ] {
            assert_eq!(write_any(&value), expected.as_bytes(), "{value}");
        }
    }
}
