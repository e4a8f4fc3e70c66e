//! `adytum model check`: a description of a model, the parts of the engine that compute it, a test of its answers.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use adytum_engine::{
    bfloat16_engine::BFloat16Engine,
    engine::{Engine, Examples, LoadedModel, NoExamples, Source, Specification},
    npz,
    onnx::{
        Limits,
        files::{DataFiles, Directory, NoFiles},
    },
    static_engine::StaticEngine,
    tensor::ElementType,
    threads::Threads,
};
use adytum_import::saved_model;
use anyhow::Context;

use super::{
    batch::{self, Batch, Part},
    expected::{self, Recorded},
    memory::{self, Resident},
    place::{Found, Place, find},
    probe::Probe,
    report::{Report, SignatureReport, operators, ports},
    signatures::{parts, signatures},
    source::{SourceError, read_onnx},
    verdict::CheckError,
};
use crate::{output, progress};

/// Describe a model and the parts of the engine that compute it, and test its answers.
///
/// The model is run with inputs that are made up: one element, then a batch of two. Exit codes: 0 the
/// model can be served; 3 it can't; 4 it loads, but gives no answer; 5 an answer depends on the other
/// elements of its batch; 6 answers are not those that were recorded.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// An ONNX file, a SavedModel, or a directory that holds one.
    #[arg(value_name = "FILE|DIRECTORY")]
    path: PathBuf,
    /// Print the plan, too: each node and the part of the engine that computes it.
    #[arg(long)]
    plan: bool,
    /// The floats of convolutions and products. With bf16, the answers of both are compared first, as the server does
    /// with --precision bf16.
    #[arg(long, value_name = "NAME", default_value = "f32")]
    precision: Floats,
    /// Recorded inputs and the outputs that belong to them, of numpy.savez: arrays by the names of inputs
    /// and outputs.
    #[arg(long, num_args = 2, value_names = ["INPUTS.npz", "OUTPUTS.npz"])]
    expect: Option<Vec<PathBuf>>,
    /// How far recorded outputs may be off, in parts of the largest value.
    #[arg(long, value_name = "NUMBER", default_value_t = 1e-4)]
    tolerance: f64,
    #[command(flatten)]
    sizes: Sizes,
    /// The first dimension is no batch: don't compare a batch of two with its elements.
    #[arg(long)]
    no_batch: bool,
}

/// The floats of convolutions and products.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Floats {
    /// 32-bit floats
    #[default]
    F32,
    /// 16-bit floats
    Bf16,
}

/// Sizes of open dimensions.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Sizes {
    /// The size of an open dimension in the runs, by its name in the model, or by its input and place, as
    /// in image:2=224; may be repeated.
    #[arg(long = "size", value_name = "NAME=NUMBER", value_parser = size)]
    sizes: Vec<(String, usize)>,
}

fn size(text: &str) -> Result<(String, usize), String> {
    let (name, number) = text.rsplit_once('=').ok_or("expected NAME=NUMBER, such as width=224")?;
    let number = number.parse().map_err(|_| format!("{number:?} is no whole number"))?;
    Ok((name.to_owned(), number))
}

/// The options of a check.
#[derive(Debug, Default)]
pub(crate) struct Questions {
    pub(crate) floats: Floats,
    pub(crate) plan: bool,
    pub(crate) no_batch: bool,
    pub(crate) sizes: BTreeMap<String, usize>,
    pub(crate) recorded: Option<Recorded>,
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let recorded = match args.expect.as_deref() {
        Some([inputs, outputs]) => {
            Some(Recorded { inputs: arrays(inputs)?, outputs: arrays(outputs)?, tolerance: args.tolerance })
        }
        _ => None,
    };
    let questions = Questions {
        floats: args.precision,
        plan: args.plan,
        no_batch: args.no_batch,
        sizes: args.sizes.sizes.into_iter().collect(),
        recorded,
    };
    let working = progress::working("checking the model");
    let report = check(&args.path, &questions);
    drop(working);
    if output::is_json() {
        output::line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::text(&report.to_string())?;
    }
    Ok(ExitCode::from(report.verdict.exit_code()))
}

fn arrays(path: &Path) -> anyhow::Result<BTreeMap<String, adytum_engine::tensor::Tensor>> {
    let failed = || format!("{} can't be read", path.display());
    let metadata = fs::metadata(path).with_context(failed)?;
    ensure_input!(metadata.is_file(), "{} is no file; give a file of numpy.savez", path.display());
    let bytes = fs::read(path).with_context(failed)?;
    npz::read(&bytes).with_context(failed)
}

/// Checks the model at a path.
pub(crate) fn check(path: &Path, questions: &Questions) -> Report {
    let mut report = Report::new(path);
    let found = find(path).map_err(CheckError::Source);
    let result = found.and_then(|found| check_found(&found, questions, &mut report));
    if let Err(error) = result {
        report.fail(error.verdict(), error.code(), &error.to_string());
    }
    report
}

/// Checks a model that was found.
pub(crate) fn check_found(
    found: &Found,
    questions: &Questions,
    report: &mut Report,
) -> Result<(), CheckError> {
    report.notes.clone_from(&found.notes);
    match &found.place {
        Place::Onnx(file) => {
            report.path = file.display().to_string();
            let bytes = read_onnx(file)?;
            report.found(file, "ONNX");
            let directory = match file.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => Path::new("."),
            };
            let files = Directory::new(directory)
                .map_err(|source| SourceError::Unreadable { path: directory.to_owned(), source })?;
            check_bytes(bytes, &files, questions, report)
        }
        Place::SavedModel(directory) => {
            report.found(directory, "SavedModel");
            let imported = saved_model::import(directory, adytum_import::limits::Limits::default())?;
            check_bytes(imported.onnx, &NoFiles, questions, report)
        }
    }
}

/// Checks a model's bytes.
pub(crate) fn check_bytes(
    bytes: Vec<u8>,
    files: &dyn DataFiles,
    questions: &Questions,
    report: &mut Report,
) -> Result<(), CheckError> {
    // Panics are caught, and said in a better way than their own.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = quietly(bytes, files, questions, report);
    std::panic::set_hook(hook);
    result
}

fn quietly(
    bytes: Vec<u8>,
    files: &dyn DataFiles,
    questions: &Questions,
    report: &mut Report,
) -> Result<(), CheckError> {
    report.file_bytes = Some(bytes.len());
    let length = bytes.len() as u64;
    let before = Resident::now();
    memory::forget_peak();
    let examples: &dyn Examples = match &questions.recorded {
        Some(recorded) => recorded,
        None => &NoExamples,
    };
    let source = Source { file: bytes, files, limits: Limits::default(), examples };
    let engine: &dyn Engine = match questions.floats {
        Floats::F32 => &StaticEngine,
        Floats::Bf16 => &BFloat16Engine,
    };
    let load = std::panic::AssertUnwindSafe(|| engine.load(source));
    let model = std::panic::catch_unwind(load).map_err(|_| CheckError::Panic)??;
    let model = model.as_ref();
    let memory = Resident::now().since(&before, length);
    let signature = model.signature();
    report.inputs = ports(&signature.inputs);
    report.outputs = ports(&signature.outputs);
    report.memory = Some(memory);
    let mut names: Vec<&str> = Vec::new();
    if let Some(plan) = model.plan() {
        report.parameters = Some(plan.parameters);
        report.nodes = plan.lines.len();
        report.islands = plan.islands;
        report.regions = plan.regions;
        report.operators = operators(plan);
        report.plan = questions.plan.then(|| plan.to_string());
        names.extend(plan.lines.iter().map(|line| line.operator.as_str()));
    }
    for (kind, all) in [("input", &signature.inputs), ("output", &signature.outputs)] {
        if let Some(other) = all.iter().find(|one| one.element_type().is_none()) {
            let (name, found) = (other.name.clone(), other.value_type.to_string());
            return Err(CheckError::NotATensor { kind, name, found });
        }
    }
    let types: Vec<ElementType> =
        signature.inputs.iter().chain(&signature.outputs).filter_map(Specification::element_type).collect();
    let tolerance = batch::tolerance(names.iter().copied(), &types);

    let threads = Threads::new(std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get));
    let probe = Probe { model, threads: &threads, limit: run_limit() };
    let signatures = signatures(model)?;
    if let Some(recorded) = &questions.recorded {
        report.recorded = expected::compare(&probe, &signatures, recorded)?;
    }
    let mut first_failure = None;
    for (found, outputs) in parts(model, &signatures)? {
        let part = part(model, &outputs);
        let what = found.as_ref().map_or_else(
            || "the model".to_owned(),
            |signature| format!("the signature {:?}", signature.name),
        );
        let tried = match batch::try_out(&probe, &part, &questions.sizes, &tolerance) {
            Ok(tried) => tried,
            // Recorded inputs, which were answered, say more.
            Err(_) if questions.recorded.is_some() => continue,
            Err(reason) => {
                first_failure.get_or_insert(CheckError::NoAnswer { what, reason });
                continue;
            }
        };
        if let Batch::Differs { output, reason } = &tried.batch
            && !questions.no_batch
        {
            let (output, reason) = (output.clone(), reason.clone());
            first_failure.get_or_insert(CheckError::Batch { output, reason });
        }
        report.signatures.push(SignatureReport::new(found, tried));
    }
    first_failure.map_or(Ok(()), Err)
}

/// Bytes that the values of one run may take: half of what the machine has free, 4 GiB where that is
/// not known.
fn run_limit() -> usize {
    let information = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kilobytes = available.and_then(|text| text.split_whitespace().next()?.parse::<usize>().ok());
    kilobytes.map_or(4 << 30, |kilobytes| kilobytes.saturating_mul(512))
}

fn part<'a>(model: &'a dyn LoadedModel, outputs: &[usize]) -> Part<'a> {
    let signature = model.signature();
    let needed = model.needed_inputs(outputs);
    let is_needed = |index: usize| needed.get(index).copied().unwrap_or(true);
    Part {
        inputs: signature.inputs.iter().enumerate().filter(|(index, _)| is_needed(*index)).collect(),
        outputs: outputs.iter().filter_map(|index| Some((*index, signature.outputs.get(*index)?))).collect(),
        all_inputs: signature.inputs.len(),
    }
}
