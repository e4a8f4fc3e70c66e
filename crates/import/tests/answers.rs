//! Imported models answer as TensorFlow does. The answers next to the models in
//! `tests/data` are TensorFlow's own (`tests/models/import_fixtures.py`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]
#![allow(missing_docs, reason = "a test")]

use std::{collections::BTreeMap, path::PathBuf};

use adytum_import::{limits::Limits, saved_model, signature::Signature};
use rten_tensor::{NdTensor, Tensor, prelude::*};
use serde::Deserialize;

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Expected {
    inputs: BTreeMap<String, Values>,
    outputs: BTreeMap<String, Values>,
}

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn run(onnx: Vec<u8>, inputs: Vec<(&str, Tensor<f32>)>, output: &str) -> Tensor<f32> {
    let model = rten::Model::load(onnx).unwrap();
    let inputs =
        inputs.into_iter().map(|(name, value)| (model.node_id(name).unwrap(), value.into())).collect();
    let output = model.node_id(output).unwrap();
    let [result] = model.run_n(inputs, [output], None).unwrap();
    result.try_into().unwrap()
}

fn compare(name: &str) {
    let expected = std::fs::read(directory(name).join("expected.json")).unwrap();
    let expected: Expected = serde_json::from_slice(&expected).unwrap();
    let imported = saved_model::import(&directory(name), Limits::default()).unwrap();
    let signature: &Signature =
        imported.signatures.iter().find(|signature| signature.name == "serving_default").unwrap();
    for binding in &signature.outputs {
        let inputs = signature.inputs.iter().map(|input| {
            let Values { shape, values } = &expected.inputs[&input.name];
            (input.tensor.as_str(), Tensor::from_data(shape, values.clone()))
        });
        let answer = run(imported.onnx.clone(), inputs.collect(), &binding.tensor);
        let wanted = &expected.outputs[&binding.name];
        assert_eq!(answer.shape(), wanted.shape.as_slice(), "{name}/{}", binding.name);
        let largest = wanted.values.iter().fold(0f32, |largest, value| largest.max(value.abs()));
        for (ours, theirs) in answer.iter().zip(&wanted.values) {
            assert!((ours - theirs).abs() <= 1e-5 * largest, "{name}/{}: {ours}, not {theirs}", binding.name);
        }
    }
}

#[test]
fn a_convolutional_network() {
    compare("convolution");
}

#[test]
fn a_recurrent_network() {
    compare("lstm");
}

#[test]
fn a_loop_whose_end_is_computed() {
    compare("loop");
}

#[test]
fn half_plus_two_predicts() {
    compare("half_plus_two");
}

#[test]
fn half_plus_two_regresses_what_examples_hold() {
    let imported = saved_model::import(&directory("half_plus_two"), Limits::default()).unwrap();
    for (name, feature, factor) in [("regress_x_to_y", "x", 2.0), ("regress_x2_to_y3", "x2", 3.0)] {
        let signature = imported.signatures.iter().find(|signature| signature.name == name).unwrap();
        let features = &signature.examples.as_ref().unwrap().features;
        let tensor = &features.iter().find(|known| known.name == feature).unwrap().tensor;
        let input: Tensor<f32> = NdTensor::from_data([2, 1], vec![1.0, 5.0]).into_dyn();
        let answer = run(imported.onnx.clone(), vec![(tensor, input)], &signature.outputs[0].tensor);
        assert_eq!(answer.to_vec(), [0.5 + factor, 2.5 + factor]);
    }
}
