//! Log lines that strangers cause. Some a second are written; the rest are
//! counted, so that nobody fills the log, and with it a disk.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Lines in an interval.
const LINES: u32 = 20;
const INTERVAL: Duration = Duration::from_secs(1);

/// Limits the log lines that strangers cause.
#[derive(Debug, Default)]
pub(crate) struct LogLimiter(Mutex<Interval>);

#[derive(Debug, Default)]
struct Interval {
    began: Option<Instant>,
    written: u32,
    suppressed: u64,
}

impl LogLimiter {
    /// May a line be written? If so, how many were not since the last one.
    pub(crate) fn may_write(&self, now: Instant) -> Option<u64> {
        let mut interval = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if interval.began.is_none_or(|began| now.saturating_duration_since(began) >= INTERVAL) {
            interval.began = Some(now);
            interval.written = 0;
        }
        if interval.written >= LINES {
            interval.suppressed += 1;
            return None;
        }
        interval.written += 1;
        Some(std::mem::take(&mut interval.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_few_and_none_is_forgotten() {
        let (limiter, start) = (LogLimiter::default(), Instant::now());
        let written = (0..1000).filter_map(|_| limiter.may_write(start)).collect::<Vec<_>>();
        assert_eq!(written, vec![0; LINES as usize]);
        assert_eq!(limiter.may_write(start + INTERVAL), Some(1000 - u64::from(LINES)));
        assert_eq!(limiter.may_write(start + INTERVAL), Some(0));
    }
}
