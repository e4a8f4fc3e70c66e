//! How long requests may wait where more come than can be run.
//!
//! A burst may wait: it is over soon. Where waits stay long, more requests come than can be
//! answered, and each that is taken in makes all others wait longer. So, once no request has
//! begun in time for a while, those that would wait too long are refused at once; then the
//! others are answered as soon as in a server that is not overloaded. (CoDel tells the two apart
//! in the same way: Nichols and Jacobson, RFC 8289.)

use std::time::{Duration, Instant};

use super::turns::USUAL_COST;

/// A request that begins after no longer than this has begun in time.
const IN_TIME: Duration = Duration::from_millis(10);

/// A burst is over after this.
const BURST: Duration = Duration::from_millis(250);

/// What a core may have waiting, in runs like the one that asks: long runs may wait longer.
const RUNS: u32 = 128;

/// How long requests may wait during an overload: at least this; `None`: without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience(pub Option<Duration>);

impl Default for Patience {
    fn default() -> Self {
        Self(Some(Duration::from_millis(20)))
    }
}

impl Patience {
    /// The longest wait of a run that is predicted to take so long.
    fn of(self, predicted: Option<Duration>) -> Duration {
        let runs = predicted.unwrap_or(USUAL_COST).saturating_mul(RUNS);
        self.0.map_or(Duration::MAX, |least| least.max(runs))
    }
}

/// Whether more requests come than can be run, at one place where they wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Congestion {
    patience: Patience,
    /// When a request last began in time.
    in_time: Instant,
}

impl Congestion {
    pub(super) fn new(patience: Patience, now: Instant) -> Self {
        Self { patience, in_time: now }
    }

    /// A request begins that has waited so long, or nothing waits.
    pub(super) fn begins_after(&mut self, waited: Duration, now: Instant) {
        if waited <= IN_TIME {
            self.in_time = self.in_time.max(now);
        }
    }

    /// Makes the last one that began in time so much older.
    #[cfg(test)]
    pub(super) fn pass(&mut self, time: Duration) {
        if let Some(earlier) = self.in_time.checked_sub(time) {
            self.in_time = earlier;
        }
    }

    /// Whether waits have been long for longer than a burst takes.
    pub(super) fn lasts(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.in_time) > BURST
    }

    /// The longest wait of such a run, if waits are limited now.
    pub(super) fn limit(&self, predicted: Option<Duration>, now: Instant) -> Option<Duration> {
        self.lasts(now).then(|| self.patience.of(predicted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Option<Duration> = Some(Duration::from_micros(300));

    fn milliseconds(number: u64) -> Duration {
        Duration::from_millis(number)
    }

    #[test]
    fn a_burst_may_wait_and_an_overload_may_not() {
        let start = Instant::now();
        let mut overload = Congestion::new(Patience::default(), start);
        overload.begins_after(milliseconds(200), start + milliseconds(200));
        assert_eq!(overload.limit(SHORT, start + milliseconds(250)), None);
        let later = start + milliseconds(251);
        assert_eq!(overload.limit(SHORT, later), Some(Duration::from_micros(128 * 300)));
        assert_eq!(overload.limit(Some(Duration::from_micros(1)), later), Some(milliseconds(20)));
        assert_eq!(overload.limit(Some(milliseconds(40)), later), Some(milliseconds(5120)));
        // One that begins in time shows that the queue was short again.
        overload.begins_after(milliseconds(9), later);
        assert_eq!(overload.limit(SHORT, later + milliseconds(250)), None);
        assert!(overload.limit(SHORT, later + milliseconds(251)).is_some());
    }

    #[test]
    fn without_patience_nothing_is_refused_for_its_wait() {
        let start = Instant::now();
        let overload = Congestion::new(Patience(None), start);
        assert_eq!(overload.limit(SHORT, start + milliseconds(9999)), Some(Duration::MAX));
    }
}
