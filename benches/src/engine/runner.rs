//! A process that runs one network in our engine, or in the library rten. Its lines are those of
//! `benches/peers/engine_runner.py`, but that the name of a file is of outputs to compare with.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use adytum_engine::{
    bfloat16_engine::BFloat16Engine,
    difference::difference,
    engine::{Engine, LoadedModel, NoExamples, Run, Source},
    npz,
    onnx::{
        Limits,
        files::{Directory, read_whole},
    },
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{Tensor, Value},
    threads::Threads,
};
use anyhow::{Context, Result, anyhow};
use clap::{Args, ValueEnum};
use nix::sys::resource::{UsageWho, getrusage};
use serde_json::{Value as Json, json};

/// Run one network and time it as the standard input says.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    engine: Choice,
    network: PathBuf,
    /// The inputs, an array each.
    inputs: PathBuf,
    threads: usize,
    /// Use no instructions beyond AVX2.
    #[arg(long)]
    avx2: bool,
    /// Compute convolutions and products in 16-bit floats.
    #[arg(long)]
    bf16: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Choice {
    Static,
    Rten,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.avx2 {
        adytum_kernels::limit(adytum_kernels::Level::Avx2);
    }
    adytum_serving::memory::limit_retention(arguments.threads);
    let start = Instant::now();
    if matches!(arguments.engine, Choice::Rten) {
        let file = fs::read(&arguments.network)?;
        // As the server did before it had an engine: weights in the order of kernels if they are few.
        let mut options = rten::ModelOptions::with_all_ops();
        options.prepack_weights(file.len() <= 8 << 20);
        let _model = options.load(file).context("rten")?;
        return say(&json!({ "load_ms": milliseconds(start) }));
    }
    let file = read_whole(&arguments.network)?;
    let directory = Directory::new(arguments.network.parent().unwrap_or(Path::new(".")))?;
    let source = Source { file, files: &directory, limits: Limits::default(), examples: &NoExamples };
    let engine: &dyn Engine = if arguments.bf16 { &BFloat16Engine } else { &StaticEngine };
    let model = engine.load(source)?;
    say(&json!({ "load_ms": milliseconds(start), "peak_mib": resident("VmHWM:") }))?;
    adytum_serving::memory::give_back();
    let mut arrays = read(&arguments.inputs)?;
    let inputs = model
        .signature()
        .inputs
        .iter()
        .map(|input| arrays.remove(&input.name).map(Value::Tensor).with_context(|| input.name.clone()))
        .collect::<Result<Vec<_>>>()?;
    let network = Network { model, inputs, threads: Threads::new(arguments.threads) };
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        match line.parse::<u32>() {
            Ok(runs) => say(&network.time(runs)?)?,
            Err(_) => say(&json!({ "difference": network.difference(Path::new(&line))? }))?,
        }
    }
    Ok(())
}

struct Network {
    model: Box<dyn LoadedModel>,
    inputs: Vec<Value>,
    threads: Threads,
}

impl Network {
    fn answer(&self) -> Result<Vec<Value>> {
        let (memory, cancellation) = (Memory::new(16 << 30), Cancellation::default());
        let run = Run { threads: &self.threads, budget: &memory, cancellation: &cancellation };
        let outputs: Vec<usize> = (0..self.model.signature().outputs.len()).collect();
        let inputs = self.inputs.iter().cloned().map(Some).collect();
        Ok(self.model.run(inputs, &outputs, run)?)
    }

    fn time(&self, runs: u32) -> Result<Json> {
        let (start, before) = (Instant::now(), processor_ms()?);
        // As in the server, whose requests are on the engine's own threads.
        self.threads.enter(|| (0..runs).try_for_each(|_| self.answer().map(drop)))?;
        let (wall, processor) = (milliseconds(start), processor_ms()? - before);
        let (wall_ms, processor_ms) = (wall / f64::from(runs), processor / f64::from(runs));
        adytum_serving::memory::give_back();
        Ok(json!({ "wall_ms": wall_ms, "processor_ms": processor_ms, "resident_mib": resident("VmRSS:") }))
    }

    /// The largest of all outputs.
    fn difference(&self, expected: &Path) -> Result<f64> {
        let expected = read(expected)?;
        let mut largest = 0.0_f64;
        for (output, found) in
            self.model.signature().outputs.iter().zip(self.threads.enter(|| self.answer())?)
        {
            let (Value::Tensor(found), Some(expected)) = (&found, expected.get(&output.name)) else {
                return Err(anyhow!("{} is no tensor, or the others have none of that name", output.name));
            };
            let one = difference(found, expected).map_err(|reason| anyhow!("{}: {reason}", output.name))?;
            largest = largest.max(one);
        }
        Ok(largest)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    npz::read(&fs::read(path)?).with_context(|| path.display().to_string())
}

fn say(line: &Json) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn processor_ms() -> Result<f64> {
    let usage = getrusage(UsageWho::RUSAGE_SELF)?;
    let all = [usage.user_time(), usage.system_time()];
    Ok(all.iter().map(|time| time.tv_sec() as f64 * 1e3 + time.tv_usec() as f64 / 1e3).sum())
}

fn milliseconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}

/// This memory of the process in MiB, as the kernel names it.
fn resident(name: &str) -> Option<f64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.split_whitespace().next()?.parse::<f64>().ok()? / 1024.0)
}
