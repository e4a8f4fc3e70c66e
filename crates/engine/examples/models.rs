//! Runs models on recorded inputs and compares their outputs with recorded ones.
//!
//! ```text
//! cargo run -p adytum-engine --example models -- DIRECTORY [PART OF A NAME] [TOLERANCE]
//! ```
//!
//! A model is `NAME.onnx` with `NAME.inputs.npz` and `NAME.outputs.npz`, whose arrays have
//! the names of the model's inputs and outputs. ONNX Runtime's own sigmoid is off by some 1e-8, so 1e-7 is
//! nothing. Beyond that a floating point output may differ by the
//! tolerance (1e-4, or what `NAME.tolerance` says) of its largest value; all else must be equal. Of each model the
//! largest difference, in parts of the largest value, and the time of the fastest of
//! three runs are printed.

use std::{
    collections::BTreeMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use adytum_engine::{
    difference::difference,
    engine::{Engine, LoadedModel, NoExamples, Run, Source},
    npz,
    onnx::{Limits, files::Directory},
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
    threads::Threads,
};

/// A run that takes this long is not repeated.
const LONG: Duration = Duration::from_secs(1);

/// A difference of 32-bit floats that is not one.
const NOTHING: f64 = 1e-7;

type Arrays = BTreeMap<String, Tensor>;

/// What a right model is like.
struct Right {
    difference: f64,
    time: Duration,
}

enum Wrong {
    Refused(String),
    Failed(String),
    Different(String),
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let Some(directory) = arguments.next() else {
        eprintln!("usage: models DIRECTORY [PART OF A NAME] [TOLERANCE]");
        return ExitCode::FAILURE;
    };
    let part = arguments.next().unwrap_or_default();
    let tolerance = arguments.next().and_then(|tolerance| tolerance.parse().ok()).unwrap_or(1e-4);
    let mut models: Vec<PathBuf> = match fs::read_dir(&directory) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(error) => {
            eprintln!("{directory}: {error}");
            return ExitCode::FAILURE;
        }
    };
    models.retain(|path| path.extension().is_some_and(|extension| extension == "onnx"));
    models.sort();
    let threads = Threads::new(1);
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for model in models {
        let name = model.file_stem().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.contains(&part) {
            continue;
        }
        let outcome = catch_unwind(AssertUnwindSafe(|| threads.enter(|| check(&model, tolerance, &threads))))
            .unwrap_or_else(|_| Err(Wrong::Failed("a panic".to_owned())));
        let (word, line) = match outcome {
            Ok(right) => {
                ("right", format!("{:.1e}\t{:.2} ms", right.difference, right.time.as_secs_f64() * 1e3))
            }
            Err(Wrong::Refused(reason)) => ("refused", reason),
            Err(Wrong::Failed(reason)) => ("failed", reason),
            Err(Wrong::Different(reason)) => ("wrong", reason),
        };
        *counts.entry(word).or_default() += 1;
        println!("{word}\t{name}\t{}", line.replace('\n', " "));
    }
    eprintln!("{counts:?}");
    if counts.keys().all(|word| *word == "right") { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn arrays(model: &Path, extension: &str) -> Result<Arrays, Wrong> {
    let path = model.with_extension(extension);
    let file = fs::read(&path).map_err(|error| Wrong::Failed(format!("{}: {error}", path.display())))?;
    npz::read(&file).map_err(|error| Wrong::Failed(format!("{}: {error}", path.display())))
}

fn check(path: &Path, tolerance: f64, threads: &Threads) -> Result<Right, Wrong> {
    let file = fs::read(path).map_err(|error| Wrong::Failed(error.to_string()))?;
    let (mut inputs, expected) = (arrays(path, "inputs.npz")?, arrays(path, "outputs.npz")?);
    let own = fs::read_to_string(path.with_extension("tolerance")).ok();
    let tolerance =
        own.and_then(|own| own.trim().parse::<f64>().ok()).map_or(tolerance, |own| own.max(tolerance));
    let directory = path.parent().unwrap_or(Path::new("."));
    let files = Directory::new(directory).map_err(|error| Wrong::Failed(error.to_string()))?;
    let model = StaticEngine
        .load(Source { file, files: &files, limits: Limits::default(), examples: &NoExamples })
        .map_err(|error| Wrong::Refused(format!("{}: {error}", error.code())))?;
    let signature = model.signature();
    let inputs: Vec<Value> = signature
        .inputs
        .iter()
        .map(|input| inputs.remove(&input.name).map(Value::Tensor))
        .collect::<Option<_>>()
        .ok_or_else(|| Wrong::Failed("an input has no array".to_owned()))?;
    let mut outputs = Vec::new();
    let mut names = Vec::new();
    for (index, output) in signature.outputs.iter().enumerate() {
        if expected.contains_key(&output.name) {
            outputs.push(index);
            names.push(&output.name);
        }
    }
    if outputs.len() != expected.len() {
        return Err(Wrong::Failed("an array is not of any output".to_owned()));
    }
    let mut found = Vec::new();
    let mut time = Duration::MAX;
    for _ in 0..3 {
        let start = Instant::now();
        found = run(model.as_ref(), inputs.clone(), &outputs, threads)?;
        time = time.min(start.elapsed());
        if time > LONG {
            break;
        }
    }
    let mut largest = 0.0_f64;
    for (name, found) in names.into_iter().zip(&found) {
        let (Value::Tensor(found), Some(expected)) = (found, expected.get(name)) else {
            return Err(Wrong::Different(format!("{name} is not a tensor")));
        };
        let own =
            difference(found, expected).map_err(|reason| Wrong::Different(format!("{name}: {reason}")))?;
        if own > tolerance && own * largest_value(expected) > NOTHING {
            return Err(Wrong::Different(format!("{name} differs by {own:.1e} of its largest value")));
        }
        if own <= tolerance {
            largest = largest.max(own);
        }
    }
    Ok(Right { difference: largest, time })
}

/// The largest finite value of floats; infinity for all else.
fn largest_value(tensor: &Tensor) -> f64 {
    let values = tensor.values::<f32>().map(|values| values.iter().filter(|value| value.is_finite()));
    values.map_or(f64::INFINITY, |values| values.fold(0.0, |a, b| a.max(f64::from(b.abs()))))
}

fn run(
    model: &dyn LoadedModel,
    inputs: Vec<Value>,
    outputs: &[usize],
    threads: &Threads,
) -> Result<Vec<Value>, Wrong> {
    let (memory, cancellation) = (Memory::new(4 << 30), Cancellation::default());
    let run = Run { threads, budget: &memory, cancellation: &cancellation };
    model
        .run(inputs.into_iter().map(Some).collect(), outputs, run)
        .map_err(|error| Wrong::Failed(error.to_string()))
}
