//! Runs a model that is checked, and measures.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Budget, Cancellation, Memory, OperatorError},
    tensor::Value,
    threads::Threads,
};

use super::report::ModelMemory;

/// A budget that remembers the most that was taken at one time.
struct Measured {
    memory: Memory,
    peak: AtomicUsize,
}

impl Measured {
    fn new(limit: usize) -> Self {
        Self { memory: Memory::new(limit), peak: AtomicUsize::new(0) }
    }

    fn note(&self, bytes: usize) {
        self.peak.fetch_max(self.memory.used().saturating_add(bytes), Ordering::Relaxed);
    }
}

impl Budget for Measured {
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError> {
        self.memory.reserve(bytes)?;
        self.note(bytes);
        Ok(())
    }

    fn charge(&self, bytes: usize) -> Result<(), OperatorError> {
        self.memory.charge(bytes)?;
        self.note(0);
        Ok(())
    }

    fn release(&self, bytes: usize) {
        self.memory.release(bytes);
    }
}

/// A run that gave an answer.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) answers: Vec<Value>,
    /// The most bytes that its values took at one time.
    pub(crate) peak: usize,
}

/// Runs a model.
pub(crate) struct Probe<'a> {
    pub(crate) model: &'a dyn LoadedModel,
    pub(crate) threads: &'a Threads,
    /// Bytes that the values of one run may take.
    pub(crate) limit: usize,
}

impl Probe<'_> {
    /// Runs the model once. The error is the engine's own, or says that it panicked.
    pub(crate) fn run(&self, inputs: Vec<Option<Value>>, outputs: &[usize]) -> Result<Ran, String> {
        let (memory, cancellation) = (Measured::new(self.limit), Cancellation::default());
        let run = Run { threads: self.threads, budget: &memory, cancellation: &cancellation };
        let inside = || self.threads.enter(|| self.model.run(inputs, outputs, run));
        match catch_unwind(AssertUnwindSafe(inside)) {
            Ok(Ok(answers)) => Ok(Ran { answers, peak: memory.peak.into_inner() }),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the engine panicked; report it with the model's operators".to_owned()),
        }
    }
}

/// Bytes of a line of `/proc/self/status`; 0 where there is no such file.
fn status(line: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let value = status.lines().find_map(|text| text.strip_prefix(line));
    let kilobytes = value.and_then(|text| text.split_whitespace().next()?.parse::<u64>().ok());
    kilobytes.unwrap_or(0).saturating_mul(1024)
}

/// The memory of this process, in bytes.
pub(crate) struct Resident {
    /// What it allocated.
    allocated: u64,
    /// Pages of files: the program itself, as far as it ran.
    files: u64,
    /// The most of both since [`forget_peak`].
    peak: u64,
}

impl Resident {
    pub(crate) fn now() -> Self {
        Self { allocated: status("RssAnon:"), files: status("RssFile:"), peak: status("VmHWM:") }
    }

    /// What was added by loading a file of this length, which was in memory before.
    pub(crate) fn since(&self, before: &Self, file: u64) -> ModelMemory {
        let without = before.allocated.saturating_sub(file);
        ModelMemory {
            rest_bytes: self.allocated.saturating_sub(without),
            load_peak_bytes: self.peak.saturating_sub(self.files).saturating_sub(without),
        }
    }
}

/// Makes the peak what is resident now (proc(5), `clear_refs`). Where that is not allowed, the peak
/// stays that of the process.
pub(crate) fn forget_peak() {
    drop(fs::write("/proc/self/clear_refs", "5"));
}
