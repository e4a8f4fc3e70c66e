//! Counts of values by size.

use std::sync::atomic::{AtomicU64, Ordering};

/// TensorFlow Serving's buckets of latencies, in microseconds: 33 bounds from 10 on, each
/// 1.8 times the one before.
const BOUNDS: usize = 33;
const FIRST: f64 = 10.0;
const FACTOR: f64 = 1.8;

/// A histogram; the last bucket has what is above all bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    buckets: [AtomicU64; BOUNDS + 1],
    sum: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

/// The upper bounds of the buckets.
pub(super) fn bounds() -> impl Iterator<Item = f64> {
    std::iter::successors(Some(FIRST), |bound| Some(bound * FACTOR)).take(BOUNDS)
}

impl Histogram {
    pub(super) fn observe(&self, value: u64) {
        #[expect(clippy::cast_precision_loss, reason = "a bucket is wider than what is lost")]
        let index = bounds().position(|bound| value as f64 <= bound).unwrap_or(BOUNDS);
        if let Some(bucket) = self.buckets.get(index) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        // Wraps after half a million years of microseconds.
        self.sum.fetch_add(value.min(1 << 50), Ordering::Relaxed);
    }

    /// The count at or below each bound, then the count of all; and the sum of all.
    pub(super) fn read(&self) -> (Vec<u64>, u64) {
        let mut total = 0_u64;
        let counts = self.buckets.iter().map(|bucket| {
            total = total.saturating_add(bucket.load(Ordering::Relaxed));
            total
        });
        (counts.collect(), self.sum.load(Ordering::Relaxed))
    }
}
