//! Times in collateral, and days in policies.

#![no_main]

use adytum_evidence::clock::{Day, UnixSeconds};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Some(time) = UnixSeconds::parse_rfc3339(text) {
        // The end of the year 9999.
        assert!(time.0 < 253_402_300_800);
    }
    if let Ok(day) = text.parse::<Day>() {
        assert_eq!(day.to_string(), text);
        assert!(day.end().0 <= 253_402_300_800);
    }
});
