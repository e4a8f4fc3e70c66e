//! The check of a run's inputs, which all engines share.

use crate::{
    engine::{RunError, Signature, Specification},
    facts::size::{LARGEST_DIMENSION, LARGEST_INPUT},
    onnx::model::Dimension,
    tensor::{Tensor, Value, ValueType},
};

/// Whether a run may begin: there is an entry for each input of the signature, each value has
/// the type, the rank and the fixed sizes of its input, and no input is missing that the wanted
/// outputs need. `needed` is asked only if one is missing.
pub fn check(
    signature: &Signature,
    inputs: &[Option<Value>],
    needed: impl FnOnce() -> Vec<bool>,
) -> Result<(), RunError> {
    if inputs.len() != signature.inputs.len() {
        let reason = format!("the model has {} inputs, {} were given", signature.inputs.len(), inputs.len());
        return Err(RunError::Input { input: String::new(), reason });
    }
    if inputs.iter().any(Option::is_none) {
        for ((value, specification), needed) in inputs.iter().zip(&signature.inputs).zip(needed()) {
            if value.is_none() && needed {
                let reason = "the wanted outputs need it, and it was not given".to_owned();
                return Err(RunError::Input { input: specification.name.clone(), reason });
            }
        }
    }
    for (value, specification) in inputs.iter().zip(&signature.inputs) {
        let Some(value) = value else { continue };
        check_value(value, specification)
            .map_err(|reason| RunError::Input { input: specification.name.clone(), reason })?;
    }
    Ok(())
}

/// Whether a value is what the model takes. Engines rely on it.
fn check_value(value: &Value, specification: &Specification) -> Result<(), String> {
    let found = type_of(value);
    let fits = match (&found, &specification.value_type) {
        // An optional that is empty has no type of its own.
        (None, ValueType::Optional(_)) => true,
        (found, expected) => found.as_ref() == Some(expected),
    };
    if !fits {
        let found = found.map_or_else(|| "an empty optional".to_owned(), |found| found.to_string());
        return Err(format!("it takes {}, found {found}", specification.value_type));
    }
    let Some(tensor) = value.tensor() else { return Ok(()) };
    check_shape(tensor, specification.shape.as_deref())
}

fn type_of(value: &Value) -> Option<ValueType> {
    match value {
        Value::Tensor(tensor) => Some(ValueType::Tensor(tensor.element_type())),
        Value::Sequence(element_type, _) => Some(ValueType::Sequence(*element_type)),
        Value::Optional(Some(inner)) => Some(ValueType::Optional(Box::new(type_of(inner)?))),
        Value::Optional(None) => None,
    }
}

fn check_shape(tensor: &Tensor, declared: Option<&[Dimension]>) -> Result<(), String> {
    let shape = tensor.shape();
    if tensor.len() as u64 > LARGEST_INPUT.unsigned_abs() {
        return Err(format!("it has {} elements; at most {LARGEST_INPUT} are taken", tensor.len()));
    }
    if shape.iter().any(|size| *size as u64 > LARGEST_DIMENSION.unsigned_abs()) {
        return Err(format!("it has the shape {shape:?}; no dimension may be above {LARGEST_DIMENSION}"));
    }
    let Some(declared) = declared else { return Ok(()) };
    let fits = declared.len() == shape.len()
        && declared.iter().zip(shape).all(|(declared, size)| match declared {
            Dimension::Fixed(fixed) => fixed == size,
            Dimension::Named(_) | Dimension::Any => true,
        });
    if fits {
        return Ok(());
    }
    let expected: Vec<String> = declared
        .iter()
        .map(|dimension| match dimension {
            Dimension::Fixed(size) => size.to_string(),
            Dimension::Named(name) => name.clone(),
            Dimension::Any => "any".to_owned(),
        })
        .collect();
    Err(format!("it takes the shape [{}], found {shape:?}", expected.join(", ")))
}
