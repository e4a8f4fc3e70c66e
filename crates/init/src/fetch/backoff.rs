//! How long to wait between attempts: exponential, with full jitter, so that a
//! thousand replicas that lost one broker don't return to it at once.

use std::time::Duration;

use rand::RngExt;

/// A source of chance.
pub trait Jitter: Send {
    /// A number from 0 (included) to 1 (excluded), evenly.
    fn fraction(&mut self) -> f64;
}

/// The system's random generator.
#[derive(Clone, Copy, Debug, Default)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn fraction(&mut self) -> f64 {
        rand::rng().random()
    }
}

/// Delays: the n-th is even chance between 0 and `first` times 2 to the n, at
/// most `cap`.
pub struct Backoff {
    first: Duration,
    cap: Duration,
    attempt: u32,
    jitter: Box<dyn Jitter>,
}

impl Backoff {
    /// The first delay's limit.
    pub const FIRST: Duration = Duration::from_millis(500);
    /// No delay is longer.
    pub const CAP: Duration = Duration::from_secs(30);

    /// Delays within these limits.
    pub fn new(first: Duration, cap: Duration, jitter: impl Jitter + 'static) -> Self {
        Self { first, cap, attempt: 0, jitter: Box::new(jitter) }
    }

    /// The next delay, after the time that a peer asked for; never longer than the longest.
    pub fn next_delay_after(&mut self, asked: Option<Duration>) -> Duration {
        let delay = self.next_delay();
        asked.map_or(delay, |asked| asked.saturating_add(delay).min(self.cap))
    }

    /// From the beginning.
    pub fn reset(&mut self) {
        self.attempt = 0;
    }

    /// From the beginning, with no delay longer than this.
    pub(crate) fn restrict(&mut self, cap: Duration) {
        self.reset();
        self.cap = cap;
        self.first = Self::FIRST.min(cap);
    }

    /// A part of something, by chance: from 0 to 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.jitter.fraction().clamp(0.0, 1.0)
    }

    /// The next delay.
    pub fn next_delay(&mut self) -> Duration {
        let factor = 1u32.checked_shl(self.attempt).unwrap_or(u32::MAX);
        self.attempt = self.attempt.saturating_add(1);
        let limit = self.first.saturating_mul(factor).min(self.cap);
        limit.mul_f64(self.fraction())
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Self::FIRST, Self::CAP, RandomJitter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Always(f64);

    impl Jitter for Always {
        fn fraction(&mut self) -> f64 {
            self.0
        }
    }

    #[test]
    fn the_limit_doubles_up_to_the_cap() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(5), Always(1.0));
        let delays: Vec<u64> = (0..5).map(|_| backoff.next_delay().as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        backoff.reset();
        assert_eq!(backoff.next_delay().as_secs(), 1);
    }

    #[test]
    fn no_attempt_is_too_many() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Always(1.0));
        let last = (0..10_000).map(|_| backoff.next_delay()).last();
        assert_eq!(last, Some(Duration::from_secs(30)));
    }

    #[test]
    fn the_whole_range_is_used() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1), RandomJitter);
        let delays: Vec<f64> = (0..200).map(|_| backoff.next_delay().as_secs_f64()).collect();
        assert!(delays.iter().any(|delay| *delay < 0.2) && delays.iter().any(|delay| *delay > 0.8));
    }
}
