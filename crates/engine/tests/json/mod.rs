//! The cases of `cases/`, which `tests/models` writes: an operator, inputs, and what ONNX
//! Runtime answered.
#![allow(dead_code, unreachable_pub, reason = "each test needs a part of it")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use adytum_engine::{
    operators::{Attribute, Attributes},
    tensor::{ElementType, Elements, Tensor, Text, Value, ValueType},
};
use serde_json::Value as Json;

/// An operator, inputs, and what ONNX Runtime answered.
pub struct Case {
    /// The file and the line.
    pub place: String,
    pub operator: String,
    pub domain: String,
    pub opset: i64,
    pub attributes: Attributes,
    pub inputs: Vec<Option<Value>>,
    pub outputs: Vec<Value>,
    /// How much floating point numbers may differ, relatively and absolutely.
    pub tolerance: f64,
    pub absolute: f64,
    /// How many steps quantised numbers may differ.
    pub slack: i64,
}

/// All cases. OPERATOR_CASES names another folder, such as one of many more cases than are kept.
pub fn cases() -> Vec<Case> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let folder = std::env::var_os("OPERATOR_CASES").map_or(kept, PathBuf::from);
    let mut cases = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    paths.sort();
    for path in paths {
        let list: Json = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        for (index, case) in list.as_array().unwrap().iter().enumerate() {
            cases.push(Case {
                place: format!("{}:{}", path.file_name().unwrap().to_string_lossy(), index + 2),
                operator: case["operator"].as_str().unwrap().to_owned(),
                domain: case["domain"].as_str().unwrap().to_owned(),
                opset: case["opset"].as_i64().unwrap(),
                attributes: case["attributes"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(name, json)| (name.clone(), attribute(json)))
                    .collect(),
                inputs: case["inputs"].as_array().unwrap().iter().map(value).collect(),
                outputs: case["outputs"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|json| value(json).unwrap())
                    .collect(),
                tolerance: case["tolerance"].as_f64().unwrap_or(1e-5),
                absolute: case["absolute"].as_f64().unwrap_or(1e-6),
                slack: case["slack"].as_i64().unwrap_or(0),
            });
        }
    }
    cases
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

pub fn value(json: &Json) -> Option<Value> {
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

pub fn value_type(value: &Value) -> ValueType {
    match value {
        Value::Tensor(tensor) => ValueType::Tensor(tensor.element_type()),
        Value::Sequence(element_type, _) => ValueType::Sequence(*element_type),
        Value::Optional(_) => panic!("no case has an optional"),
    }
}
