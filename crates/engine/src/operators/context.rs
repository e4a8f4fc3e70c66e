//! What a run gives its operators: a budget of memory, a way to be cancelled, threads.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use adytum_kernels::crew::Crew;

use super::OperatorError;
use crate::{
    tensor::{ElementType, element_count},
    threads::Threads,
};

/// Whether the caller of a run is gone. Copies share it.
#[derive(Clone, Debug, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Ends the run at the next operator, or sooner where an operator asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`Cancellation::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The memory that one run may take for its values, in bytes. The runner charges each
/// output that an operator returns and gives back what is dropped; an operator whose
/// output or scratch memory can be larger than its inputs asks first
/// ([`Context::reserve`]).
pub trait Budget: Sync {
    /// Whether `bytes` more may be allocated now; an error says the limit.
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError>;

    /// Takes `bytes`: they are alive from now on. For runners, not for operators.
    fn charge(&self, bytes: usize) -> Result<(), OperatorError> {
        self.reserve(bytes)
    }

    /// Gives back what [`Budget::charge`] took.
    fn release(&self, _bytes: usize) {}
}

/// A budget of a number of bytes.
#[derive(Debug)]
pub struct Memory {
    limit: usize,
    used: AtomicUsize,
    peak: AtomicUsize,
}

impl Memory {
    /// At most `limit` bytes at any time.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: AtomicUsize::new(0), peak: AtomicUsize::new(0) }
    }

    /// The bytes that are alive.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// The most bytes that were charged at once.
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }
}

impl Budget for Memory {
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError> {
        match self.used().checked_add(bytes) {
            Some(total) if total <= self.limit => Ok(()),
            _ => Err(OperatorError::Budget { requested: bytes, limit: self.limit }),
        }
    }

    fn charge(&self, bytes: usize) -> Result<(), OperatorError> {
        let before = self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(total) = before.checked_add(bytes).filter(|total| *total <= self.limit) {
            self.peak.fetch_max(total, Ordering::Relaxed);
            return Ok(());
        }
        self.release(bytes);
        Err(OperatorError::Budget { requested: bytes, limit: self.limit })
    }

    fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What a run gives an operator.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    budget: &'a dyn Budget,
    cancellation: &'a Cancellation,
    threads: Option<&'a Threads>,
    crew: Option<&'a Crew>,
}

impl<'a> Context<'a> {
    /// For one run, on the thread that runs it.
    pub fn new(budget: &'a dyn Budget, cancellation: &'a Cancellation) -> Self {
        Self { budget, cancellation, threads: None, crew: None }
    }

    /// The same with threads that may help.
    #[must_use]
    pub fn with_threads(mut self, threads: &'a Threads) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The threads that may help.
    pub fn threads(&self) -> Option<&'a Threads> {
        self.threads
    }

    /// The same with a crew that waits for work.
    pub(super) fn with_crew<'b>(&self, crew: &'b Crew) -> Context<'b>
    where
        'a: 'b,
    {
        Context { crew: Some(crew), ..*self }
    }

    /// The crew that waits for work, if there is one.
    pub(super) fn crew(&self) -> Option<&'a Crew> {
        self.crew
    }

    /// The budget: for what runs whole programs.
    pub fn budget(&self) -> &'a dyn Budget {
        self.budget
    }

    /// The number of elements of a tensor that is about to be made, if the run may have
    /// it. Every operator whose output's size is not bounded by its inputs' sizes asks
    /// here before it allocates.
    pub fn reserve(&self, element_type: ElementType, shape: &[usize]) -> Result<usize, OperatorError> {
        let too_large = || OperatorError::TooLarge { shape: shape.to_vec() };
        let count = element_count(shape).ok_or_else(too_large)?;
        let bytes = count.checked_mul(element_type.size()).ok_or_else(too_large)?;
        self.budget.reserve(bytes)?;
        Ok(count)
    }

    /// An error if the caller is gone: for loops that run long within one operator.
    pub fn check(&self) -> Result<(), OperatorError> {
        if self.cancellation.is_cancelled() { Err(OperatorError::Cancelled) } else { Ok(()) }
    }
}
