//! Every case of `cases/`: an operator, inputs, and what ONNX Runtime answered.
//! `tests/models/operator_cases.py` writes them.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_engine::{
    operators::{
        Attribute, Attributes, Budget, Cancellation, Context, Definition, Input, OperatorError, find,
    },
    tensor::{ElementType, Elements, Tensor, Text, Value, ValueType},
};
use serde_json::Value as Json;

/// All the memory that there is.
struct Unlimited;

impl Budget for Unlimited {
    fn reserve(&self, _: usize) -> Result<(), OperatorError> {
        Ok(())
    }
}

fn element_type(name: &str) -> ElementType {
    *ElementType::ALL.iter().find(|known| known.to_string() == name).expect(name)
}

fn number(json: &Json) -> f64 {
    match json {
        Json::String(text) => text.parse().expect("a number"),
        Json::Bool(flag) => f64::from(u8::from(*flag)),
        other => other.as_f64().expect("a number"),
    }
}

fn tensor(json: &Json) -> Tensor {
    let shape: Vec<usize> =
        json["shape"].as_array().unwrap().iter().map(|size| size.as_u64().unwrap() as usize).collect();
    let data = json["data"].as_array().unwrap();
    fn all<T>(data: &[Json], convert: impl Fn(&Json) -> T) -> Arc<Vec<T>> {
        Arc::new(data.iter().map(convert).collect())
    }
    let integer = |json: &Json| json.as_i64().unwrap();
    let elements = match element_type(json["type"].as_str().unwrap()) {
        ElementType::Float => Elements::Float(all(data, |json| number(json) as f32)),
        ElementType::Double => Elements::Double(all(data, number)),
        ElementType::Half => Elements::Half(all(data, |json| half::f16::from_f64(number(json)))),
        ElementType::Int8 => Elements::Int8(all(data, |json| integer(json) as i8)),
        ElementType::Int16 => Elements::Int16(all(data, |json| integer(json) as i16)),
        ElementType::Int32 => Elements::Int32(all(data, |json| integer(json) as i32)),
        ElementType::Int64 => Elements::Int64(all(data, integer)),
        ElementType::Uint8 => Elements::Uint8(all(data, |json| integer(json) as u8)),
        ElementType::Uint16 => Elements::Uint16(all(data, |json| integer(json) as u16)),
        ElementType::Uint32 => Elements::Uint32(all(data, |json| integer(json) as u32)),
        ElementType::Uint64 => Elements::Uint64(all(data, |json| json.as_u64().unwrap())),
        ElementType::Bool => Elements::Bool(all(data, |json| json.as_bool().unwrap())),
        ElementType::Text => Elements::Text(all(data, |json| Text::from(json.as_str().unwrap().to_owned()))),
        other => panic!("{other}"),
    };
    Tensor::new(shape, elements).expect("as many elements as the shape has")
}

fn value(json: &Json) -> Option<Value> {
    if json.is_null() {
        return None;
    }
    match json.get("sequence") {
        None => Some(tensor(json).into()),
        Some(tensors) => {
            let tensors: Vec<Tensor> = tensors.as_array().unwrap().iter().map(tensor).collect();
            Some(Value::Sequence(tensors[0].element_type(), tensors))
        }
    }
}

fn attribute(json: &Json) -> Attribute {
    let (kind, given) = json.as_object().unwrap().iter().next().unwrap();
    let list = || given.as_array().unwrap().iter();
    let text = |json: &Json| Text::from(json.as_str().unwrap().to_owned());
    match kind.as_str() {
        "float" => Attribute::Float(number(given) as f32),
        "integer" => Attribute::Integer(given.as_i64().unwrap()),
        "text" => Attribute::Text(text(given)),
        "tensor" => Attribute::Tensor(tensor(given)),
        "floats" => Attribute::Floats(list().map(|json| number(json) as f32).collect()),
        "integers" => Attribute::Integers(list().map(|json| json.as_i64().unwrap()).collect()),
        "texts" => Attribute::Texts(list().map(text).collect()),
        other => panic!("{other}"),
    }
}

fn value_type(value: &Value) -> ValueType {
    match value {
        Value::Tensor(tensor) => ValueType::Tensor(tensor.element_type()),
        Value::Sequence(element_type, _) => ValueType::Sequence(*element_type),
        Value::Optional(_) => panic!("no case has an optional"),
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

fn run(case: &Json) -> Result<Vec<Value>, String> {
    let inputs: Vec<Option<Value>> = case["inputs"].as_array().unwrap().iter().map(value).collect();
    let types: Vec<Option<ValueType>> = inputs.iter().map(|input| input.as_ref().map(value_type)).collect();
    let known: Vec<Option<Input<'_>>> = types
        .iter()
        .map(|known| known.as_ref().map(|value_type| Input { value_type, constant: None }))
        .collect();
    let attributes: Attributes = case["attributes"]
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, json)| (name.clone(), attribute(json)))
        .collect();
    let operator = case["operator"].as_str().unwrap();
    let definition = Definition {
        operator,
        opset: case["opset"].as_i64().unwrap(),
        attributes: &attributes,
        inputs: &known,
        outputs: case["outputs"].as_array().unwrap().len(),
    };
    let builder = find(case["domain"].as_str().unwrap(), operator).ok_or("there is no such operator")?;
    let built = builder(&definition).map_err(|refusal| format!("refused: {refusal}"))?;
    let cancellation = Cancellation::default();
    let outputs = built
        .operator
        .run(inputs, &Context::new(&Unlimited, &cancellation))
        .map_err(|error| format!("failed: {error}"))?;
    for (output, expected) in outputs.iter().zip(&built.types) {
        if value_type(output) != *expected {
            return Err(format!("an output is {:?}, not {expected:?} as was said", value_type(output)));
        }
    }
    Ok(outputs)
}

fn check(case: &Json) -> Result<(), String> {
    let outputs = run(case)?;
    let limits = (
        case["tolerance"].as_f64().unwrap_or(1e-5),
        case["absolute"].as_f64().unwrap_or(1e-6),
        case["slack"].as_i64().unwrap_or(0),
    );
    for (index, expected) in case["outputs"].as_array().unwrap().iter().enumerate() {
        let expected = value(expected).unwrap();
        let found = outputs.get(index).ok_or(format!("output {index} is missing"))?;
        let differs = match (found, &expected) {
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
    // OPERATOR_CASES names another folder, such as one of many more cases than are kept.
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folder = std::env::var_os("OPERATOR_CASES").map_or(kept, PathBuf::from);
    let mut wrong = BTreeMap::<String, Vec<String>>::new();
    let mut count = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let cases: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (index, case) in cases.as_array().unwrap().iter().enumerate() {
            count += 1;
            if let Err(reason) = check(case) {
                let operator = case["operator"].as_str().unwrap().to_owned();
                let place = format!("{}:{}", path.file_name().unwrap().to_string_lossy(), index + 2);
                wrong.entry(operator).or_default().push(format!("{place}: {reason}"));
            }
        }
    }
    let lines = wrong.iter().map(|(operator, reasons)| {
        format!(
            "{operator}: {} wrong\n    {}\n",
            reasons.len(),
            reasons.iter().take(8).cloned().collect::<Vec<_>>().join("\n    ")
        )
    });
    assert!(wrong.is_empty(), "of {count} cases:\n{}", lines.collect::<String>());
    assert!(count >= 600, "only {count} cases are there");
}
