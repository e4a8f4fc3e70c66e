//! Time as something that is handed in. The host's clock is not trusted
//! (ARCHITECTURE.md, invariant 8): it decides nothing but whether collateral has expired,
//! and [`floor`] keeps it from going below dates that others have signed.

mod day;
#[cfg(feature = "collect")]
pub mod floor;
mod source_date;

use std::{
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

pub use self::{
    day::{Day, DayError},
    source_date::SOURCE_DATE,
};

/// Seconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixSeconds(pub u64);

impl UnixSeconds {
    /// This moment plus `duration`, in whole seconds.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration.as_secs()))
    }
}

impl UnixSeconds {
    /// Reads Intel's form of RFC 3339, which is always in UTC:
    /// `2025-06-19T10:02:05Z`, with or without a fraction of the second, which
    /// is dropped. `None` for anything else and for years before 1970.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
        let time = match time.split_once('.') {
            Some((time, fraction)) => {
                let digits = !fraction.is_empty() && fraction.bytes().all(|b| b.is_ascii_digit());
                digits.then_some(time)?
            }
            None => time,
        };
        let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
        let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
        let in_range = year >= 1970 && hour < 24 && minute < 60 && second < 60;
        let days = days_since_1970(year, month, day).filter(|_| in_range)?;
        Some(Self(((days * 24 + hour) * 60 + minute) * 60 + second))
    }
}

fn numbers(text: &str, separator: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next().filter(|part| part.len() == digits)?;
        *number = part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok())??;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days of the proleptic Gregorian calendar, for years from 1970 to 9999.
fn days_since_1970(year: u64, month: u64, day: u64) -> Option<u64> {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let length = *lengths.get(usize::try_from(month.checked_sub(1)?).ok()?)?;
    if day == 0 || day > length {
        return None;
    }
    let before = year.checked_sub(1)?;
    let leap_days = before / 4 - before / 100 + before / 400;
    let months: u64 = lengths.iter().take(usize::try_from(month - 1).ok()?).sum();
    // 719162 days lie before 1970-01-01, counted the same way.
    (before * 365 + leap_days + months + day - 1).checked_sub(719_162)
}

impl fmt::Display for UnixSeconds {
    /// RFC 3339, in UTC.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0 / 86_400, self.0 % 86_400);
        // Beyond the year 9999 the form ends; the number says as much.
        let Some((year, month, day)) = date_of(days) else { return write!(f, "{} s", self.0) };
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn date_of(days: u64) -> Option<(u64, u64, u64)> {
    if days > 2_932_896 {
        return None;
    }
    // No year has more than 366 days: the estimate is never too late.
    let mut year = 1970 + days / 366;
    while days_since_1970(year + 1, 1, 1)? <= days {
        year += 1;
    }
    let mut month = 12;
    while days_since_1970(year, month, 1)? > days {
        month -= 1;
    }
    Some((year, month, days - days_since_1970(year, month, 1)? + 1))
}

impl Serialize for UnixSeconds {
    /// As its text, RFC 3339 in UTC.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for UnixSeconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse_rfc3339(&text).ok_or_else(|| {
            D::Error::custom("expected a date and time in UTC, as in \"2026-10-08T11:00:00Z\"")
        })
    }
}

/// Tells the wall-clock time.
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> UnixSeconds;

    /// The time that has passed since some beginning, whatever the wall clock says.
    fn elapsed(&self) -> Duration {
        static BEGINNING: OnceLock<Instant> = OnceLock::new();
        BEGINNING.get_or_init(Instant::now).elapsed()
    }

    /// The latest date that this clock has reason to think past, from others than the
    /// host. [`UnixSeconds`] 0 is none.
    fn floor(&self) -> UnixSeconds {
        UnixSeconds(0)
    }

    /// Is the host's clock before that, so that it is not believed?
    fn is_below_floor(&self) -> bool {
        false
    }

    /// Takes the date that the owners' rules in force name, if they name any. It replaces
    /// the one before.
    fn owners_state(&self, date: Option<UnixSeconds>) {
        let _ = date;
    }

    /// Takes the date of something whose signature a verifier has just checked,
    /// and which can't be from the future. A clock may keep to it.
    fn saw(&self, date: UnixSeconds) {
        let _ = date;
    }

    /// Takes a time of this clock at which secrets were granted, on evidence that was
    /// valid then, and which is in the audit log. A clock may keep to it.
    fn used(&self, time: UnixSeconds) {
        let _ = time;
    }
}

/// The host's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixSeconds {
        // A host that claims a time before 1970 gets everything refused as not
        // yet valid.
        UnixSeconds(SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()))
    }
}

/// A clock that stays where it was set: for tests and for judging recorded
/// evidence at the time it was made.
#[derive(Debug)]
pub struct FixedClock(AtomicU64);

impl FixedClock {
    /// A clock that says `now` until it is set.
    pub fn new(now: UnixSeconds) -> Self {
        Self(AtomicU64::new(now.0))
    }

    /// Moves the clock.
    pub fn set(&self, now: UnixSeconds) {
        self.0.store(now.0, Ordering::SeqCst);
    }
}

impl Clock for FixedClock {
    fn now(&self) -> UnixSeconds {
        UnixSeconds(self.0.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_750_464_000, "2025-06-21T00:00:00Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(UnixSeconds(seconds).to_string(), text);
            assert_eq!(UnixSeconds::parse_rfc3339(text), Some(UnixSeconds(seconds)));
        }
        assert_eq!(UnixSeconds::parse_rfc3339("1970-01-01T00:00:09.75Z"), Some(UnixSeconds(9)));
        assert_eq!(UnixSeconds(u64::MAX).to_string(), format!("{} s", u64::MAX));
    }

    #[test]
    fn what_is_no_date_is_refused() {
        for text in [
            "",
            "Z",
            "2025-06-21",
            "2025-06-21T00:00:00",
            "2025-06-21T00:00:00+01:00",
            "2025-02-29T00:00:00Z",
            "2025-13-01T00:00:00Z",
            "2025-00-01T00:00:00Z",
            "2025-01-00T00:00:00Z",
            "2025-01-01T24:00:00Z",
            "2025-01-01T00:00:00.Z",
            "+025-01-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
        ] {
            assert_eq!(UnixSeconds::parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_date_reads_back(seconds in 0u64..253_402_300_800) {
            let time = UnixSeconds(seconds);
            prop_assert_eq!(UnixSeconds::parse_rfc3339(&time.to_string()), Some(time));
        }

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = UnixSeconds::parse_rfc3339(&text);
        }
    }
}
