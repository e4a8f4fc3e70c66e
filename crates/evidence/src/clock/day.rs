//! Days as policies and manifests write them: `2026-10-08`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{UnixSeconds, date_of, days_since_1970, numbers};

/// A day of the Gregorian calendar, in UTC, from 1970 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Day(u64);

/// A text that is no day.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{found:?} is no day; expected year, month and day, as in \"2026-10-08\"")]
pub struct DayError {
    /// The beginning of what was found.
    pub found: String,
}

/// 9999-12-31.
const LAST: u64 = 2_932_896;

impl Day {
    /// The day of this moment; the last day that can be written for moments after it.
    pub fn of(moment: UnixSeconds) -> Self {
        Self((moment.0 / 86_400).min(LAST))
    }

    /// Its first second.
    pub fn start(self) -> UnixSeconds {
        UnixSeconds(self.0 * 86_400)
    }

    /// The first second after it.
    pub fn end(self) -> UnixSeconds {
        UnixSeconds((self.0 + 1) * 86_400)
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date_of(self.0).unwrap_or((9999, 12, 31));
        f.pad(&format!("{year:04}-{month:02}-{day:02}"))
    }
}

impl FromStr for Day {
    type Err = DayError;

    fn from_str(text: &str) -> Result<Self, DayError> {
        let read = || {
            let [year, month, day] = numbers(text, '-', [4, 2, 2])?;
            days_since_1970(year, month, day).filter(|_| year >= 1970)
        };
        read().map(Self).ok_or_else(|| DayError { found: text.chars().take(40).collect() })
    }
}

impl TryFrom<String> for Day {
    type Error = DayError;

    fn try_from(text: String) -> Result<Self, DayError> {
        text.parse()
    }
}

impl From<Day> for String {
    fn from(day: Day) -> Self {
        day.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_day_has_a_start_and_an_end() {
        let day: Day = "2025-06-19".parse().unwrap();
        assert_eq!(day.start().to_string(), "2025-06-19T00:00:00Z");
        assert_eq!(day.end().to_string(), "2025-06-20T00:00:00Z");
        assert_eq!(Day::of(UnixSeconds(day.end().0 - 1)), day);
        assert_eq!(Day::of(UnixSeconds(u64::MAX)).to_string(), "9999-12-31");
    }

    #[test]
    fn what_is_no_day_is_refused() {
        for text in [
            "",
            "2025",
            "2025-6-19",
            "2025-02-29",
            "1969-12-31",
            "2025-06-19T00:00:00Z",
            "+025-06-19",
            "20250-06-19",
            "2025-06-19-",
        ] {
            assert!(text.parse::<Day>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_day_reads_back(days in 0..=LAST) {
            let day = Day(days);
            prop_assert_eq!(day.to_string().parse(), Ok(day));
        }

        #[test]
        fn no_text_panics(text in ".{0,16}") {
            let _ = text.parse::<Day>();
        }
    }
}
