//! How long a run will take, learned from the runs before.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// A moving average of the time a model takes for each element of its inputs.
///
/// Most of a small model's time doesn't depend on the batch at all, so that the
/// estimate for a batch larger than the usual ones is too high. That errs on the
/// safe side: only what is surely short is run inline.
#[derive(Debug, Default)]
pub struct CostEstimate {
    /// Picoseconds per element; 0 when nothing is known.
    rate: AtomicU64,
}

/// The weight of a new observation: 1/8.
const SMOOTHING: u64 = 8;

impl CostEstimate {
    /// Learns from a run on one core.
    pub fn observe(&self, elements: usize, took: Duration) {
        let picoseconds = took.as_nanos().saturating_mul(1000) / (elements.max(1) as u128);
        let observed = u64::try_from(picoseconds).unwrap_or(u64::MAX / SMOOTHING).max(1);
        let before = self.rate.load(Ordering::Relaxed);
        let after = match before {
            0 => observed,
            _ => {
                // One slow run is more likely a thread that had to wait for its
                // core than a model that has become slow.
                let observed = observed.min(before.saturating_mul(2));
                (before / SMOOTHING).saturating_mul(SMOOTHING - 1).saturating_add(observed / SMOOTHING).max(1)
            }
        };
        // A lost update is one observation less.
        self.rate.store(after, Ordering::Relaxed);
    }

    /// How long a run on one core will take.
    pub fn predict(&self, elements: usize) -> Option<Duration> {
        match self.rate.load(Ordering::Relaxed) {
            0 => None,
            rate => Some(Duration::from_nanos(rate.saturating_mul(elements.max(1) as u64) / 1000)),
        }
    }
}
