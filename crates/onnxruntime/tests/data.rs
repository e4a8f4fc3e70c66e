//! Data in other files, and files that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{collections::BTreeMap, sync::Mutex};

use adytum_engine::{
    onnx::files::{DataFiles, FileName},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
};
use fixture::{
    load, load_from,
    onnx::{Attribute, FLOAT, floats, graph, model, node, put_bytes, put_number, value},
    run, runtime,
};
use proptest::prelude::*;

/// Files in memory, and what was read of them.
#[derive(Default)]
struct Files {
    content: BTreeMap<String, Vec<u8>>,
    read: Mutex<Vec<String>>,
}

impl DataFiles for Files {
    fn read(&self, name: &FileName, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        self.read.lock().unwrap().push(name.as_str().to_owned());
        let start = usize::try_from(offset).unwrap();
        let content = self.content.get(name.as_str()).ok_or("there is no such file")?;
        content.get(start..start + length).map(<[u8]>::to_vec).ok_or_else(|| "it is too short".to_owned())
    }
}

/// Two files; the floats begin at byte 8 of the first.
fn files() -> Files {
    let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let mut first = vec![0_u8; 8];
    first.extend(bytes(&[1.0, 2.0, 3.0]));
    let content = [("weights.data".to_owned(), first), ("dir/bias".to_owned(), bytes(&[10.0, 20.0, 30.0]))];
    Files { content: content.into(), read: Mutex::default() }
}

fn outside(name: &str, shape: &[i64], location: &str, offset: &str) -> Vec<u8> {
    let mut tensor = Vec::new();
    for size in shape {
        put_number(&mut tensor, 1, size.cast_unsigned());
    }
    put_number(&mut tensor, 2, FLOAT);
    put_bytes(&mut tensor, 8, name.as_bytes());
    for (key, value) in [("location", location), ("offset", offset)] {
        let mut entry = Vec::new();
        put_bytes(&mut entry, 1, key.as_bytes());
        put_bytes(&mut entry, 2, value.as_bytes());
        put_bytes(&mut tensor, 13, &entry);
    }
    put_number(&mut tensor, 14, 1);
    tensor
}

fn with_weights(weights: Vec<u8>) -> Vec<u8> {
    model(
        &[node("Mul", &["x", "w"], &["y"], &[])],
        &[value("x", FLOAT, &[3])],
        &[value("y", FLOAT, &[3])],
        &[weights],
    )
}

#[test]
fn constants_in_other_files_are_brought_along() {
    let Some(runtime) = runtime() else { return };
    let file = model(
        &[node("Mul", &["x", "w"], &["a"], &[]), node("Add", &["a", "b"], &["y"], &[])],
        &[value("x", FLOAT, &[3])],
        &[value("y", FLOAT, &[3])],
        &[outside("w", &[3], "weights.data", "8"), outside("b", &[3], "dir/bias", "0")],
    );
    let expected = [Value::Tensor(Tensor::vector(vec![12.0_f32, 24.0, 36.0]))];
    for engine in [&runtime as &dyn adytum_engine::engine::Engine, &StaticEngine] {
        let loaded = load_from(engine, &file, &files()).unwrap();
        assert_eq!(run(loaded.as_ref(), vec![Tensor::vector(vec![2.0_f32; 3])]).unwrap(), expected);
    }
}

/// In a node's attribute, and in a graph of a node: places that ONNX Runtime would look up by
/// itself.
#[test]
fn data_of_other_files_inside_of_nodes_is_brought_along() {
    let Some(runtime) = runtime() else { return };
    let branch = |place: Vec<u8>| {
        graph(
            &[node("Mul", &["x", "w"], &["of_branch"], &[])],
            &[],
            &[value("of_branch", FLOAT, &[3])],
            &[place],
        )
    };
    let constant = Attribute::Tensor("value", outside("", &[3], "dir/bias", "0"));
    let branches = [
        Attribute::Graph("then_branch", branch(outside("w", &[3], "weights.data", "8"))),
        Attribute::Graph("else_branch", branch(floats("w", &[3], &[0.0; 3]))),
    ];
    let file = model(
        &[
            node("Constant", &[], &["b"], &[constant]),
            node("If", &["condition"], &["a"], &branches),
            node("Add", &["a", "b"], &["y"], &[]),
        ],
        &[value("x", FLOAT, &[3]), value("condition", 9, &[])],
        &[value("y", FLOAT, &[3])],
        &[],
    );
    let loaded = load_from(&runtime, &file, &files()).unwrap();
    let found = run(loaded.as_ref(), vec![Tensor::vector(vec![2.0_f32; 3]), Tensor::scalar(true)]).unwrap();
    assert_eq!(found, [Value::Tensor(Tensor::vector(vec![12.0_f32, 24.0, 36.0]))]);
}

/// A sealed model must not make the server read files of the host.
#[test]
fn no_file_is_read_that_is_not_the_models() {
    let Some(runtime) = runtime() else { return };
    // A file that is there, in the directory of the process.
    let name = "adytum-onnxruntime-test.data";
    let directory = std::env::current_dir().unwrap();
    let here = tempfile::Builder::new().prefix(name).tempfile_in(&directory).unwrap();
    std::fs::write(here.path(), [0_u8; 12]).unwrap();
    let here = here.path().file_name().unwrap().to_str().unwrap().to_owned();
    for location in [here.as_str(), "/etc/passwd", "../secret", "weights.data/../../secret", ""] {
        let inside = Attribute::Tensor("value", outside("", &[3], location, "0"));
        let in_node = model(
            &[node("Constant", &[], &["w"], &[inside]), node("Mul", &["x", "w"], &["y"], &[])],
            &[value("x", FLOAT, &[3])],
            &[value("y", FLOAT, &[3])],
            &[],
        );
        for file in [with_weights(outside("w", &[3], location, "0")), in_node] {
            let files = files();
            let Err(error) = load_from(&runtime, &file, &files) else { panic!("{location:?} was read") };
            assert_eq!(error.code(), "onnx-tensor", "{error}");
            assert!(files.read.lock().unwrap().iter().all(|read| *read == here));
            let Err(error) = load(&runtime, &file) else { panic!("{location:?} was read") };
            assert_eq!(error.code(), "onnx-tensor", "{error}");
        }
    }
}

#[test]
fn data_that_does_not_fit_is_refused() {
    let Some(runtime) = runtime() else { return };
    for weights in [
        outside("w", &[3], "weights.data", "9"),
        outside("w", &[3], "weights.data", "-1"),
        outside("w", &[1 << 40, 1 << 40], "weights.data", "0"),
        outside("w", &[-1], "weights.data", "0"),
    ] {
        let Err(error) = load_from(&runtime, &with_weights(weights), &files()) else { panic!("it was read") };
        assert_eq!(error.code(), "onnx-tensor", "{error}");
    }
}

#[test]
fn a_file_with_two_graphs_is_refused() {
    let Some(runtime) = runtime() else { return };
    let mut file = with_weights(floats("w", &[3], &[1.0; 3]));
    let second = file.clone();
    file.extend(second);
    let Err(error) = load(&runtime, &file) else { panic!("it was read") };
    assert_eq!(error.code(), "onnx-too-large");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Damaged files are refused, or run.
    #[test]
    fn damaged_files_never_end_the_process(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 1..4)) {
        let Some(runtime) = runtime() else { return Ok(()) };
        let mut file = with_weights(outside("w", &[3], "weights.data", "8"));
        for (place, byte) in changes {
            let place = usize::from(place) % file.len();
            file[place] = byte;
        }
        if let Ok(loaded) = load_from(&runtime, &file, &files()) {
            let _ = run(loaded.as_ref(), vec![Tensor::vector(vec![2.0_f32; 3])]);
        }
    }
}
