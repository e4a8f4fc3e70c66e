//! Every case of `cases/` is answered as ONNX Runtime answered it.

mod json;

use std::collections::BTreeMap;

use adytum_engine::{
    operators::{Budget, Cancellation, Context, Definition, Input, OperatorError, find},
    tensor::{Elements, Tensor, Value, ValueType},
};
use json::{Case, cases, value_type};

/// All the memory that there is.
struct Unlimited;

impl Budget for Unlimited {
    fn reserve(&self, _: usize) -> Result<(), OperatorError> {
        Ok(())
    }
}

/// How much floating point numbers may differ, relatively and absolutely, and quantised ones.
type Limits = (f64, f64, i64);

/// What is different, if anything. Floating point numbers may differ by the tolerance,
/// quantised ones by the slack.
fn difference(found: &Tensor, expected: &Tensor, (tolerance, absolute, slack): Limits) -> Option<String> {
    fn first<T: Copy + std::fmt::Debug>(
        found: &[T],
        expected: &[T],
        same: impl Fn(T, T) -> bool,
    ) -> Option<String> {
        let mut pairs = found.iter().zip(expected).enumerate();
        pairs
            .find(|(_, (a, b))| !same(**a, **b))
            .map(|(index, (a, b))| format!("element {index} is {a:?}, not {b:?}"))
    }
    let close = |a: f64, b: f64| {
        a == b || (a.is_nan() && b.is_nan()) || (a - b).abs() <= absolute + tolerance * b.abs()
    };
    let near = |a: i64, b: i64| (a - b).abs() <= slack;
    if found.shape() != expected.shape() || found.element_type() != expected.element_type() {
        let (found, expected) =
            ((found.element_type(), found.shape()), (expected.element_type(), expected.shape()));
        return Some(format!("{found:?} is not {expected:?}"));
    }
    match (found.elements(), expected.elements()) {
        (Elements::Float(a), Elements::Float(b)) => first(a, b, |a, b| close(a.into(), b.into())),
        (Elements::Double(a), Elements::Double(b)) => first(a, b, close),
        (Elements::Half(a), Elements::Half(b)) => first(a, b, |a, b| close(a.to_f64(), b.to_f64())),
        (Elements::Int8(a), Elements::Int8(b)) => first(a, b, |a, b| near(a.into(), b.into())),
        (Elements::Uint8(a), Elements::Uint8(b)) => first(a, b, |a, b| near(a.into(), b.into())),
        (a, b) => (a != b).then(|| format!("{a:?} is not {b:?}")),
    }
}

fn run(case: &Case) -> Result<Vec<Value>, String> {
    let types: Vec<Option<ValueType>> =
        case.inputs.iter().map(|input| input.as_ref().map(value_type)).collect();
    let known: Vec<Option<Input<'_>>> = types
        .iter()
        .map(|known| known.as_ref().map(|value_type| Input { value_type, constant: None }))
        .collect();
    let definition = Definition {
        operator: &case.operator,
        opset: case.opset,
        attributes: &case.attributes,
        inputs: &known,
        outputs: case.outputs.len(),
    };
    let builder = find(&case.domain, &case.operator).ok_or("there is no such operator")?;
    let built = builder(&definition).map_err(|refusal| format!("refused: {refusal}"))?;
    let cancellation = Cancellation::default();
    let outputs = built
        .operator
        .run(case.inputs.clone(), &Context::new(&Unlimited, &cancellation))
        .map_err(|error| format!("failed: {error}"))?;
    for (output, expected) in outputs.iter().zip(&built.types) {
        if value_type(output) != *expected {
            return Err(format!("an output is {:?}, not {expected:?} as was said", value_type(output)));
        }
    }
    Ok(outputs)
}

fn check(case: &Case) -> Result<(), String> {
    let outputs = run(case)?;
    let limits = (case.tolerance, case.absolute, case.slack);
    for (index, expected) in case.outputs.iter().enumerate() {
        let found = outputs.get(index).ok_or(format!("output {index} is missing"))?;
        let differs = match (found, expected) {
            (Value::Tensor(found), Value::Tensor(expected)) => difference(found, expected, limits),
            (Value::Sequence(_, found), Value::Sequence(_, expected)) if found.len() == expected.len() => {
                found.iter().zip(expected).find_map(|(found, expected)| difference(found, expected, limits))
            }
            _ => Some("another kind of value".to_owned()),
        };
        if let Some(differs) = differs {
            return Err(format!("output {index}: {differs}"));
        }
    }
    Ok(())
}

#[test]
fn operators_answer_as_onnx_runtime_does() {
    let mut wrong = BTreeMap::<String, Vec<String>>::new();
    let cases = cases();
    for case in &cases {
        if let Err(reason) = check(case) {
            wrong.entry(case.operator.clone()).or_default().push(format!("{}: {reason}", case.place));
        }
    }
    let lines = wrong.iter().map(|(operator, reasons)| {
        format!(
            "{operator}: {} wrong\n    {}\n",
            reasons.len(),
            reasons.iter().take(8).cloned().collect::<Vec<_>>().join("\n    ")
        )
    });
    assert!(wrong.is_empty(), "of {} cases:\n{}", cases.len(), lines.collect::<String>());
    assert!(cases.len() >= 600, "only {} cases are there", cases.len());
}
