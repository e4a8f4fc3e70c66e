//! Models that are damaged, or made to cost more than they weigh.

use std::{collections::HashMap, path::PathBuf};

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::super::*;
use crate::{
    files::InMemory,
    tensorflow::messages::{
        Argument, Attribute, AttributeValue, Dimension, Function, FunctionName, Graph as Definition, Library,
        MetaGraph, Node, OperatorDefinition, SavedModel, Shape, Signature as Declared, Tensor,
        TensorInformation,
    },
};

const NAMES: [&str; 3] =
    ["saved_model.pb", "variables/variables.index", "variables/variables.data-00000-of-00001"];

fn files(fixture: &str) -> InMemory {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(fixture);
    let read = |name: &str| Bytes::from(std::fs::read(directory.join(name)).unwrap());
    InMemory(NAMES.iter().map(|name| ((*name).to_owned(), read(name))).collect())
}

fn node(name: &str, operator: &str, inputs: &[&str], attributes: Vec<(&str, AttributeValue)>) -> Node {
    Node {
        name: name.to_owned(),
        operator: operator.to_owned(),
        inputs: inputs.iter().map(|input| (*input).to_owned()).collect(),
        attributes: attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), Attribute { value: Some(value) }))
            .collect(),
    }
}

fn call(name: &str, function: &str, input: &str) -> Node {
    let function = AttributeValue::Function(FunctionName { name: function.to_owned() });
    node(name, "PartitionedCall", &[input], vec![("f", function)])
}

fn function(name: &str, nodes: Vec<Node>, result: &str) -> Function {
    let argument = |name: &str| Argument { name: name.to_owned(), ..Default::default() };
    let signature = OperatorDefinition {
        name: name.to_owned(),
        inputs: vec![argument("x")],
        outputs: vec![argument("y")],
        attributes: Vec::new(),
    };
    let results = HashMap::from([("y".to_owned(), result.to_owned())]);
    Function { signature: Some(signature), nodes, results }
}

/// A model with one signature from the node `x` to the node `y`.
fn model(nodes: Vec<Node>, functions: Vec<Function>) -> InMemory {
    let tensor = |name: &str| TensorInformation {
        name: format!("{name}:0"),
        kind: 1,
        shape: Some(Shape {
            dimensions: vec![Dimension { size: -1 }, Dimension { size: 4 }],
            unknown_rank: false,
        }),
    };
    let signature = Declared {
        inputs: [("x".to_owned(), tensor("x"))].into(),
        outputs: [("y".to_owned(), tensor("y"))].into(),
        method: String::new(),
    };
    let mut all = vec![node("x", "Placeholder", &[], vec![("dtype", AttributeValue::Type(1))])];
    all.extend(nodes);
    let graph = Definition { nodes: all, library: Some(Library { functions }) };
    let meta = MetaGraph {
        graph: Some(graph),
        signatures: [("serving_default".to_owned(), signature)].into(),
        ..Default::default()
    };
    let bytes = SavedModel { meta_graphs: vec![meta] }.encode_to_vec();
    InMemory([(FILE.to_owned(), bytes.into())].into())
}

fn code(files: &InMemory) -> &'static str {
    import_files(files, Limits::default()).unwrap_err().code()
}

#[test]
fn a_function_that_calls_itself_is_refused() {
    let recursive = function("f", vec![call("again", "f", "x")], "again:output:0");
    assert_eq!(code(&model(vec![call("y", "f", "x")], vec![recursive])), "saved-model-too-large");
}

#[test]
fn functions_that_double_are_refused() {
    let mut functions = vec![function("f0", vec![node("r", "Relu", &["x"], vec![])], "r:activations:0")];
    for level in 1..30 {
        let inner = format!("f{}", level - 1);
        let nodes = vec![call("a", &inner, "x"), call("b", &inner, "a:output:0")];
        functions.push(function(&format!("f{level}"), nodes, "b:output:0"));
    }
    assert_eq!(code(&model(vec![call("y", "f29", "x")], functions)), "saved-model-too-large");
}

#[test]
fn a_long_chain_is_no_deep_recursion() {
    let mut nodes = vec![node("n0", "Relu", &["x"], vec![])];
    for index in 1..100_000 {
        nodes.push(node(&format!("n{index}"), "Neg", &[&format!("n{}", index - 1)], vec![]));
    }
    nodes.push(node("y", "Identity", &["n99999"], vec![]));
    assert!(import_files(&model(nodes, Vec::new()), Limits::default()).is_ok());
}

#[test]
fn a_circle_is_refused() {
    let nodes = vec![
        node("a", "Relu", &["b"], vec![]),
        node("b", "Relu", &["a"], vec![]),
        node("y", "Add", &["a", "x"], vec![]),
    ];
    assert_eq!(code(&model(nodes, Vec::new())), "saved-model-invalid-graph");
}

#[test]
fn an_input_that_is_nowhere_is_refused() {
    assert_eq!(
        code(&model(vec![node("y", "Relu", &["z"], vec![])], Vec::new())),
        "saved-model-invalid-graph"
    );
    assert_eq!(
        code(&model(vec![node("y", "Relu", &["x:7"], vec![])], Vec::new())),
        "saved-model-unsupported"
    );
}

#[test]
fn one_value_that_fills_a_huge_tensor_is_refused() {
    let shape = Shape { dimensions: vec![Dimension { size: 1 << 40 }], unknown_rank: false };
    let literal = Tensor { kind: 1, shape: Some(shape), floats: vec![1.0], ..Default::default() };
    let nodes = vec![
        node("c", "Const", &[], vec![("value", AttributeValue::Tensor(literal))]),
        node("y", "Add", &["x", "c"], vec![]),
    ];
    assert_eq!(code(&model(nodes, Vec::new())), "saved-model-unsupported");
}

#[test]
fn every_operator_without_a_conversion_is_named() {
    let nodes = vec![
        node("a", "Frobnicate", &["x"], vec![]),
        node("b", "Frobnicate", &["x"], vec![]),
        node("c", "Defenestrate", &["x"], vec![]),
        node("sum", "AddN", &["a", "b", "c"], vec![]),
        node("y", "Relu", &["sum"], vec![]),
    ];
    let error = import_files(&model(nodes, Vec::new()), Limits::default()).unwrap_err();
    let ImportError::Unsupported(list) = &error else { panic!("{error}") };
    let listed: Vec<(&str, &str, usize)> =
        list.0.iter().map(|o| (o.operator.as_str(), o.node.as_str(), o.count)).collect();
    assert_eq!(listed, [("Frobnicate", "a", 2), ("Defenestrate", "c", 1)]);
    assert!(error.to_string().contains("Frobnicate (2 times, first at a"));
}

#[test]
fn a_model_that_changes_a_variable_is_refused() {
    let nodes = vec![
        node("v", "VarHandleOp", &[], vec![]),
        node("write", "AssignAddVariableOp", &["v", "x"], vec![]),
        node("y", "Relu", &["x", "^write"], vec![]),
    ];
    let error = import_files(&model(nodes, Vec::new()), Limits::default()).unwrap_err();
    assert!(error.to_string().contains("it changes a variable"), "{error}");
}

#[test]
fn a_variable_without_a_value_is_refused() {
    let nodes = vec![
        node("v", "VarHandleOp", &[], vec![]),
        node("read", "ReadVariableOp", &["v"], vec![]),
        node("y", "Add", &["x", "read"], vec![]),
    ];
    assert_eq!(code(&model(nodes, Vec::new())), "saved-model-no-value");
}

#[test]
fn changed_weights_are_found() {
    let mut files = files("convolution");
    let data = files.0.get_mut(NAMES[2]).unwrap();
    let mut changed = data.to_vec();

    changed.iter_mut().for_each(|byte| *byte ^= 1);
    *data = changed.into();
    let error = import_files(&files, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}

#[test]
fn what_is_no_saved_model_says_so() {
    assert_eq!(code(&InMemory::default()), "saved-model-missing");
    let text = InMemory([(FILE.to_owned(), Bytes::from_static(b"version https://git-lfs\n"))].into());
    assert_eq!(code(&text), "saved-model-malformed");
    let chunked = InMemory([("saved_model.cpb".to_owned(), Bytes::new())].into());
    assert!(import_files(&chunked, Limits::default()).unwrap_err().to_string().contains("several parts"));
}

#[test]
fn an_asset_outside_the_directory_is_not_read() {
    let mut files = files("vocabulary_file");
    let definition = files.0.get_mut(FILE).unwrap();
    let position = definition.windows(9).rposition(|window| window == b"words.txt").unwrap();
    let mut changed = definition.to_vec();
    changed[position..position + 9].copy_from_slice(b"../../a.t");
    *definition = changed.into();
    let error = import_files(&files, Limits::default()).unwrap_err();
    assert!(error.to_string().contains("leaves the directory"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_damaged_model_is_imported_or_refused(
        fixture in prop::sample::select(vec!["half_plus_two", "loop", "lstm", "convolution", "example_classifier"]),
        file in 0usize..3,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut files = files(fixture);
        let bytes = files.0.get_mut(NAMES[file]).unwrap();
        let mut changed = bytes.to_vec();
        for (position, byte) in changes {
            let position = position.index(changed.len());
            changed[position] = byte;
        }
        if let Some(cut) = cut {
            changed.truncate(cut.index(changed.len()));
        }
        *bytes = changed.into();
        let limits = Limits { constant_bytes: 64 << 20, nodes: 20_000, ..Limits::default() };
        let _ = import_files(&files, limits);
    }
}
