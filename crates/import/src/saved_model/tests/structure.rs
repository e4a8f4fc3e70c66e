//! What the imported graphs of the SavedModels in `tests/data` are made of.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use prost::Message;

use super::super::*;
use crate::{
    files::InMemory,
    onnx::messages,
    signature::{Feature, FeatureList, FeatureValues, Method},
};

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn imported(name: &str) -> (Imported, messages::Model) {
    let imported = import(&directory(name), Limits::default()).unwrap();
    let model = messages::Model::decode(imported.onnx.as_slice()).unwrap();
    (imported, model)
}

fn operators(model: &messages::Model) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for node in &model.graph.as_ref().unwrap().nodes {
        *counts.entry(node.operator.clone()).or_default() += 1;
    }
    counts
}

#[test]
fn transpositions_cancel_and_scales_are_merged() {
    let (_, model) = imported("convolution");
    let counts = operators(&model);
    // One where the image comes in, one before it is flattened in TensorFlow's order.
    assert_eq!(counts.get("Transpose"), Some(&2), "{counts:?}");
    assert_eq!(counts.get("Conv"), Some(&3));
    // The normalisation and the biases are part of the convolutions; the dense layer has its own.
    assert_eq!((counts.get("Mul"), counts.get("Add")), (None, Some(&2)), "{counts:?}");
}

#[test]
fn names_and_the_batch_stay() {
    let (imported, model) = imported("convolution");
    let graph = model.graph.unwrap();
    assert_eq!(graph.inputs[0].name, "keras_tensor");
    assert_eq!(graph.outputs[0].name, "output_0");
    let shape = graph.inputs[0].kind.clone().unwrap().tensor.unwrap().shape.unwrap();
    let batch = messages::DimensionValue::Symbol("batch".to_owned());
    assert_eq!(shape.dimensions[0].value, Some(batch.clone()));
    let shape = graph.outputs[0].kind.clone().unwrap().tensor.unwrap().shape.unwrap();
    let sizes: Vec<_> = shape.dimensions.into_iter().map(|dimension| dimension.value).collect();
    assert_eq!(sizes, [Some(batch), Some(messages::DimensionValue::Size(3))]);
    assert_eq!(imported.tags, ["serve"]);
    assert!(!imported.tensorflow_version.is_empty());
}

#[test]
fn signatures_are_in_the_file() {
    let (imported, model) = imported("half_plus_two");
    let entry = model.metadata.iter().find(|entry| entry.key == METADATA_KEY).unwrap();
    let read: Vec<Signature> = serde_json::from_str(&entry.value).unwrap();
    assert_eq!(read, imported.signatures);
}

#[test]
fn examples_become_features() {
    let (imported, model) = imported("half_plus_two");
    let methods: Vec<(&str, &Method)> =
        imported.signatures.iter().map(|signature| (signature.name.as_str(), &signature.method)).collect();
    assert_eq!(
        methods,
        [
            ("classify_x_to_y", &Method::Classify),
            ("regress_x2_to_y3", &Method::Regress),
            ("regress_x_to_y", &Method::Regress),
            ("regress_x_to_y2", &Method::Regress),
            ("serving_default", &Method::Predict),
        ]
    );
    let regress = &imported.signatures[2];
    assert!(regress.inputs.is_empty());
    let examples = regress.examples.as_ref().unwrap();
    assert_eq!(examples.input, "inputs");
    let optional = Feature {
        name: "x2".to_owned(),
        tensor: "x2".to_owned(),
        list: FeatureList::Float,
        shape: vec![Some(1)],
        default: Some(FeatureValues::Float(vec![0])),
    };
    assert_eq!(examples.features[1], optional);
    assert_eq!(examples.features[0].default, None);
    // The string of examples is no input of the graph.
    let inputs: Vec<String> = model.graph.unwrap().inputs.into_iter().map(|input| input.name).collect();
    assert_eq!(inputs, ["x", "x2", "x_1"]);
}

#[test]
fn features_of_all_lists_are_described() {
    let (imported, model) = imported("example_classifier");
    let examples = imported.signatures[0].examples.clone().unwrap();
    let find = |name: &str| examples.features.iter().find(|feature| feature.name == name).unwrap();
    let three = [1f32, 2.0, 3.0].map(f32::to_bits).to_vec();
    assert_eq!(find("numbers").default, Some(FeatureValues::Float(three)));
    assert_eq!((find("count").list, &find("count").default), (FeatureList::Int64, &None));
    assert_eq!(find("kind").default, Some(FeatureValues::Bytes(vec![b"low".to_vec()])));
    assert_eq!(operators(&model).get("LabelEncoder"), Some(&1));
}

#[test]
fn a_table_is_read_from_the_assets() {
    let (_, model) = imported("vocabulary_file");
    let graph = model.graph.unwrap();
    let attribute = |name: &str| graph.nodes[0].attributes.iter().find(|a| a.name == name).unwrap().clone();
    assert_eq!(graph.nodes[0].operator, "LabelEncoder");
    assert_eq!(attribute("keys_strings").texts, ["one", "two", "three"].map(Bytes::from_static_str));
    assert_eq!(attribute("values_int64s").integers, [0, 1, 2]);
    assert_eq!(attribute("default_int64").integer, Some(-1));
}

trait FromStaticStr {
    fn from_static_str(text: &'static str) -> Self;
}

impl FromStaticStr for Bytes {
    fn from_static_str(text: &'static str) -> Self {
        Self::from_static(text.as_bytes())
    }
}

#[test]
fn a_recurrent_loop_becomes_a_layer_and_another_stays() {
    let (_, model) = imported("lstm");
    let counts = operators(&model);
    assert_eq!((counts.get("LSTM"), counts.get("Loop")), (Some(&1), None), "{counts:?}");
    let (_, model) = imported("loop");
    assert_eq!(operators(&model).get("Loop"), Some(&1));
}

#[test]
fn files_in_memory_are_a_model_too() {
    let mut files = InMemory::default();
    for name in ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"] {
        files.0.insert(name.to_owned(), std::fs::read(directory("convolution").join(name)).unwrap().into());
    }
    let in_memory = import_files(&files, Limits::default()).unwrap();
    assert_eq!(in_memory.onnx, import(&directory("convolution"), Limits::default()).unwrap().onnx);
}

#[test]
fn a_compressed_index_is_read() {
    let mut files = InMemory::default();
    for name in ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"] {
        files.0.insert(name.to_owned(), std::fs::read(directory("convolution").join(name)).unwrap().into());
    }
    let index = files.0.get("variables/variables.index").unwrap();
    let entries = crate::tensorflow::table::read(index, 1 << 20).unwrap();
    let entries: Vec<(Vec<u8>, Vec<u8>)> = entries.into_iter().map(|(k, v)| (k, v.to_vec())).collect();
    let compressed = crate::tensorflow::table::tests::write(&entries, 3, true);
    files.0.insert("variables/variables.index".to_owned(), compressed.into());
    assert!(import_files(&files, Limits::default()).is_ok());
}
