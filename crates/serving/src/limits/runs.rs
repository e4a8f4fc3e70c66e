//! The memory of runs. All runs in progress share it, so that together they never have
//! more than a stated limit; and a run of which it is known that it needs more than is
//! free is refused before anything is allocated.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use adytum_engine::operators::{Budget, Memory, OperatorError};

use crate::error::RequestError;

/// The memory of all runs.
#[derive(Clone, Debug)]
pub struct RunMemory {
    limit: usize,
    run_limit: usize,
    used: Arc<AtomicUsize>,
}

impl RunMemory {
    /// `limit` bytes for the values of all runs together, `run_limit` for those of one.
    pub fn new(limit: usize, run_limit: usize) -> Self {
        Self { limit, run_limit: run_limit.min(limit), used: Arc::default() }
    }

    /// Bytes that runs in progress have.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a run of this many bytes could ever be.
    pub fn check(&self, expected: usize) -> Result<(), RequestError> {
        if expected <= self.run_limit {
            return Ok(());
        }
        Err(RequestError::RunTooLarge { expected, limit: self.run_limit })
    }

    /// Begins a run that is expected to need this many bytes; they are set aside for it.
    /// It may take more later, if that is free then.
    pub fn begin(&self, expected: usize) -> Result<RunBudget, RequestError> {
        self.check(expected)?;
        self.take(expected).map_err(|_| RequestError::RunMemoryInUse { limit: self.limit })?;
        Ok(RunBudget { all: self.clone(), own: Memory::new(self.run_limit), aside: Mutex::new(expected) })
    }

    fn take(&self, bytes: usize) -> Result<(), OperatorError> {
        let enough = |used: usize| used.checked_add(bytes).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough);
        taken.map(drop).map_err(|_| OperatorError::Budget { requested: bytes, limit: self.limit })
    }
}

/// The memory of one run. Memory that was set aside for it is free again when it is dropped.
#[derive(Debug)]
pub struct RunBudget {
    all: RunMemory,
    own: Memory,
    /// Bytes set aside for this run.
    aside: Mutex<usize>,
}

impl RunBudget {
    /// The most bytes that were alive at once.
    pub fn peak(&self) -> usize {
        self.own.peak()
    }

    /// Sets more aside, if this many bytes are more than is.
    fn set_aside(&self, bytes: usize) -> Result<(), OperatorError> {
        let mut aside = self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.take(bytes.saturating_sub(*aside))?;
        *aside = bytes.max(*aside);
        Ok(())
    }
}

impl Budget for RunBudget {
    fn reserve(&self, bytes: usize) -> Result<(), OperatorError> {
        self.own.reserve(bytes)?;
        // Set aside at once: the allocation comes before its charge.
        self.set_aside(self.own.used().saturating_add(bytes))
    }

    fn charge(&self, bytes: usize) -> Result<(), OperatorError> {
        self.reserve(bytes)?;
        self.own.charge(bytes)?;
        // Others of the run's threads may have charged meanwhile.
        self.set_aside(self.own.used()).inspect_err(|_| self.own.release(bytes))
    }

    fn release(&self, bytes: usize) {
        self.own.release(bytes);
    }
}

impl Drop for RunBudget {
    fn drop(&mut self) {
        let aside = *self.aside.lock().unwrap_or_else(PoisonError::into_inner);
        self.all.used.fetch_sub(aside, Ordering::Relaxed);
    }
}

/// The memory that a model's runs need, measured at its warm-up. It grows with the number of
/// elements of the inputs, along a line through what was measured. What requests need is not
/// learned: a run whose values decide what it takes says nothing of others.
#[derive(Debug, Default)]
pub struct MemoryEstimate(Mutex<Option<Line>>);

#[derive(Clone, Copy, Debug)]
struct Line {
    /// The smallest run: elements and bytes.
    elements: usize,
    bytes: usize,
    /// Bytes for each element more.
    slope: f64,
}

impl MemoryEstimate {
    /// Adds a measured run: the number of elements of its inputs, and the bytes that it took.
    /// The first run is the smallest.
    pub fn measured(&self, elements: usize, bytes: usize) {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let slope = match &*line {
            // As far as is known, all of it grows.
            None => bytes as f64 / elements.max(1) as f64,
            Some(first) if elements > first.elements => {
                bytes.saturating_sub(first.bytes) as f64 / (elements - first.elements) as f64
            }
            Some(_) => return,
        };
        *line = Some(line.map_or(Line { elements, bytes, slope }, |first| Line { slope, ..first }));
    }

    /// Bytes that a run will need; 0 if nothing was measured.
    pub fn predict(&self, elements: usize) -> usize {
        let line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.map_or(0, |line| {
            let more = elements.saturating_sub(line.elements) as f64 * line.slope;
            // A cast saturates.
            line.bytes.saturating_add(more as usize)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_together_have_no_more_than_the_limit() {
        let all = RunMemory::new(100, 60);
        let first = all.begin(50).unwrap();
        let second = all.begin(20).unwrap();
        // Within what was set aside, and beyond it.
        first.charge(40).unwrap();
        second.charge(40).unwrap();
        assert_eq!(all.used(), 90);
        assert!(matches!(all.begin(20), Err(RequestError::RunMemoryInUse { limit: 100 })));
        assert!(matches!(second.charge(15), Err(OperatorError::Budget { limit: 100, .. })), "of all");
        assert!(matches!(second.reserve(30), Err(OperatorError::Budget { limit: 60, .. })), "of one");
        assert!(matches!(all.begin(61), Err(RequestError::RunTooLarge { expected: 61, limit: 60 })));
        // What a run gave back it may take again; it is free for others when the run ends.
        second.release(40);
        second.reserve(40).unwrap();
        assert_eq!((all.used(), second.peak()), (90, 40));
        drop(second);
        first.charge(20).unwrap();
        assert_eq!((all.used(), first.peak()), (60, 60));
        drop(first);
        assert_eq!(all.used(), 0);
    }

    #[test]
    fn a_refused_charge_takes_nothing() {
        let all = RunMemory::new(100, 100);
        let (one, other) = (all.begin(0).unwrap(), all.begin(90).unwrap());
        assert!(one.charge(20).is_err());
        one.charge(10).unwrap();
        drop(other);
        assert_eq!(all.used(), 10);
    }

    #[test]
    fn an_estimate_follows_the_batch() {
        let estimate = MemoryEstimate::default();
        assert_eq!(estimate.predict(1000), 0);
        estimate.measured(10, 1000);
        assert_eq!((estimate.predict(1), estimate.predict(10), estimate.predict(100)), (1000, 1000, 10_000));
        // A constant part is no part of what grows.
        estimate.measured(20, 1500);
        assert_eq!(estimate.predict(100), 5500);
        estimate.measured(10, 9999);
        assert_eq!(estimate.predict(10), 1000);
        assert_eq!(estimate.predict(usize::MAX), usize::MAX);
    }
}
