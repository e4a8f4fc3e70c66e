//! Durations as a manifest writes them: "90s", "10m", "24h", "30d".

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Serialize};

/// A whole number of seconds, written with one unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WrittenDuration(u32);

const UNITS: [(char, u32); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl WrittenDuration {
    /// A duration of this number of seconds.
    pub const fn from_seconds(seconds: u32) -> Self {
        Self(seconds)
    }

    /// In seconds.
    pub const fn seconds(self) -> u32 {
        self.0
    }

    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_secs(self.0 as u64)
    }
}

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{found:?} is no duration; expected a whole number and one of the units s, m, h, d, as in \"90s\", \
         \"10m\", \"24h\" or \"30d\""
)]
pub struct DurationError {
    /// The beginning of what was found.
    pub found: String,
}

impl FromStr for WrittenDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let read = || {
            let unit = text.chars().next_back()?;
            let (_, seconds) = UNITS.into_iter().find(|(known, _)| *known == unit)?;
            let digits = text.strip_suffix(unit)?;
            // `parse` would take a sign.
            let digits = digits.bytes().all(|byte| byte.is_ascii_digit()).then_some(digits)?;
            digits.parse::<u32>().ok()?.checked_mul(seconds)
        };
        read().map(Self).ok_or_else(|| DurationError { found: text.chars().take(40).collect() })
    }
}

impl TryFrom<String> for WrittenDuration {
    type Error = DurationError;

    fn try_from(text: String) -> Result<Self, DurationError> {
        text.parse()
    }
}

impl From<WrittenDuration> for String {
    fn from(duration: WrittenDuration) -> Self {
        duration.to_string()
    }
}

impl fmt::Display for WrittenDuration {
    /// In the largest unit that leaves no rest.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, seconds): &(char, u32)| self.0 > 0 && self.0.is_multiple_of(*seconds);
        let (unit, seconds) = UNITS.into_iter().find(fits).unwrap_or(('s', 1));
        f.pad(&format!("{}{unit}", self.0 / seconds))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn usual_durations_are_read() {
        for (text, seconds) in [("0s", 0), ("90s", 90), ("10m", 600), ("24h", 86_400), ("30d", 2_592_000)] {
            assert_eq!(text.parse(), Ok(WrittenDuration(seconds)));
        }
        assert_eq!(WrittenDuration(86_400).to_string(), "1d");
        assert_eq!(WrittenDuration(5400).to_string(), "90m");
    }

    #[test]
    fn others_are_refused() {
        for text in
            ["", "s", "10", "-1s", "+1s", "1.5h", "1h30m", "1 h", "10M", "5000000000s", "50000d", "1ä"]
        {
            assert!(text.parse::<WrittenDuration>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(seconds in any::<u32>()) {
            let written = WrittenDuration(seconds);
            prop_assert_eq!(written.to_string().parse(), Ok(written));
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,12}") {
            let _ = text.parse::<WrittenDuration>();
        }
    }
}
