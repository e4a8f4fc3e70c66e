//! What the tests share: ONNX Runtime, started once, and small models.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test needs a part of it")]

#[path = "../../../engine/tests/support/onnx.rs"]
pub mod onnx;

use std::{num::NonZeroUsize, path::PathBuf, sync::OnceLock};

use adytum_engine::{
    engine::{Engine, LoadError, LoadedModel, Run, RunError, Source},
    onnx::{
        Limits,
        files::{DataFiles, NoFiles},
    },
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
    threads::Threads,
};
use adytum_onnxruntime::{Library, OnnxRuntime, SharedObject};

/// Names libonnxruntime.so.VERSION of the Python package. `.ci/run` sets it.
pub const VARIABLE: &str = "ADYTUM_ONNXRUNTIME_LIBRARY";

/// The library; or a reason to skip.
pub fn library() -> Option<PathBuf> {
    let path = std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from);
    if path.is_none() {
        println!("SKIPPED: {VARIABLE} does not name the library of ONNX Runtime");
    }
    path
}

pub fn object(path: PathBuf) -> SharedObject {
    SharedObject { name: String::new(), location: path.clone(), path }
}

/// ONNX Runtime, for all tests of this process; or a reason to skip.
pub fn runtime() -> Option<OnnxRuntime> {
    static RUNTIME: OnceLock<OnnxRuntime> = OnceLock::new();
    let path = library()?;
    let start = || {
        let library = Library::load(&[], &object(path)).expect("the library loads");
        OnnxRuntime::start(library, NonZeroUsize::new(2).expect("two")).expect("it starts")
    };
    Some(RUNTIME.get_or_init(start).clone())
}

pub fn load_from(
    engine: &dyn Engine,
    file: &[u8],
    files: &dyn DataFiles,
) -> Result<Box<dyn LoadedModel>, LoadError> {
    engine.load(Source { file: file.to_vec(), files, limits: Limits::default() })
}

pub fn load(engine: &dyn Engine, file: &[u8]) -> Result<Box<dyn LoadedModel>, LoadError> {
    load_from(engine, file, &NoFiles)
}

pub fn run_within(
    model: &dyn LoadedModel,
    inputs: Vec<Option<Value>>,
    outputs: &[usize],
    bytes: usize,
) -> Result<Vec<Value>, RunError> {
    let (threads, memory, cancellation) = (Threads::new(1), Memory::new(bytes), Cancellation::default());
    let found =
        model.run(inputs, outputs, Run { threads: &threads, budget: &memory, cancellation: &cancellation });
    assert_eq!(memory.used(), 0, "all memory is given back");
    found
}

pub fn run(model: &dyn LoadedModel, inputs: Vec<Tensor>) -> Result<Vec<Value>, RunError> {
    let outputs: Vec<usize> = (0..model.signature().outputs.len()).collect();
    run_within(model, inputs.into_iter().map(|input| Some(input.into())).collect(), &outputs, 1 << 30)
}

/// The answer of ONNX Runtime, which must be the static engine's.
pub fn same_answers(file: &[u8], inputs: Vec<Tensor>) -> Option<Vec<Value>> {
    let runtime = runtime()?;
    let (native, own) =
        (load(&runtime, file).expect("it loads"), load(&StaticEngine, file).expect("it loads"));
    assert_eq!(native.signature(), own.signature());
    let all: Vec<usize> = (0..native.signature().outputs.len()).collect();
    assert_eq!(native.needed_inputs(&all), own.needed_inputs(&all));
    let found = run(native.as_ref(), inputs.clone()).expect("it runs");
    let expected = run(own.as_ref(), inputs).expect("it runs");
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(&expected) {
        assert!(is_close(found, expected), "{found:?} is not {expected:?}");
    }
    Some(found)
}

fn is_close(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Tensor(found), Value::Tensor(expected)) => {
            let values = (found.values::<f32>(), expected.values::<f32>());
            let (Some(found_values), Some(expected_values)) = values else { return found == expected };
            let near = |(a, b): (&f32, &f32)| a == b || (a - b).abs() <= 1e-5 + 1e-4 * b.abs();
            found.shape() == expected.shape() && found_values.iter().zip(expected_values).all(near)
        }
        (found, expected) => found == expected,
    }
}
