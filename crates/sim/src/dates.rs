//! Dates as X.509 and Intel's JSON documents write them.

use adytum_evidence::clock::UnixSeconds;
use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

/// 9999-12-31T23:59:59Z: the last date that X.509 can write.
const LAST: u64 = 253_402_300_799;

/// The date of a moment; the last possible one for moments after it.
pub(crate) fn date(at: UnixSeconds) -> OffsetDateTime {
    i64::try_from(at.0.min(LAST))
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// A moment in the form of RFC 3339, in whole seconds, UTC.
pub(crate) fn rfc3339(at: UnixSeconds) -> String {
    let date = date(at);
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        date.year(),
        u8::from(date.month()),
        date.day(),
        date.hour(),
        date.minute(),
        date.second()
    )
}

/// Reads what [`rfc3339`] writes, and nothing else.
pub(crate) fn parse_rfc3339(text: &str) -> Option<UnixSeconds> {
    let (day, hour) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(day, '-')?;
    let [hour, minute, second] = numbers(hour, ':')?;
    let byte = |number| u8::try_from(number).ok();
    let day =
        Date::from_calendar_date(i32::from(year), Month::try_from(byte(month)?).ok()?, byte(day)?).ok()?;
    let time = Time::from_hms(byte(hour)?, byte(minute)?, byte(second)?).ok()?;
    let seconds = PrimitiveDateTime::new(day, time).assume_utc().unix_timestamp();
    u64::try_from(seconds).ok().map(UnixSeconds)
}

fn numbers(text: &str, separator: char) -> Option<[u16; 3]> {
    let numbers: Vec<u16> = text.split(separator).map(|part| part.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_back() {
        for seconds in [0, 951_782_400, 1_750_327_571, LAST] {
            assert_eq!(parse_rfc3339(&rfc3339(UnixSeconds(seconds))), Some(UnixSeconds(seconds)));
        }
        for bad in ["", "Z", "2025-06-19", "2025-02-30T00:00:00Z", "2025-06-19T10:06:11", "1-1-1-1T1:1:1Z"] {
            assert_eq!(parse_rfc3339(bad), None, "{bad}");
        }
    }

    #[test]
    fn dates_are_written_as_intel_writes_them() {
        assert_eq!(rfc3339(UnixSeconds(0)), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(UnixSeconds(1_750_327_571)), "2025-06-19T10:06:11Z");
        assert_eq!(rfc3339(UnixSeconds(u64::MAX)), "9999-12-31T23:59:59Z");
    }
}
