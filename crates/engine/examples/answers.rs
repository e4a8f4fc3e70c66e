//! Runs models on recorded inputs and says of each: right, refused at load, failed at run, or wrong.
//!
//! It reads records from standard input until there are no more. A record is texts and
//! messages, each after its length as a little-endian number of 32 bits: a name, a model, and
//! then the number of inputs, the inputs, the number of outputs, the outputs. Inputs and
//! outputs are `TensorProto`, `SequenceProto` or `OptionalProto`, as the model declares them.
//! `tests/conformance` writes such records.
//!
//! For each record a line says the outcome, the name and the reason, with tabs between them.
//! Floats may differ by 1e-3 of the expected value (bfloat16 by 2^-6) and 1e-5; all else must
//! be equal.

use std::{
    io::{self, BufReader, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use adytum_engine::{
    engine::{Engine, LoadedModel, Run, Source},
    onnx::{Limits, data, files::NoFiles},
    operators::{Cancellation, Memory},
    static_engine::StaticEngine,
    tensor::{ElementType, Elements, Tensor, Value},
    threads::Threads,
};

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

/// A model, its inputs and its outputs.
struct Record {
    name: String,
    model: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
}

impl Record {
    /// The next one; `None` at the end.
    fn read(from: &mut impl Read) -> io::Result<Option<Self>> {
        let Some(name) = message(from)? else { return Ok(None) };
        let missing = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let model = message(from)?.ok_or_else(missing)?;
        let mut several = || -> io::Result<Vec<Vec<u8>>> {
            let count = number(from)?.ok_or_else(missing)?;
            (0..count).map(|_| message(from)?.ok_or_else(missing)).collect()
        };
        let (inputs, outputs) = (several()?, several()?);
        Ok(Some(Self { name: String::from_utf8_lossy(&name).into_owned(), model, inputs, outputs }))
    }
}

fn number(from: &mut impl Read) -> io::Result<Option<u32>> {
    let mut bytes = [0; 4];
    match from.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(u32::from_le_bytes(bytes))),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn message(from: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let Some(length) = number(from)? else { return Ok(None) };
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

fn main() -> ExitCode {
    match answer_all() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer_all() -> io::Result<()> {
    let mut from = BufReader::new(io::stdin().lock());
    let mut to = io::stdout().lock();
    std::panic::set_hook(Box::new(|_| {}));
    let threads = Threads::new(1);
    while let Some(record) = Record::read(&mut from)? {
        let name = record.name.clone();
        let outcome = catch_unwind(AssertUnwindSafe(|| threads.enter(|| run(record, &threads))))
            .unwrap_or_else(|_| Outcome::Failed("a panic".to_owned()));
        let reason = outcome.reason().replace(['\n', '\t'], " ");
        writeln!(to, "{}\t{name}\t{reason}", outcome.word())?;
    }
    Ok(())
}

fn run(record: Record, threads: &Threads) -> Outcome {
    let Record { model, inputs, outputs, .. } = record;
    match StaticEngine.load(Source { file: model, files: &NoFiles, limits: Limits::default() }) {
        Ok(model) => run_once(model.as_ref(), &inputs, &outputs, threads),
        Err(error) => Outcome::Refused(format!("{}: {error}", error.code())),
    }
}

fn run_once(model: &dyn LoadedModel, inputs: &[Vec<u8>], outputs: &[Vec<u8>], threads: &Threads) -> Outcome {
    let signature = model.signature();
    if (inputs.len(), outputs.len()) != (signature.inputs.len(), signature.outputs.len()) {
        return Outcome::Failed("the model has other numbers of inputs and outputs".to_owned());
    }
    let mut given = Vec::new();
    for (index, (message, specification)) in inputs.iter().zip(&signature.inputs).enumerate() {
        match data::read(message, &specification.value_type) {
            Ok(value) => given.push(Some(value)),
            Err(error) => return Outcome::Failed(format!("input {index}: {error}")),
        }
    }
    let wanted: Vec<usize> = (0..signature.outputs.len()).collect();
    let memory = Memory::new(1 << 30);
    let cancellation = Cancellation::default();
    let found = match model.run(given, &wanted, Run { threads, budget: &memory, cancellation: &cancellation })
    {
        Ok(found) => found,
        Err(error) => return Outcome::Failed(error.to_string()),
    };
    if memory.used() != 0 {
        return Outcome::Failed(format!("{} bytes were not given back to the budget", memory.used()));
    }
    for (index, ((found, specification), message)) in
        found.iter().zip(&signature.outputs).zip(outputs).enumerate()
    {
        let expected = match data::read(message, &specification.value_type) {
            Ok(expected) => expected,
            Err(error) => return Outcome::Wrong(format!("output {index}: {error}")),
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
    // Two units in the last place of bfloat16, as ONNX's own runner has it.
    let tolerance = if found.element_type() == ElementType::Bfloat16 { 1.0 / 64.0 } else { 1e-3 };
    match (floats(found.elements()), floats(expected.elements())) {
        (Some(found), Some(expected)) => {
            let wrong = found
                .iter()
                .zip(&expected)
                .position(|(found, expected)| !is_near(*found, *expected, tolerance));
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

fn is_near(found: f64, expected: f64, tolerance: f64) -> bool {
    found == expected
        || found.is_nan() && expected.is_nan()
        || (found - expected).abs() <= 1e-5 + tolerance * expected.abs()
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
