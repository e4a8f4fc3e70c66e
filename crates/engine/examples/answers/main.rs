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

mod recorded;

use std::{
    io::{self, BufReader, Read, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
};

use adytum_engine::{
    engine::{Engine, NoExamples, Source},
    onnx::{Limits, files::NoFiles},
    static_engine::StaticEngine,
    threads::Threads,
};

use recorded::{Outcome, run_once};

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
    match StaticEngine.load(Source {
        file: model,
        files: &NoFiles,
        limits: Limits::default(),
        examples: &NoExamples,
    }) {
        Ok(model) => run_once(model.as_ref(), &inputs, &outputs, threads),
        Err(error) => Outcome::Refused(format!("{}: {error}", error.code())),
    }
}
