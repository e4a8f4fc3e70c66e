//! What a store counts of itself.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use prometheus_client::metrics::{
    counter::Counter,
    histogram::{Histogram, exponential_buckets},
};

/// Buckets from a tenth of a millisecond to 26 seconds.
pub(super) fn durations() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 4.0, 10))
}

/// Counts of one store. Clones count together.
#[derive(Clone)]
pub(crate) struct StoreActivity {
    pub(crate) commits: Counter,
    pub(crate) changes: Counter,
    pub(crate) failures: Counter,
    /// How long a transaction took.
    pub(crate) seconds: Histogram,
    failed: Arc<AtomicBool>,
}

impl Default for StoreActivity {
    fn default() -> Self {
        Self {
            commits: Counter::default(),
            changes: Counter::default(),
            failures: Counter::default(),
            seconds: durations(),
            failed: Arc::default(),
        }
    }
}

impl StoreActivity {
    pub(crate) fn committed(&self, changes: usize, took: Duration) {
        self.commits.inc();
        self.changes.inc_by(u64::try_from(changes).unwrap_or(u64::MAX));
        self.seconds.observe(took.as_secs_f64());
        self.failed.store(false, Ordering::SeqCst);
    }

    pub(crate) fn failed(&self) {
        self.failures.inc();
        self.failed.store(true, Ordering::SeqCst);
    }

    /// Was the last transaction made durable?
    pub(crate) fn works(&self) -> bool {
        !self.failed.load(Ordering::SeqCst)
    }
}
