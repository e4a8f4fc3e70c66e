//! Values as TensorFlow Serving writes them.

use std::io::Write;

use adytum_engine::tensor::{Elements, Text};
use base64::{Engine, prelude::BASE64_STANDARD};

/// The digits with which numbers are tried first, as C's `%g` has them.
const SHORT_DIGITS: usize = 6;

/// A floating-point type, with what formatting it takes.
trait Decimal: Copy + std::fmt::LowerExp {
    /// Enough digits for any number to be read back.
    const DIGITS: usize;

    /// Whether it has fewer digits than most numbers: then the shortest ones are not those that
    /// `%g` writes.
    fn is_subnormal(self) -> bool;

    /// Whether the text is read back as this number.
    fn is(self, text: &str) -> bool;

    fn special(self) -> Option<&'static str>;
}

macro_rules! decimals {
    ($($type:ty, $digits:literal;)*) => {
        $(
            impl Decimal for $type {
                const DIGITS: usize = $digits;

                fn is_subnormal(self) -> bool {
                    <$type>::is_subnormal(self)
                }

                fn is(self, text: &str) -> bool {
                    text.parse() == Ok(self)
                }

                fn special(self) -> Option<&'static str> {
                    match self {
                        _ if self.is_nan() => Some("NaN"),
                        _ if self == <$type>::INFINITY => Some("Infinity"),
                        _ if self == <$type>::NEG_INFINITY => Some("-Infinity"),
                        _ => None,
                    }
                }
            }
        )*
    };
}

decimals! {
    f32, 9;
    f64, 17;
}

/// Writes a number with six digits if it can be read back from these, else with as many as
/// its type may need; always with a point or an exponent.
pub fn write_float(out: &mut Vec<u8>, value: f32) {
    write_decimal(out, value);
}

fn write_decimal<T: Decimal>(out: &mut Vec<u8>, value: T) {
    if let Some(word) = value.special() {
        out.extend_from_slice(word.as_bytes());
        return;
    }
    let start = out.len();
    // The shortest digits from which the number can be read back: `-1.2345e-7`. Writing to
    // a vector never fails.
    let mut short = true;
    if value.is_subnormal() {
        let _ = write!(out, "{value:.*e}", SHORT_DIGITS - 1);
        short = out
            .get(start..)
            .and_then(|text| std::str::from_utf8(text).ok())
            .is_some_and(|text| value.is(text));
    } else {
        let _ = write!(out, "{value:e}");
    }
    let mut scientific = Scientific::parse(out.get(start..).unwrap_or_default());
    let mut precision = SHORT_DIGITS;
    if !short || scientific.digits > SHORT_DIGITS {
        precision = T::DIGITS;
        out.truncate(start);
        let _ = write!(out, "{value:.*e}", T::DIGITS - 1);
        scientific = Scientific::parse(out.get(start..).unwrap_or_default());
    }
    out.truncate(start);
    scientific.write(out, precision);
}

/// The longest that Rust writes a number with an exponent: `-1.7976931348623157e308`.
const LONGEST: usize = 32;

/// A number in parts.
struct Scientific {
    negative: bool,
    /// Its digits, without zeros at the end.
    mantissa: [u8; LONGEST],
    digits: usize,
    exponent: i32,
}

impl Scientific {
    fn parse(text: &[u8]) -> Self {
        let mut parsed = Self { negative: false, mantissa: [b'0'; LONGEST], digits: 0, exponent: 0 };
        let mut bytes = text.iter();
        for byte in bytes.by_ref() {
            match byte {
                b'-' => parsed.negative = true,
                b'e' => break,
                b'0'..=b'9' => {
                    if let Some(digit) = parsed.mantissa.get_mut(parsed.digits) {
                        *digit = *byte;
                        parsed.digits += 1;
                    }
                }
                _ => {}
            }
        }
        let exponent = std::str::from_utf8(bytes.as_slice()).ok().and_then(|text| text.parse().ok());
        parsed.exponent = exponent.unwrap_or_default();
        while parsed.digits > 1 && parsed.mantissa.get(parsed.digits - 1) == Some(&b'0') {
            parsed.digits -= 1;
        }
        parsed
    }

    fn digit_range(&self, from: usize, to: usize) -> &[u8] {
        self.mantissa.get(from..to).unwrap_or_default()
    }

    /// As `%g` with this precision, and a point if that has none.
    fn write(&self, out: &mut Vec<u8>, precision: usize) {
        if self.negative {
            out.push(b'-');
        }
        let fixed = self.exponent >= -4 && usize::try_from(self.exponent).map_or(true, |e| e < precision);
        if !fixed {
            out.extend_from_slice(self.digit_range(0, 1));
            if self.digits > 1 {
                out.push(b'.');
                out.extend_from_slice(self.digit_range(1, self.digits));
            }
            let sign = if self.exponent < 0 { '-' } else { '+' };
            let _ = write!(out, "e{sign}{:02}", self.exponent.unsigned_abs());
            return;
        }
        match usize::try_from(self.exponent) {
            Ok(exponent) => {
                let whole = exponent + 1;
                out.extend_from_slice(self.digit_range(0, whole.min(self.digits)));
                out.resize(out.len() + whole.saturating_sub(self.digits), b'0');
                out.push(b'.');
                if self.digits > whole {
                    out.extend_from_slice(self.digit_range(whole, self.digits));
                } else {
                    out.push(b'0');
                }
            }
            Err(_) => {
                out.extend_from_slice(b"0.");
                let zeros = usize::try_from(-self.exponent - 1).unwrap_or_default();
                out.resize(out.len() + zeros, b'0');
                out.extend_from_slice(self.digit_range(0, self.digits));
            }
        }
    }
}

/// Writes a text with its quotes.
pub fn write_text(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        let escape: &[u8] = match byte {
            b'"' => b"\\\"",
            b'\\' => b"\\\\",
            b'\n' => b"\\n",
            b'\r' => b"\\r",
            b'\t' => b"\\t",
            0x08 => b"\\b",
            0x0c => b"\\f",
            0..=0x1f => b"",
            _ => continue,
        };
        out.extend_from_slice(text.as_bytes().get(plain..index).unwrap_or_default());
        plain = index + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04X}");
        } else {
            out.extend_from_slice(escape);
        }
    }
    out.extend_from_slice(text.as_bytes().get(plain..).unwrap_or_default());
    out.push(b'"');
}

fn write_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(b"{\"b64\": \"");
    out.extend_from_slice(BASE64_STANDARD.encode(bytes).as_bytes());
    out.extend_from_slice(b"\"}");
}

/// Writes the elements from `start` on in lists in lists of these lengths; no length is one
/// element without a list. Texts that are not UTF-8, and all of them with `as_bytes`, are
/// written as `{"b64": ...}`.
pub fn write_elements(out: &mut Vec<u8>, elements: &Elements, start: usize, shape: &[usize], as_bytes: bool) {
    macro_rules! integers {
        ($values:expr) => {
            lists(out, $values, start, shape, &|out, value| {
                let _ = write!(out, "{value}");
            })
        };
    }
    match elements {
        Elements::Float(values) => lists(out, values, start, shape, &|out, value| write_decimal(out, *value)),
        Elements::Double(values) => {
            lists(out, values, start, shape, &|out, value| write_decimal(out, *value))
        }
        Elements::Half(values) => {
            lists(out, values, start, shape, &|out, value| write_decimal(out, value.to_f32()));
        }
        Elements::Bfloat16(values) => {
            lists(out, values, start, shape, &|out, value| write_decimal(out, value.to_f32()));
        }
        Elements::Int8(values) => integers!(values),
        Elements::Int16(values) => integers!(values),
        Elements::Int32(values) => integers!(values),
        Elements::Int64(values) => integers!(values),
        Elements::Uint8(values) => integers!(values),
        Elements::Uint16(values) => integers!(values),
        Elements::Uint32(values) => integers!(values),
        Elements::Uint64(values) => integers!(values),
        Elements::Bool(values) => integers!(values),
        Elements::Text(values) => {
            lists(out, values, start, shape, &|out, text: &Text| match std::str::from_utf8(text) {
                Ok(text) if !as_bytes => write_text(out, text),
                _ => write_bytes(out, text),
            })
        }
    }
}

/// Writes lists in lists.
fn lists<T>(
    out: &mut Vec<u8>,
    values: &[T],
    start: usize,
    shape: &[usize],
    write: &impl Fn(&mut Vec<u8>, &T),
) {
    let Some((length, inner)) = shape.split_first() else {
        if let Some(value) = values.get(start) {
            write(out, value);
        }
        return;
    };
    out.push(b'[');
    let step: usize = inner.iter().product();
    for index in 0..*length {
        if index > 0 {
            out.extend_from_slice(b", ");
        }
        lists(out, values, start + index * step, inner, write);
    }
    out.push(b']');
}
