//! Runs ONNX's node tests with ONNX Runtime, and says of each: right, refused at load, failed at run,
//! or wrong.
//!
//! ```text
//! python tests/conformance/export.py DIRECTORY
//! ADYTUM_ONNXRUNTIME_LIBRARY=libonnxruntime.so.VERSION \
//!     cargo run -p adytum-onnxruntime --example onnxruntime_node_tests -- DIRECTORY [PART OF A NAME]
//! ```
//!
//! The bounds are those of the example `answers` of the engine.

#[path = "../../engine/examples/answers/recorded.rs"]
mod recorded;

use std::{
    collections::BTreeMap,
    fs,
    num::NonZeroUsize,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
};

use adytum_engine::{
    engine::{Engine, LoadedModel, NoExamples, Source},
    onnx::{Limits, files::NoFiles},
    threads::Threads,
};
use adytum_onnxruntime::{Library, OnnxRuntime, SharedObject};

use recorded::Outcome;

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
    let loaded =
        engine.load(Source { file, files: &NoFiles, limits: Limits::default(), examples: &NoExamples });
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
    let read = |kind: &str, count: usize| -> Result<Vec<Vec<u8>>, String> {
        (0..count)
            .map(|index| {
                fs::read(data_set.join(format!("{kind}_{index}.pb")))
                    .map_err(|error| format!("{kind} {index}: {error}"))
            })
            .collect()
    };
    let signature = model.signature();
    match (read("input", signature.inputs.len()), read("output", signature.outputs.len())) {
        (Ok(inputs), Ok(outputs)) => recorded::run_once(model, &inputs, &outputs, threads),
        (Err(reason), _) | (_, Err(reason)) => Outcome::Failed(reason),
    }
}
