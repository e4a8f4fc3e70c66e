//! The date of the sources that this program was built from.

use super::UnixSeconds;

/// The date of the commit, as the image build hands it to the compiler in
/// `SOURCE_DATE_EPOCH` (reproducible-builds.org), or [`WRITTEN`] if that is later or
/// nobody does. No program runs before its sources were written.
pub const SOURCE_DATE: UnixSeconds = UnixSeconds(later(WRITTEN, option_env!("SOURCE_DATE_EPOCH")));

/// 2026-10-08T00:00:00Z: all of this was written later. To be raised with releases.
const WRITTEN: u64 = 1_791_417_600;

const fn later(written: u64, epoch: Option<&str>) -> u64 {
    let Some(epoch) = epoch else { return written };
    let mut digits = epoch.as_bytes();
    let mut seconds: u64 = 0;
    while let [digit, rest @ ..] = digits {
        assert!(digit.is_ascii_digit(), "SOURCE_DATE_EPOCH must be a number of seconds since 1970");
        seconds = seconds * 10 + (*digit - b'0') as u64;
        digits = rest;
    }
    if seconds > written { seconds } else { written }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_of_both_counts() {
        assert_eq!(UnixSeconds(WRITTEN).to_string(), "2026-10-08T00:00:00Z");
        assert_eq!(later(100, None), 100);
        assert_eq!(later(100, Some("99")), 100);
        assert_eq!(later(100, Some("1700000000")), 1_700_000_000);
        const { assert!(SOURCE_DATE.0 >= WRITTEN) };
    }
}
