//! Compares the static engine with rten alone on one model: time and memory.
//!
//! ```text
//! cargo run --release -p adytum-engine --example measure -- MODEL [RUNS] [engine|rten|plan]
//! ```
//!
//! `adytum-serving` tells glibc to keep a run's buffers (its module `memory`). With this program
//! `MALLOC_TRIM_THRESHOLD_=8388608 MALLOC_MMAP_THRESHOLD_=33554432` do the same. Without them
//! each run pays for fresh pages. `RTEN_NUM_THREADS=1` gives rten one thread, as the engine has.
//!
//! `THREADS=2` gives the engine two, and `LEVEL=avx2` or `LEVEL=plain` leaves better instructions out.
//! `PRECISION=bf16` asks for 16-bit floats.
//!
//! Inputs are random; dimensions that may vary are 1, or what `SIZES=name=8,other=4` says.

use std::{collections::BTreeMap, fs, process::ExitCode, time::Instant};

use adytum_engine::{
    bfloat16_engine::BFloat16Engine,
    engine::{Engine, LoadedModel, NoExamples, Run, Source},
    onnx::{Limits, files::Directory, model::Dimension},
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{ElementType, Tensor, Value, ValueType},
    threads::Threads,
};
use adytum_kernels::{Level, limit};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    match measure() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn resident(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let found = status.lines().find_map(|text| text.strip_prefix(line));
    found.and_then(|text| text.split_whitespace().next()).and_then(|text| text.parse().ok()).unwrap_or(0)
        / 1024
}

/// The processor time of this process, in milliseconds.
fn processor() -> f64 {
    let status = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = status.rsplit(") ").next().unwrap_or_default().split_whitespace();
    // The 14th and the 15th of all fields, in hundredths of a second.
    fields.skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum::<f64>() * 10.0
}

fn sizes() -> BTreeMap<String, usize> {
    let text = std::env::var("SIZES").unwrap_or_default();
    text.split(',')
        .filter_map(|part| part.split_once('='))
        .filter_map(|(name, size)| Some((name.to_owned(), size.parse().ok()?)))
        .collect()
}

fn inputs(model: &dyn LoadedModel) -> Outcome<Vec<Value>> {
    let sizes = sizes();
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1_u32 << 24) as f32 - 0.5
    };
    let mut inputs = Vec::new();
    for specification in &model.signature().inputs {
        let shape: Vec<usize> = specification
            .shape
            .iter()
            .flatten()
            .map(|dimension| match dimension {
                Dimension::Fixed(size) => *size,
                Dimension::Named(name) => sizes.get(name).copied().unwrap_or(1),
                Dimension::Any => 1,
            })
            .collect();
        let count: usize = shape.iter().product();
        let tensor = match specification.value_type {
            ValueType::Tensor(ElementType::Float) => {
                Tensor::from_vec(shape, std::iter::repeat_with(&mut next).take(count).collect::<Vec<f32>>())
            }
            ValueType::Tensor(ElementType::Int64) => Tensor::from_vec(shape, vec![1_i64; count]),
            ValueType::Tensor(ElementType::Int32) => Tensor::from_vec(shape, vec![1_i32; count]),
            ValueType::Tensor(element_type) => Tensor::zeros(element_type, shape),
            _ => None,
        };
        inputs.push(Value::Tensor(tensor.ok_or("an input that this program can't make")?));
    }
    Ok(inputs)
}

fn measure() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("which model?")?;
    let runs: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let which = arguments.next().unwrap_or_else(|| "engine".to_owned());
    let directory = std::path::Path::new(&path).parent().ok_or("no directory")?;
    let directory =
        Directory::new(if directory.as_os_str().is_empty() { std::path::Path::new(".") } else { directory })?;
    let file = fs::read(&path)?;
    let bytes = file.len() >> 20;
    let start = Instant::now();
    let threads =
        Threads::new(std::env::var("THREADS").ok().and_then(|count| count.parse().ok()).unwrap_or(1));
    let level = std::env::var("LEVEL").unwrap_or_default();
    if let Some(level) =
        Level::ALL.into_iter().find(|known| format!("{known:?}").eq_ignore_ascii_case(&level))
    {
        limit(level);
    }
    let mut times = Vec::new();
    let before;
    let loaded;
    if which == "rten" {
        // What today's server does is more careful with memory; its time is this.
        let specification = {
            let model = StaticEngine.load(Source {
                file: file.clone(),
                files: &directory,
                limits: Limits::default(),
                examples: &NoExamples,
            })?;
            inputs(model.as_ref())?
        };
        let start = Instant::now();
        let small = file.len() <= 8 << 20;
        let mut options = rten::ModelOptions::with_all_ops();
        options.prepack_weights(small);
        let model = options.load(file)?;
        loaded = start.elapsed();
        before = processor();
        for _ in 0..runs {
            let mut given: Vec<(rten::NodeId, rten::ValueOrView<'_>)> = Vec::new();
            for (node, value) in model.input_ids().iter().zip(&specification) {
                let tensor = value.tensor().ok_or("not a tensor")?;
                let value = if let Some(values) = tensor.values::<f32>() {
                    rten::Value::from_shape(tensor.shape(), values.to_vec())?
                } else if let Some(values) = tensor.values::<i64>() {
                    rten::Value::from_shape(
                        tensor.shape(),
                        values.iter().map(|value| *value as i32).collect(),
                    )?
                } else {
                    return Err("an input that this program can't make".into());
                };
                given.push((*node, rten::ValueOrView::Value(value)));
            }
            let outputs = model.output_ids().to_vec();
            let start = Instant::now();
            threads.enter(|| model.run(given, &outputs, None))?;
            times.push(start.elapsed());
        }
    } else {
        let is_narrow = std::env::var("PRECISION").is_ok_and(|name| name == "bf16");
        let engine: &dyn Engine = if is_narrow { &BFloat16Engine } else { &StaticEngine };
        let model = engine.load(Source {
            file,
            files: &directory,
            limits: Limits::default(),
            examples: &NoExamples,
        })?;
        loaded = start.elapsed();
        if which == "plan" {
            if let Some(plan) = model.plan() {
                print!("{plan}");
            }
            return Ok(());
        }
        let outputs: Vec<usize> = (0..model.signature().outputs.len()).collect();
        let given = inputs(model.as_ref())?;
        before = processor();
        for _ in 0..runs {
            let memory = Memory::new(8 << 30);
            let cancellation = Cancellation::default();
            let inputs = given.iter().cloned().map(Some).collect();
            let start = Instant::now();
            let run = Run { threads: &threads, budget: &memory, cancellation: &cancellation };
            threads.enter(|| model.run(inputs, &outputs, run))?;
            times.push(start.elapsed());
        }
    }
    times.sort();
    let processor = (processor() - before) / runs.max(1) as f64;
    println!(
        "{which}: file {bytes} MB, load {loaded:.1?}, run median {:.2?} best {:.2?}, processor {processor:.2} ms, resident {} MB, peak {} MB",
        times.get(times.len() / 2).copied().unwrap_or_default(),
        times.first().copied().unwrap_or_default(),
        resident("VmRSS:"),
        resident("VmHWM:"),
    );
    Ok(())
}
