//! Values as JSON, in the shape of a tensor.

use serde_json::{Value, json};

/// JSON has no number for these; as in TensorFlow's JSON they are texts.
pub(super) fn real(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None if value > 0.0 => json!("Infinity"),
        None => json!("-Infinity"),
    }
}

/// Values in the shape of a tensor; a scalar is one value.
pub(super) fn shaped(mut values: Vec<Value>, shape: &[usize]) -> Value {
    if shape.is_empty() {
        return values.pop().unwrap_or(Value::Null);
    }
    for size in shape.iter().skip(1).rev() {
        values = match size {
            0 => Vec::new(),
            size => values.chunks(*size).map(|row| Value::Array(row.to_vec())).collect(),
        };
    }
    Value::Array(values)
}
