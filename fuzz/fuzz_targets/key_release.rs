//! Released keys of Azure Key Vault: none is read whose algorithm is not RSA's.

#![no_main]

use adytum_sources::azure::read_release;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if read_release(text).is_ok() {
        assert_eq!(text.split('.').count(), 3);
    }
});
