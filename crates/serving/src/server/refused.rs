//! Handshakes that fail: one line each, and not more of them than a person can read.

use std::{
    fmt::Display,
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// At most this many lines in a [`PERIOD`].
const LINES: u32 = 10;

/// What the number of lines is limited for.
const PERIOD: Duration = Duration::from_secs(10);

static LIMIT: Mutex<Option<Limit>> = Mutex::new(None);

/// Counts what was logged.
#[derive(Clone, Copy)]
struct Limit {
    since: Instant,
    logged: u32,
    suppressed: u64,
}

impl Limit {
    fn new(now: Instant) -> Self {
        Self { since: now, logged: 0, suppressed: 0 }
    }

    /// Whether a line may be logged now, and how many were not before it.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let mut before = 0;
        if now.saturating_duration_since(self.since) >= PERIOD {
            before = self.suppressed;
            *self = Self::new(now);
        }
        if self.logged == LINES {
            self.suppressed += 1;
            return None;
        }
        self.logged += 1;
        Some(before)
    }
}

/// Logs a handshake that failed, with the address of the other end and the reason.
pub(super) fn log(address: Option<SocketAddr>, reason: &dyn Display) {
    let now = Instant::now();
    let mut limit = LIMIT.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(suppressed) = limit.get_or_insert_with(|| Limit::new(now)).take(now) else { return };
    drop(limit);
    let address = address.map_or_else(|| "unknown".to_owned(), |address| address.to_string());
    tracing::warn!(%address, %reason, suppressed, "a TLS handshake failed");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_limited_and_what_is_left_out_is_counted() {
        let start = Instant::now();
        let mut limit = Limit::new(start);
        let logged = (0..100).filter_map(|_| limit.take(start)).count();
        assert_eq!(logged, LINES as usize);
        assert_eq!(limit.take(start + PERIOD), Some(100 - u64::from(LINES)));
        assert_eq!(limit.take(start + PERIOD), Some(0));
    }
}
