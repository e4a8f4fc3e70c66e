//! A clock that the host can't turn back.
//!
//! The host's clock is not trusted. Dates that others have signed are: the sources were
//! written before the program runs, owners sign no manifest of tomorrow, and collateral
//! that verified can't be from the future. So the time is at least the latest of these
//! dates, plus the time that has passed since it was seen, by the monotonic clock. A time
//! below that floor is not believed; the floor counts in its place.
//!
//! Only dates with a signature raise it: a peer moves it no
//! further than what the vendor or the owners signed ([`GRANT_MARGIN`]). A date that was
//! signed stays when the host's clock jumps forward and back again.
//!
//! A clock set forward looks the same as time that passed. Its only effect is that
//! collateral counts as expired, so nothing is released.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{Clock, SOURCE_DATE, UnixSeconds};

/// A difference between the clock and the time that passed, or the floor, is reported
/// from here on.
pub const JUMP: Duration = Duration::from_secs(60);

/// How far a time at which secrets were granted may raise the floor beyond the newest date
/// that a vendor signed. The time is the host's; this bounds the harm of a clock that was
/// wrong for a while.
pub const GRANT_MARGIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

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

/// Why the time can't be earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FloorOrigin {
    /// The sources of this program were committed then.
    Source,
    /// The measured configuration names it (`collateral_not_before`).
    Configuration,
    /// The manifest in force names it (`collateral_not_before`).
    Manifest,
    /// A vendor signed it, in collateral that verified.
    Collateral,
    /// Secrets were granted then, and that was recorded.
    Grant,
    /// It was a floor before this program was started again.
    Kept,
    /// A broker whose evidence was accepted announced it.
    Broker,
}

impl fmt::Display for FloorOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Source => "the date of this program's sources",
            Self::Configuration => "a date in the measured configuration",
            Self::Manifest => "a date in the manifest in force",
            Self::Collateral => "the date of issue of verified collateral",
            Self::Grant => "the time of a recorded grant",
            Self::Kept => "the floor that was kept before this start",
            Self::Broker => "the floor that the broker announced",
        })
    }
}

/// A date that the time can't be before, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    pub date: UnixSeconds,
    pub origin: FloorOrigin,
}

/// A fault of the host's clock that was noticed.
///
/// Retry: no
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClockWarning {
    /// The host's clock is behind a date that somebody signed, or behind that date and the time that
    /// has passed since. That time is not believed: the later one is used.
    ///
    /// Do: set the clock of the host; docs/clock.md explains the floor.
    BelowFloor {
        clock: UnixSeconds,
        /// The time that counts instead.
        believed: UnixSeconds,
        floor: Floor,
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

impl fmt::Display for ClockWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BelowFloor { clock, believed, floor: Floor { date, origin } } => write!(
                f,
                "the host's clock says {clock}, which is before {date} ({origin}); the time {believed} is used instead"
            ),
            Self::Forward { expected, found } | Self::Back { expected, found } => {
                write!(f, "the host's clock jumped: expected about {expected}, found {found}")
            }
        }
    }
}

/// A date and how much time had passed when it became known.
#[derive(Clone, Copy)]
struct Known {
    date: UnixSeconds,
    at: Duration,
}

/// The host's clock above a floor.
pub struct FloorClock {
    clock: Arc<dyn Clock>,
    monotonic: Arc<dyn Monotonic>,
    floors: Mutex<BTreeMap<FloorOrigin, Known>>,
    /// The latest date that this process has seen, to be kept. The others come again from
    /// where they are written.
    kept: watch::Sender<UnixSeconds>,
    /// Wall clock minus monotonic clock, in seconds, when it was last looked at.
    offset: AtomicU64,
    below: AtomicBool,
    warnings: watch::Sender<Option<ClockWarning>>,
}

impl fmt::Debug for FloorClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FloorClock").field("floor", &self.floor_and_origin()).finish_non_exhaustive()
    }
}

impl FloorClock {
    /// Above the date of this program's sources.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_monotonic(clock, Arc::new(SystemMonotonic::default()), SOURCE_DATE)
    }

    /// With this measure of the time that passes, and sources of this date.
    pub fn with_monotonic(
        clock: Arc<dyn Clock>,
        monotonic: Arc<dyn Monotonic>,
        source_date: UnixSeconds,
    ) -> Self {
        let at = monotonic.elapsed();
        let offset = clock.now().0.saturating_sub(at.as_secs());
        let floors = BTreeMap::from([(FloorOrigin::Source, Known { date: source_date, at })]);
        Self {
            clock,
            monotonic,
            floors: Mutex::new(floors),
            kept: watch::Sender::new(UnixSeconds(0)),
            offset: AtomicU64::new(offset),
            below: AtomicBool::new(false),
            warnings: watch::Sender::new(None),
        }
    }

    /// The dates that this process has seen, the latest one; another value follows
    /// whenever it rises, to be kept.
    pub fn kept(&self) -> watch::Receiver<UnixSeconds> {
        self.kept.subscribe()
    }

    /// The last warning; another value follows with each new one.
    pub fn warnings(&self) -> watch::Receiver<Option<ClockWarning>> {
        self.warnings.subscribe()
    }

    /// Is the host's clock below the floor, as far as was last seen?
    pub fn is_below(&self) -> bool {
        self.below.load(Ordering::SeqCst)
    }

    /// The latest of the dates.
    pub fn floor_and_origin(&self) -> Floor {
        let floors = self.floors();
        let latest = floors.iter().max_by_key(|(_, known)| known.date);
        latest.map_or(Floor { date: UnixSeconds(0), origin: FloorOrigin::Source }, |(origin, known)| Floor {
            date: known.date,
            origin: *origin,
        })
    }

    /// Takes up the floor that was kept before this start.
    pub fn restore(&self, date: UnixSeconds) {
        self.raise(FloorOrigin::Kept, date);
    }

    /// Adopts the floor that a broker announced whose evidence was accepted. It is as
    /// bounded as the broker's own.
    pub fn adopt(&self, date: UnixSeconds) {
        self.raise(FloorOrigin::Broker, date);
    }

    /// Takes the date that owners state: in the manifest in force, or in a measured
    /// configuration. Another one replaces it, so that those who signed a date by mistake
    /// can correct it.
    pub fn states(&self, origin: FloorOrigin, date: Option<UnixSeconds>) {
        let at = self.monotonic.elapsed();
        let mut floors = self.floors();
        match date {
            // The same date goes on from when it became known.
            Some(date) if floors.get(&origin).is_some_and(|known| known.date == date) => {}
            Some(date) => drop(floors.insert(origin, Known { date, at })),
            None => drop(floors.remove(&origin)),
        }
    }

    /// The time that counts: the host's, or what the floor and the time since make of it.
    fn believed(&self, host: UnixSeconds) -> (UnixSeconds, Floor) {
        let passed = self.monotonic.elapsed();
        let floors = self.floors();
        let least = floors.iter().map(|(origin, known)| {
            let least = known.date.plus(passed.saturating_sub(known.at));
            (least, Floor { date: known.date, origin: *origin })
        });
        let none = Floor { date: UnixSeconds(0), origin: FloorOrigin::Source };
        let (least, floor) = least.max_by_key(|(least, _)| *least).unwrap_or((UnixSeconds(0), none));
        (host.max(least), floor)
    }

    /// Compares the host's clock with the floor and with the time that passed. Each jump
    /// is reported once, and a clock below the floor once until it is right again.
    pub fn look(&self) -> Option<ClockWarning> {
        let found = self.clock.now();
        let (believed, floor) = self.believed(found);
        let passed = self.monotonic.elapsed().as_secs();
        let offset = found.0.saturating_sub(passed);
        let last = self.offset.swap(offset, Ordering::SeqCst);
        let expected = UnixSeconds(last.saturating_add(passed));
        let warning = if found.plus(JUMP) < believed {
            let new = !self.below.swap(true, Ordering::SeqCst);
            new.then_some(ClockWarning::BelowFloor { clock: found, believed, floor })
        } else {
            self.below.store(false, Ordering::SeqCst);
            if offset > last.saturating_add(JUMP.as_secs()) {
                Some(ClockWarning::Forward { expected, found })
            } else if last > offset.saturating_add(JUMP.as_secs()) {
                Some(ClockWarning::Back { expected, found })
            } else {
                None
            }
        };
        if let Some(warning) = warning {
            self.warnings.send_replace(Some(warning));
        }
        warning
    }

    fn raise(&self, origin: FloorOrigin, date: UnixSeconds) {
        let at = self.monotonic.elapsed();
        let mut floors = self.floors();
        if date == UnixSeconds(0) || floors.get(&origin).is_some_and(|known| known.date >= date) {
            return;
        }
        floors.insert(origin, Known { date, at });
        drop(floors);
        if matches!(origin, FloorOrigin::Collateral | FloorOrigin::Grant | FloorOrigin::Kept) {
            self.kept.send_if_modified(|kept| {
                let higher = date > *kept;
                *kept = (*kept).max(date);
                higher
            });
        }
    }

    /// Nothing in here is left half-changed by a panic.
    fn floors(&self) -> MutexGuard<'_, BTreeMap<FloorOrigin, Known>> {
        self.floors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for FloorClock {
    fn now(&self) -> UnixSeconds {
        if let Some(warning) = self.look() {
            tracing::warn!(code = warning.code(), "{warning}");
        }
        self.believed(self.clock.now()).0
    }

    fn elapsed(&self) -> Duration {
        self.monotonic.elapsed()
    }

    fn floor(&self) -> UnixSeconds {
        self.floor_and_origin().date
    }

    fn is_below_floor(&self) -> bool {
        self.is_below()
    }

    fn owners_state(&self, date: Option<UnixSeconds>) {
        self.states(FloorOrigin::Manifest, date);
    }

    fn saw(&self, date: UnixSeconds) {
        self.raise(FloorOrigin::Collateral, date);
    }

    /// Raises the floor to this time, but not beyond what a vendor has signed and
    /// [`GRANT_MARGIN`]: without a signed date not at all.
    fn used(&self, time: UnixSeconds) {
        let signed = self.floors().get(&FloorOrigin::Collateral).map(|known| known.date);
        if let Some(signed) = signed {
            self.raise(FloorOrigin::Grant, time.min(signed.plus(GRANT_MARGIN)));
        }
    }
}

#[cfg(test)]
mod tests;
