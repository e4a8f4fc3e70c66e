//! Answers of a model, compared with recorded ones. Floats may differ by 1e-3 of the expected
//! value (bfloat16 by 2^-6) and 1e-5; all else must be equal.

use adytum_engine::{
    engine::{LoadedModel, Run},
    onnx::data,
    operators::{Cancellation, Memory},
    tensor::{ElementType, Tensor, Value},
    threads::Threads,
};

/// The end of a test.
pub(crate) enum Outcome {
    Right,
    Refused(String),
    Failed(String),
    Wrong(String),
}

impl Outcome {
    /// Its name in the output.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Wrong(_) => "wrong",
        }
    }

    /// The cause, unless it is right.
    pub(crate) fn reason(&self) -> &str {
        match self {
            Self::Right => "",
            Self::Refused(reason) | Self::Failed(reason) | Self::Wrong(reason) => reason,
        }
    }
}

/// Runs a model on recorded inputs, and compares its outputs with the recorded ones. Both are
/// `TensorProto`, `SequenceProto` or `OptionalProto`, as the model declares them.
pub(crate) fn run_once(
    model: &dyn LoadedModel,
    inputs: &[Vec<u8>],
    outputs: &[Vec<u8>],
    threads: &Threads,
) -> Outcome {
    let signature = model.signature();
    if (inputs.len(), outputs.len()) != (signature.inputs.len(), signature.outputs.len()) {
        return Outcome::Failed("the model has other numbers of inputs and outputs".to_owned());
    }
    let mut given = Vec::new();
    for (index, (message, specification)) in inputs.iter().zip(&signature.inputs).enumerate() {
        match data::read(message, &specification.value_type) {
            Ok(value) => given.push(Some(value)),
            Err(error) => return Outcome::Failed(format!("input {index}: {error}")),
        }
    }
    let wanted: Vec<usize> = (0..signature.outputs.len()).collect();
    let memory = Memory::new(1 << 30);
    let cancellation = Cancellation::default();
    let found = match model.run(given, &wanted, Run { threads, budget: &memory, cancellation: &cancellation })
    {
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if memory.used() != 0 {
        return Outcome::Failed(format!("{} bytes were not given back to the budget", memory.used()));
    }
    for (index, ((found, specification), message)) in
        found.iter().zip(&signature.outputs).zip(outputs).enumerate()
    {
        let expected = match data::read(message, &specification.value_type) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Wrong(format!("output {index}: {error}")),
        };
        if let Err(reason) = compare(found, &expected) {
            return Outcome::Wrong(format!("output {index}: {reason}"));
        }
    }
    Outcome::Right
}

fn compare(found: &Value, expected: &Value) -> Result<(), String> {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => compare_tensors(found, expected),
        (Value::Sequence(_, found), Value::Sequence(_, expected)) => {
            if found.len() != expected.len() {
                return Err(format!("{} tensors, expected {}", found.len(), expected.len()));
            }
            found.iter().zip(expected).try_for_each(|(found, expected)| compare_tensors(found, expected))
        }
        (Value::Optional(None), Value::Optional(None)) => Ok(()),
        (Value::Optional(Some(found)), Value::Optional(Some(expected))) => compare(found, expected),
        _ => Err("a value of another kind".to_owned()),
    }
}

fn compare_tensors(found: &Tensor, expected: &Tensor) -> Result<(), String> {
    if found.element_type() != expected.element_type() {
        return Err(format!("the type {}, expected {}", found.element_type(), expected.element_type()));
    }
    if found.shape() != expected.shape() {
        return Err(format!("the shape {:?}, expected {:?}", found.shape(), expected.shape()));
    }
    // Two units in the last place of bfloat16, as ONNX's own runner has it.
    let tolerance = if found.element_type() == ElementType::Bfloat16 { 1.0 / 64.0 } else { 1e-3 };
    match (found.elements().reals(), expected.elements().reals()) {
        (Some(found), Some(expected)) => {
            let wrong = found
                .iter()
                .zip(&expected)
                .position(|(found, expected)| !is_near(*found, *expected, tolerance));
            match wrong {
                None => Ok(()),
                Some(index) => Err(format!(
                    "{} at {index}, expected {}",
                    found.get(index).copied().unwrap_or_default(),
                    expected.get(index).copied().unwrap_or_default()
                )),
            }
        }
        (None, None) if found.elements() == expected.elements() => Ok(()),
        _ => Err(format!("{:.200?}, expected {:.200?}", found.elements(), expected.elements())),
    }
}

/// Infinities are near to themselves only: a bound that grows with them would let in all numbers.
fn is_near(found: f64, expected: f64, tolerance: f64) -> bool {
    found == expected
        || found.is_nan() && expected.is_nan()
        || found.is_finite()
            && expected.is_finite()
            && (found - expected).abs() <= 1e-5 + tolerance * expected.abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compared(found: f32, expected: f32) -> bool {
        compare_tensors(&Tensor::vector(vec![found]), &Tensor::vector(vec![expected])).is_ok()
    }

    #[test]
    fn infinities_and_nan_are_equal_to_themselves_only() {
        let special = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1.0];
        for (index, found) in special.iter().enumerate() {
            for (other, expected) in special.iter().enumerate() {
                assert_eq!(compared(*found, *expected), index == other, "{found} {expected}");
            }
        }
        assert!(compared(1.0009, 1.0) && !compared(1.002, 1.0));
    }

    #[test]
    fn types_differ() {
        let (single, double) = (Tensor::vector(vec![1.0_f32]), Tensor::vector(vec![1.0_f64]));
        assert!(compare_tensors(&single, &double).is_err());
    }
}
