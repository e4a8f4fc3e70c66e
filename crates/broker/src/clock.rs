//! A clock that the host can't turn back (ARCHITECTURE.md).
//!
//! The host's clock is not trusted. Dates that others have signed are: no
//! collateral that verified can be from the future, so the time is at least its
//! date of issue. That floor is kept in the store, and the clock never says less.
//! A clock set forward looks the same as time that passed. Its only effect is that
//! collateral counts as expired, so the broker refuses and releases nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_evidence::clock::{Clock, UnixSeconds};
use tokio::sync::watch;

use crate::store::{Change, Store};

/// A difference between the clock and the time that passed is reported from here
/// on.
pub const JUMP: Duration = Duration::from_secs(60);

/// Tells how much time has passed, unmoved by the wall clock.
pub trait Monotonic: Send + Sync {
    /// Time since some beginning.
    fn elapsed(&self) -> Duration;
}

/// The system's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct SystemMonotonic(Instant);

impl Default for SystemMonotonic {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl Monotonic for SystemMonotonic {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

/// A fault of the host's clock that was noticed.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockWarning {
    /// The host's clock is behind dates in signed collateral that the broker has seen; the broker
    /// uses the later time.
    ///
    /// Do: set the clock of the host; docs/operate.md explains the broker's clock.
    BelowFloor {
        clock: UnixSeconds,
        /// What the broker says instead.
        floor: UnixSeconds,
    },
    /// The host's clock went forward by more than the time that passed.
    ///
    /// Do: check the clock of the host and its time service. With a clock in the future,
    /// collateral counts as expired.
    Forward {
        /// What it said, plus the time that passed.
        expected: UnixSeconds,
        found: UnixSeconds,
    },
    /// The host's clock went back.
    ///
    /// Do: check the clock of the host and its time service.
    Back {
        /// What it said, plus the time that passed.
        expected: UnixSeconds,
        found: UnixSeconds,
    },
}

impl ClockWarning {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BelowFloor { .. } => "clock-below-floor",
            Self::Forward { .. } => "clock-forward",
            Self::Back { .. } => "clock-back",
        }
    }
}

/// The host's clock above a floor.
pub struct FloorClock {
    clock: Arc<dyn Clock>,
    monotonic: Arc<dyn Monotonic>,
    floor: watch::Sender<UnixSeconds>,
    /// Wall clock minus monotonic clock, in seconds, when it was last looked at.
    offset: AtomicU64,
    below: AtomicU64,
}

impl FloorClock {
    /// Above the floor that a store kept.
    pub fn new(clock: Arc<dyn Clock>, floor: Option<UnixSeconds>) -> Self {
        Self::with_monotonic(clock, Arc::new(SystemMonotonic::default()), floor)
    }

    /// With this measure of the time that passes.
    pub fn with_monotonic(
        clock: Arc<dyn Clock>,
        monotonic: Arc<dyn Monotonic>,
        floor: Option<UnixSeconds>,
    ) -> Self {
        let offset = clock.now().0.saturating_sub(monotonic.elapsed().as_secs());
        let floor = watch::Sender::new(floor.unwrap_or(UnixSeconds(0)));
        Self { clock, monotonic, floor, offset: AtomicU64::new(offset), below: AtomicU64::new(0) }
    }

    /// The floor; another value follows whenever it rises, to be kept.
    pub fn floor(&self) -> watch::Receiver<UnixSeconds> {
        self.floor.subscribe()
    }

    /// Compares the host's clock with the floor and with the time that passed.
    /// Each jump is reported once.
    pub fn look(&self) -> Option<ClockWarning> {
        let found = self.clock.now();
        let floor = *self.floor.borrow();
        let passed = self.monotonic.elapsed().as_secs();
        let offset = found.0.saturating_sub(passed);
        let former = self.offset.swap(offset, Ordering::SeqCst);
        let expected = UnixSeconds(former.saturating_add(passed));
        if found < floor {
            // Once for each floor that it is below.
            let new = self.below.swap(floor.0, Ordering::SeqCst) != floor.0;
            return new.then_some(ClockWarning::BelowFloor { clock: found, floor });
        }
        self.below.store(0, Ordering::SeqCst);
        if offset > former.saturating_add(JUMP.as_secs()) {
            return Some(ClockWarning::Forward { expected, found });
        }
        if former > offset.saturating_add(JUMP.as_secs()) {
            return Some(ClockWarning::Back { expected, found });
        }
        None
    }
}

/// Keeps the floor in the store whenever it rises, until the clock is dropped.
pub async fn keep_floor(clock: &FloorClock, store: &Store) {
    let mut floor = clock.floor();
    loop {
        let risen = *floor.borrow_and_update();
        if risen > UnixSeconds(0) {
            let change = Change { clock_floor: Some(risen), ..Change::default() };
            if let Err(error) = store.commit(change).await {
                tracing::warn!(code = error.code(), %error, "the floor under the clock was not kept");
            }
        }
        if floor.changed().await.is_err() {
            return;
        }
    }
}

impl Clock for FloorClock {
    fn now(&self) -> UnixSeconds {
        match self.look() {
            Some(ClockWarning::BelowFloor { clock, floor }) => tracing::warn!(
                code = "clock-below-floor", %clock, %floor,
                "the host's clock is behind signed dates that were seen; the broker goes by these"
            ),
            Some(
                warning
                @ (ClockWarning::Forward { expected, found } | ClockWarning::Back { expected, found }),
            ) => {
                tracing::warn!(code = warning.code(), %expected, %found, "the host's clock jumped");
            }
            None => {}
        }
        self.clock.now().max(*self.floor.borrow())
    }

    fn saw(&self, date: UnixSeconds) {
        self.floor.send_if_modified(|floor| {
            let higher = date > *floor;
            *floor = (*floor).max(date);
            higher
        });
    }
}

#[cfg(test)]
mod tests {
    use adytum_evidence::clock::FixedClock;

    use super::*;

    const START: u64 = 1_750_000_000;

    #[derive(Default)]
    struct Passed(AtomicU64);

    impl Monotonic for Passed {
        fn elapsed(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::SeqCst))
        }
    }

    fn clock(floor: Option<u64>) -> (Arc<FixedClock>, Arc<Passed>, FloorClock) {
        let host = Arc::new(FixedClock::new(UnixSeconds(START)));
        let passed = Arc::new(Passed::default());
        let clock = FloorClock::with_monotonic(host.clone(), passed.clone(), floor.map(UnixSeconds));
        (host, passed, clock)
    }

    #[test]
    fn a_clock_set_back_does_not_go_below_the_floor() {
        let (host, _, clock) = clock(None);
        assert_eq!(clock.now(), UnixSeconds(START));
        clock.saw(UnixSeconds(START - 100));
        clock.saw(UnixSeconds(START - 200));
        host.set(UnixSeconds(0));
        assert_eq!(clock.now(), UnixSeconds(START - 100));
        host.set(UnixSeconds(START + 5));
        assert_eq!(clock.now(), UnixSeconds(START + 5));
    }

    #[test]
    fn a_floor_that_was_kept_counts_from_the_first_moment() {
        let (_, _, clock) = clock(Some(START + 1000));
        assert_eq!(clock.now(), UnixSeconds(START + 1000));
        assert_eq!(*clock.floor().borrow(), UnixSeconds(START + 1000));
    }

    #[test]
    fn whoever_keeps_the_floor_hears_when_it_rises() {
        let (_, _, clock) = clock(None);
        let mut floor = clock.floor();
        assert!(!floor.has_changed().unwrap());
        clock.saw(UnixSeconds(START));
        assert!(floor.has_changed().unwrap());
        assert_eq!(*floor.borrow_and_update(), UnixSeconds(START));
        clock.saw(UnixSeconds(START - 1));
        assert!(!floor.has_changed().unwrap());
    }

    #[test]
    fn jumps_are_told_once_and_time_that_passes_is_none() {
        let (host, passed, clock) = clock(Some(START - 10_000));
        for hour in 1..=24 {
            passed.0.store(hour * 3600, Ordering::SeqCst);
            host.set(UnixSeconds(START + hour * 3600 + hour % 3));
            assert_eq!(clock.look(), None);
        }
        let now = START + 24 * 3600;
        host.set(UnixSeconds(now + 7200));
        let Some(ClockWarning::Forward { expected, found }) = clock.look() else { panic!() };
        assert_eq!((expected.0, found.0), (now, now + 7200));
        assert_eq!(clock.look(), None);
        host.set(UnixSeconds(now));
        assert_eq!(clock.look().map(|warning| warning.code()), Some("clock-back"));
        assert_eq!(clock.look(), None);
        host.set(UnixSeconds(1));
        assert_eq!(clock.look().map(|warning| warning.code()), Some("clock-below-floor"));
        assert_eq!(clock.look(), None);
        // A suspended machine: the wall clock goes on, and the monotonic one stops.
        host.set(UnixSeconds(now + 10_000));
        assert_eq!(clock.look().map(|warning| warning.code()), Some("clock-forward"));
    }
}
