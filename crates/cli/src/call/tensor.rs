//! Values as TensorFlow's tensors, and back.

use adytum_api::tensorflow::{DataType, TensorProto, TensorShapeProto, tensor_shape_proto::Dim};
use anyhow::Context as _;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use half::{bf16, f16};
use serde_json::{Value, json};

use super::values::{real, shaped};

/// Deeper lists than any tensor has.
const MAXIMUM_RANK: usize = 32;

/// Lists in lists as a tensor of a type.
pub(crate) fn encode(value: &Value, element_type: DataType) -> anyhow::Result<TensorProto> {
    let (mut shape, mut leaves) = (Vec::new(), Vec::new());
    flatten(value, 0, &mut shape, &mut leaves)?;
    let dim = shape.iter().map(|size| Ok(Dim { size: i64::try_from(*size)?, name: String::new() }));
    let mut tensor = TensorProto {
        dtype: element_type.into(),
        tensor_shape: Some(TensorShapeProto {
            dim: dim.collect::<anyhow::Result<_>>()?,
            unknown_rank: false,
        }),
        ..TensorProto::default()
    };
    macro_rules! numbers {
        ($read:expr) => {{
            let mut content = Vec::new();
            for leaf in leaves {
                content.extend_from_slice(&$read(leaf)?.to_le_bytes());
            }
            tensor.tensor_content = content.into();
        }};
    }
    match element_type {
        DataType::DtFloat => numbers!(|leaf| float(leaf).and_then(|value| narrowed(
            value,
            f64::from(value as f32),
            value as f32
        ))),
        DataType::DtDouble => numbers!(float),
        DataType::DtHalf => numbers!(|leaf| float(leaf).map(f16::from_f64)),
        DataType::DtBfloat16 => numbers!(|leaf| float(leaf).map(bf16::from_f64)),
        DataType::DtInt8 => numbers!(whole::<i8>),
        DataType::DtInt16 => numbers!(whole::<i16>),
        DataType::DtInt32 => numbers!(whole::<i32>),
        DataType::DtInt64 => numbers!(whole::<i64>),
        DataType::DtUint8 => numbers!(whole::<u8>),
        DataType::DtUint16 => numbers!(whole::<u16>),
        DataType::DtUint32 => numbers!(whole::<u32>),
        DataType::DtUint64 => numbers!(whole::<u64>),
        DataType::DtBool => numbers!(|leaf| truth(leaf).map(u8::from)),
        DataType::DtString => {
            let texts = leaves.into_iter().map(text);
            tensor.string_val = texts.collect::<anyhow::Result<_>>()?;
        }
        other => bail_input!(
            "values of the type {} can't be given; use a client of TensorFlow Serving",
            other.as_str_name()
        ),
    }
    Ok(tensor)
}

/// A number that a narrower type holds, if not exactly then rounded, but not as an infinity.
fn narrowed<T>(value: f64, rounded: f64, narrow: T) -> anyhow::Result<T> {
    if value.is_finite() && !rounded.is_finite() {
        bail_input!("{value:e} is too large for the model's type; give a smaller number");
    }
    Ok(narrow)
}

/// The shape of lists in lists, and what is in them.
fn flatten<'a>(
    value: &'a Value,
    depth: usize,
    shape: &mut Vec<usize>,
    leaves: &mut Vec<&'a Value>,
) -> anyhow::Result<()> {
    if depth > MAXIMUM_RANK {
        bail_input!("the lists are nested deeper than {MAXIMUM_RANK}; give the values of one tensor");
    }
    let Value::Array(values) = value else {
        if depth < shape.len() {
            bail_input!("{value} is no list like the others; give lists of one length");
        }
        leaves.push(value);
        return Ok(());
    };
    match shape.get(depth) {
        Some(size) if *size != values.len() => {
            bail_input!("a list has {} values, expected {size}; give lists of one length", values.len());
        }
        Some(_) => {}
        None if leaves.is_empty() => shape.push(values.len()),
        None => bail_input!("a list is where others have a value; give lists of one depth"),
    }
    values.iter().try_for_each(|value| flatten(value, depth + 1, shape, leaves))
}

fn float(value: &Value) -> anyhow::Result<f64> {
    match (value, value.as_f64()) {
        (_, Some(number)) => Ok(number),
        (Value::String(text), None) if ["NaN", "Infinity", "-Infinity"].contains(&text.as_str()) => {
            Ok(text.parse()?)
        }
        _ => bail_input!("{value} is no number; give a number"),
    }
}

fn whole<T: TryFrom<i64> + TryFrom<u64>>(value: &Value) -> anyhow::Result<T> {
    let signed = value.as_i64().and_then(|number| T::try_from(number).ok());
    let number = signed.or_else(|| value.as_u64().and_then(|number| T::try_from(number).ok()));
    number
        .ok_or_else(|| input_error!("{value} is no whole number of the model's type; give one in its range"))
}

fn truth(value: &Value) -> anyhow::Result<bool> {
    match (value.as_bool(), value.as_u64()) {
        (Some(truth), _) => Ok(truth),
        (None, Some(number @ (0 | 1))) => Ok(number == 1),
        _ => bail_input!("{value} is neither true nor false; give one of them"),
    }
}

/// A text, or bytes as {"b64": "..."}; a number of a table is its digits.
fn text(value: &Value) -> anyhow::Result<Vec<u8>> {
    match value {
        Value::String(text) => Ok(text.clone().into_bytes()),
        Value::Number(number) => Ok(number.to_string().into_bytes()),
        Value::Object(fields) if fields.len() == 1 => {
            let bytes = fields.get("b64").and_then(Value::as_str);
            let bytes = bytes.ok_or_else(|| input_error!("give bytes as {{\"b64\": \"...\"}}"))?;
            STANDARD.decode(bytes).map_err(|error| input_error!("give bytes in Base64: {error}"))
        }
        _ => bail_input!("{value} is no text; give a text in quotes"),
    }
}

/// A tensor as lists in lists.
pub(super) fn decode(tensor: &TensorProto) -> anyhow::Result<Value> {
    let dims = tensor.tensor_shape.as_ref().map(|shape| shape.dim.as_slice()).unwrap_or_default();
    let shape = dims.iter().map(|dim| usize::try_from(dim.size)).collect::<Result<Vec<_>, _>>();
    let shape = shape.context("its shape has a negative size")?;
    let count = shape.iter().try_fold(1_usize, |count, size| count.checked_mul(*size));
    let element_type = DataType::try_from(tensor.dtype).unwrap_or(DataType::DtInvalid);
    macro_rules! numbers {
        ($type:ty, $field:ident, $json:expr) => {
            numbers!($type, tensor.$field.iter().map(|value| *value as $type), tensor.$field.len(), $json)
        };
        ($type:ty, $typed:expr, $length:expr, $json:expr) => {{
            if $length > 0 {
                $typed.map($json).collect::<Vec<Value>>()
            } else {
                let (all, rest) = tensor.tensor_content.as_chunks::<{ size_of::<$type>() }>();
                if !rest.is_empty() {
                    anyhow::bail!(
                        "it has {} bytes, which is no whole number of values",
                        tensor.tensor_content.len()
                    );
                }
                all.iter().map(|bytes| <$type>::from_le_bytes(*bytes)).map($json).collect::<Vec<Value>>()
            }
        }};
    }
    let half = |from: fn(u16) -> f64| {
        let typed = tensor.half_val.iter().map(|value| *value as u16);
        anyhow::Ok(numbers!(u16, typed, tensor.half_val.len(), |bits| real(from(bits))))
    };
    let values = match element_type {
        DataType::DtFloat => numbers!(f32, float_val, shortest),
        DataType::DtDouble => numbers!(f64, double_val, real),
        DataType::DtHalf => half(|bits| f16::from_bits(bits).to_f64())?,
        DataType::DtBfloat16 => half(|bits| bf16::from_bits(bits).to_f64())?,
        DataType::DtInt8 => numbers!(i8, int_val, |value| json!(value)),
        DataType::DtInt16 => numbers!(i16, int_val, |value| json!(value)),
        DataType::DtInt32 => numbers!(i32, int_val, |value| json!(value)),
        DataType::DtInt64 => numbers!(i64, int64_val, |value| json!(value)),
        DataType::DtUint8 => numbers!(u8, int_val, |value| json!(value)),
        DataType::DtUint16 => numbers!(u16, int_val, |value| json!(value)),
        DataType::DtUint32 => numbers!(u32, uint32_val, |value| json!(value)),
        DataType::DtUint64 => numbers!(u64, uint64_val, |value| json!(value)),
        DataType::DtBool if tensor.bool_val.is_empty() => {
            tensor.tensor_content.iter().map(|byte| json!(*byte != 0)).collect()
        }
        DataType::DtBool => tensor.bool_val.iter().map(|truth| json!(truth)).collect(),
        DataType::DtString => tensor
            .string_val
            .iter()
            .map(|bytes| match std::str::from_utf8(bytes) {
                Ok(text) => json!(text),
                Err(_) => json!({ "b64": STANDARD.encode(bytes) }),
            })
            .collect(),
        other => anyhow::bail!(
            "its type is {}, which is not read here; use a client of TensorFlow Serving",
            other.as_str_name()
        ),
    };
    if Some(values.len()) != count {
        anyhow::bail!(
            "its shape {shape:?} is not that of its {} values; check that the server speaks TensorFlow Serving's API",
            values.len()
        );
    }
    Ok(shaped(values, &shape))
}

/// The shortest decimal that is this 32-bit float.
fn shortest(value: f32) -> Value {
    real(value.to_string().parse().unwrap_or_else(|_| f64::from(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPES: [DataType; 12] = [
        DataType::DtFloat,
        DataType::DtDouble,
        DataType::DtHalf,
        DataType::DtBfloat16,
        DataType::DtInt8,
        DataType::DtInt16,
        DataType::DtInt32,
        DataType::DtInt64,
        DataType::DtUint8,
        DataType::DtUint16,
        DataType::DtUint32,
        DataType::DtUint64,
    ];

    #[test]
    fn values_come_back_as_they_went() {
        for element_type in TYPES {
            let value = json!([[1, 2], [3, 100]]);
            let back = decode(&encode(&value, element_type).unwrap()).unwrap();
            let number = |value: &Value| value.as_f64().unwrap();
            assert_eq!(number(&back[1][1]), 100.0, "{element_type:?}");
            assert_eq!(number(&back[0][0]), 1.0, "{element_type:?}");
        }
        for (value, element_type) in [
            (json!([[true, false]]), DataType::DtBool),
            (json!(["a", "é", {"b64": "/w=="}]), DataType::DtString),
            (json!(7), DataType::DtInt64),
            (json!([0.1, "NaN", "-Infinity"]), DataType::DtFloat),
            (json!([i64::MAX, i64::MIN]), DataType::DtInt64),
            (json!([u64::MAX]), DataType::DtUint64),
            (json!([]), DataType::DtFloat),
        ] {
            assert_eq!(decode(&encode(&value, element_type).unwrap()).unwrap(), value);
        }
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        for (value, element_type, words) in [
            (json!([[1, 2], [3]]), DataType::DtFloat, "a list has 1 values, expected 2"),
            (json!([[1], 2]), DataType::DtFloat, "no list like the others"),
            (json!([1, [2]]), DataType::DtFloat, "lists of one depth"),
            (json!(["x"]), DataType::DtFloat, "\"x\" is no number"),
            (json!([1.5]), DataType::DtInt32, "1.5 is no whole number"),
            (json!([300]), DataType::DtUint8, "300 is no whole number"),
            (json!([-1]), DataType::DtUint64, "-1 is no whole number"),
            (json!([1e300]), DataType::DtFloat, "too large"),
            (json!([2]), DataType::DtBool, "neither true nor false"),
            (json!([null]), DataType::DtString, "no text"),
            (json!([1]), DataType::DtComplex64, "DT_COMPLEX64"),
        ] {
            let error = format!("{:#}", encode(&value, element_type).unwrap_err());
            assert!(error.contains(words), "{error}");
        }
        let mut wrong = encode(&json!([1, 2]), DataType::DtFloat).unwrap();
        wrong.tensor_content = vec![0; 7].into();
        assert!(decode(&wrong).is_err());
        wrong.tensor_content = vec![0; 4].into();
        assert!(decode(&wrong).unwrap_err().to_string().contains("is not that of its 1 values"));
    }
}
