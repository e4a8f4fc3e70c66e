//! Runs a model that is checked, and measures.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::atomic::{AtomicUsize, Ordering},
};

use adytum_engine::{
    engine::{LoadedModel, Run},
    operators::{Budget, Cancellation, Memory, OperatorError},
    tensor::Value,
    threads::Threads,
};

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
