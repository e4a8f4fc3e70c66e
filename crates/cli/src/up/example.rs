//! A request of this model's shape, and programs that send it.

use std::{fmt::Write as _, path::Path};

use adytum_engine::tensor::{Elements, Tensor};
use anyhow::Context as _;
use serde_json::{Map, Value, json};

use crate::{
    model::report::Report,
    owner_directory::replace,
    request::{python_literal, quoted},
};

/// A request with more values than these is a file.
const MAXIMUM_SHOWN: usize = 32;

/// The signature that requests mean if they name none.
const DEFAULT_SIGNATURE: &str = "serving_default";

/// A request that the model has answered when it was checked.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Example {
    request: Value,
    values: usize,
    /// The inputs, for people: `X float[1, 4]`.
    pub(super) inputs: String,
}

impl Example {
    /// From a check of the model.
    pub(super) fn of(report: &Report) -> anyhow::Result<Self> {
        // An input of examples is made of features, which a request does not name.
        let takes_tensors = |signature: &&crate::model::report::SignatureReport| {
            signature.signature.as_ref().is_none_or(|signature| signature.examples.is_none())
        };
        let name = |signature: &&crate::model::report::SignatureReport| {
            signature.signature.as_ref().is_none_or(|signature| signature.name == DEFAULT_SIGNATURE)
        };
        let mut all = report.signatures.iter().filter(takes_tensors);
        let chosen = report.signatures.iter().filter(takes_tensors).find(name).or_else(|| all.next());
        let chosen = chosen.ok_or_else(|| {
            input_error!("the model has no signature that takes tensors; export it with one")
        })?;
        let (mut inputs, mut values, mut words) = (Map::new(), 0, Vec::new());
        for (tensor_name, tensor) in &chosen.tried.example {
            let bindings = chosen.signature.as_ref().map(|signature| signature.inputs.iter());
            let bound = bindings.and_then(|mut all| all.find(|binding| binding.tensor == *tensor_name));
            let name = bound.map_or(tensor_name, |binding| &binding.name);
            values += tensor.len();
            words.push(format!("{name} {}{:?}", tensor.element_type(), tensor.shape()));
            inputs.insert(name.clone(), nested(tensor)?);
        }
        let mut request = json!({ "inputs": inputs });
        if let (Some(signature), Some(fields)) = (&chosen.signature, request.as_object_mut())
            && signature.name != DEFAULT_SIGNATURE
        {
            fields.insert("signature_name".to_owned(), json!(signature.name));
        }
        Ok(Self { request, values, inputs: words.join(", ") })
    }

    /// The request as it is sent.
    pub(super) fn json(&self) -> String {
        self.request.to_string()
    }

    fn is_short(&self) -> bool {
        self.values <= MAXIMUM_SHOWN
    }

    /// A command of `curl`. `file` is where the request is, too.
    pub(super) fn curl(&self, url: &str, certificate: &str, file: &str) -> String {
        let data = if self.is_short() { quoted(&self.json()) } else { quoted(&format!("@{file}")) };
        format!("curl --cacert {} -d {data} {url}", quoted(certificate))
    }

    /// A program in Python, of its standard library only.
    pub(super) fn python(&self, url: &str, certificate: &str, file: &str) -> String {
        let mut program = String::from("import json, ssl, urllib.request\n\n");
        let request = match self.is_short() {
            true => python_literal(&self.request),
            false => format!("json.load(open({}))", python_text(file)),
        };
        // A `String` takes all that is written to it.
        let _ = write!(
            program,
            "request = {request}\n\
             trusted = ssl.create_default_context(cafile={})\n\
             answer = urllib.request.urlopen({}, json.dumps(request).encode(), context=trusted)\n\
             print(json.load(answer)[\"outputs\"])\n",
            python_text(certificate),
            python_text(url),
        );
        program
    }
}

impl Example {
    /// The flags of `adytum call` that give this request. Long inputs are files below `directory`,
    /// which is shown as `shown`.
    pub(super) fn call(&self, directory: &Path, shown: &str) -> anyhow::Result<String> {
        let mut flags = String::new();
        if let Some(Value::String(signature)) = self.request.get("signature_name") {
            let _ = write!(flags, " --signature {}", quoted(signature));
        }
        let inputs = self.request.get("inputs").and_then(Value::as_object);
        for (index, (name, values)) in inputs.into_iter().flatten().enumerate() {
            let values = match self.is_short() {
                true => values.to_string(),
                false => {
                    let file = format!("input-{}.json", index + 1);
                    replace(&directory.join(&file), values.to_string().as_bytes(), 0o644)?;
                    format!("@{shown}/{file}")
                }
            };
            let _ = write!(flags, " --input {}", quoted(&format!("{name}={values}")));
        }
        Ok(flags)
    }
}

/// JSON's texts are Python's, too.
fn python_text(text: &str) -> String {
    json!(text).to_string()
}

/// A tensor's values as lists in lists.
fn nested(tensor: &Tensor) -> anyhow::Result<Value> {
    let real = |value: f64| {
        // Two digits are enough for an example.
        let rounded = (value * 100.0).round() / 100.0;
        serde_json::Number::from_f64(rounded).map_or(json!("NaN"), Value::Number)
    };
    let values: Vec<Value> = match tensor.elements() {
        Elements::Float(all) => all.iter().map(|value| real(f64::from(*value))).collect(),
        Elements::Double(all) => all.iter().map(|value| real(*value)).collect(),
        Elements::Half(all) => all.iter().map(|value| real(f64::from(*value))).collect(),
        Elements::Bfloat16(all) => all.iter().map(|value| real(f64::from(*value))).collect(),
        Elements::Int8(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Int16(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Int32(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Int64(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Uint8(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Uint16(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Uint32(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Uint64(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Bool(all) => all.iter().map(|value| json!(value)).collect(),
        Elements::Text(all) => {
            let text = |value: &adytum_engine::tensor::Text| {
                std::str::from_utf8(value.as_ref()).map(|text| json!(text))
            };
            all.iter().map(text).collect::<Result<_, _>>().context("an input's text")?
        }
    };
    Ok(shaped(values, tensor.shape()))
}

/// Values in the shape of a tensor; a scalar is one value.
fn shaped(mut values: Vec<Value>, shape: &[usize]) -> Value {
    for size in shape.iter().skip(1).rev() {
        values = match size {
            0 => Vec::new(),
            size => values.chunks(*size).map(|row| Value::Array(row.to_vec())).collect(),
        };
    }
    match (shape, values.pop()) {
        ([], Some(scalar)) => scalar,
        (_, Some(last)) => {
            values.push(last);
            Value::Array(values)
        }
        (_, None) => json!([]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(values: usize) -> Example {
        let row: Vec<f64> = vec![0.5; values];
        Example { request: json!({"inputs": {"it's": [row, [true, 7]]}}), values, inputs: String::new() }
    }

    #[test]
    fn values_are_nested_as_the_shape_says() {
        let tensor = Tensor::from_vec(vec![2, 1, 3], vec![1_i64, 2, 3, 4, 5, i64::MAX]).unwrap();
        assert_eq!(nested(&tensor).unwrap(), json!([[[1, 2, 3]], [[4, 5, i64::MAX]]]));
        let tensor = Tensor::from_vec(vec![2], vec![0.123_f32, 1.0]).unwrap();
        assert_eq!(nested(&tensor).unwrap(), json!([0.12, 1.0]));
        assert_eq!(nested(&Tensor::scalar(true)).unwrap(), json!(true));
        let empty = Tensor::from_vec(vec![0, 3], Vec::<f32>::new()).unwrap();
        assert_eq!(nested(&empty).unwrap(), json!([]));
    }

    #[test]
    fn a_short_request_is_in_the_command_and_a_long_one_in_a_file() {
        let short = example(2).curl("https://localhost:1/x", "a b/server.crt", "request.json");
        assert_eq!(
            short,
            r#"curl --cacert 'a b/server.crt' -d '{"inputs":{"it'\''s":[[0.5,0.5],[true,7]]}}' https://localhost:1/x"#
        );
        let long = example(100).curl("https://localhost:1/x", "server.crt", "request.json");
        assert_eq!(long, "curl --cacert server.crt -d @request.json https://localhost:1/x");
    }

    #[test]
    fn python_gets_its_own_literals() {
        let program = example(1).python("https://localhost:1/x", "server.crt", "request.json");
        assert!(program.contains("request = {\"inputs\": {\"it's\": [[0.5], [True, 7]]}}\n"), "{program}");
        let program = example(100).python("https://localhost:1/x", "server.crt", "request.json");
        assert!(program.contains("request = json.load(open(\"request.json\"))\n"), "{program}");
    }
}
