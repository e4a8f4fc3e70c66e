//! Sealed secrets of Confidential Containers: their pointers are read or refused.

#![no_main]

use adytum_init::sealed_pointer::{is_sealed, read};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if read(text, None).is_ok() {
        assert!(is_sealed(text.trim_ascii_end().as_bytes()));
    }
});
