//! Runs ONNX's node tests with ONNX Runtime, and says of each: right, refused at load, failed at run,
//! or wrong.
//!
//! ```text
//! python tests/models/node_tests.py DIRECTORY
//! ADYTUM_ONNXRUNTIME_LIBRARY=libonnxruntime.so.VERSION \
//!     cargo run -p adytum-onnxruntime --example onnxruntime_node_tests -- DIRECTORY [PART OF A NAME]
//! ```
//!
//! Floats may differ by 1e-3 of the expected value and 1e-5; all else must be equal.

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
};

use adytum_engine::{
    engine::{Engine, LoadedModel, Run, Source},
    onnx::{Limits, data, files::NoFiles},
    operators::{Cancellation, Memory},
    tensor::{Elements, Tensor, Value},
    threads::Threads,
};
use adytum_onnxruntime::{Library, OnnxRuntime, SharedObject};

enum Outcome {
    Right,
    Refused(String),
    Failed(String),
    Wrong(String),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Right => "right",
            Self::Refused(_) => "refused",
            Self::Failed(_) => "failed",
            Self::Wrong(_) => "wrong",
        }
    }

    fn reason(&self) -> &str {
        match self {
            Self::Right => "",
            Self::Refused(reason) | Self::Failed(reason) | Self::Wrong(reason) => reason,
        }
    }
}

fn main() -> ExitCode {
    let Some(path) = std::env::var_os("ADYTUM_ONNXRUNTIME_LIBRARY").map(PathBuf::from) else {
        eprintln!("set ADYTUM_ONNXRUNTIME_LIBRARY to libonnxruntime.so.VERSION");
        return ExitCode::FAILURE;
    };
    let object = SharedObject { name: String::new(), location: path.clone(), path };
    let started =
        Library::load(&[], &object).and_then(|library| OnnxRuntime::start(library, NonZeroUsize::MIN));
    match started {
        Ok(engine) => judge(&engine),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the tests of the arguments' directory with this engine, and prints what became of each.
fn judge(engine: &dyn Engine) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: node_tests DIRECTORY [PART OF A NAME]");
        return ExitCode::FAILURE;
    };
    let part = arguments.next().unwrap_or_default();
    let mut tests: Vec<PathBuf> = match fs::read_dir(&directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect(),
        Err(error) => {
            eprintln!("{directory}: {error}");
            return ExitCode::FAILURE;
        }
    };
    tests.sort();
    std::panic::set_hook(Box::new(|_| {}));
    let threads = Threads::new(1);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for test in tests {
        let name = test.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.contains(&part) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| threads.enter(|| run(engine, &test, &threads))))
            .unwrap_or_else(|_| Outcome::Failed("a panic".to_owned()));
        *counts.entry(outcome.word()).or_default() += 1;
        println!("{}\t{name}\t{}", outcome.word(), outcome.reason().replace('\n', " "));
    }
    eprintln!("{counts:?}");
    ExitCode::SUCCESS
}

fn run(engine: &dyn Engine, test: &Path, threads: &Threads) -> Outcome {
    let file = match fs::read(test.join("model.onnx")) {
        Ok(file) => file,
        Err(error) => return Outcome::Refused(error.to_string()),
    };
    let loaded = engine.load(Source { file, files: &NoFiles, limits: Limits::default() });
    let model = match loaded {
        Ok(model) => model,
        Err(error) => return Outcome::Refused(format!("{}: {error}", error.code())),
    };
    for number in 0.. {
        let data = test.join(format!("test_data_set_{number}"));
        if !data.is_dir() {
            break;
        }
        match run_once(model.as_ref(), &data, threads) {
            Outcome::Right => {}
            other => return other,
        }
    }
    Outcome::Right
}

fn run_once(model: &dyn LoadedModel, data_set: &Path, threads: &Threads) -> Outcome {
    let signature = model.signature();
    let mut inputs = Vec::new();
    for (index, specification) in signature.inputs.iter().enumerate() {
        let file = match fs::read(data_set.join(format!("input_{index}.pb"))) {
            Ok(file) => file,
            Err(error) => return Outcome::Failed(format!("input {index}: {error}")),
        };
        match data::read(&file, &specification.value_type) {
            Ok(value) => inputs.push(Some(value)),
            Err(error) => return Outcome::Failed(format!("input {index}: {error}")),
        }
    }
    let outputs: Vec<usize> = (0..signature.outputs.len()).collect();
    let memory = Memory::new(1 << 30);
    let cancellation = Cancellation::default();
    let run = Run { threads, budget: &memory, cancellation: &cancellation };
    let found = match model.run(inputs, &outputs, run) {
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if memory.used() != 0 {
        return Outcome::Failed(format!("{} bytes were not given back to the budget", memory.used()));
    }
    for (index, (found, specification)) in found.iter().zip(&signature.outputs).enumerate() {
        let file = match fs::read(data_set.join(format!("output_{index}.pb"))) {
            Ok(file) => file,
            Err(error) => return Outcome::Failed(format!("output {index}: {error}")),
        };
        let expected = match data::read(&file, &specification.value_type) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Failed(format!("output {index}: {error}")),
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
    if found.shape() != expected.shape() {
        return Err(format!("the shape {:?}, expected {:?}", found.shape(), expected.shape()));
    }
    match (floats(found.elements()), floats(expected.elements())) {
        (Some(found), Some(expected)) => {
            let wrong = found.iter().zip(&expected).position(|(found, expected)| !is_near(*found, *expected));
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

fn is_near(found: f64, expected: f64) -> bool {
    found == expected
        || found.is_nan() && expected.is_nan()
        || (found - expected).abs() <= 1e-5 + 1e-3 * expected.abs()
}

fn floats(elements: &Elements) -> Option<Vec<f64>> {
    Some(match elements {
        Elements::Float(values) => values.iter().map(|value| f64::from(*value)).collect(),
        Elements::Double(values) => values.to_vec(),
        Elements::Half(values) => values.iter().map(|value| value.to_f64()).collect(),
        Elements::Bfloat16(values) => values.iter().map(|value| value.to_f64()).collect(),
        _ => return None,
    })
}
