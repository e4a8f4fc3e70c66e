//! Certificate requests, as the broker reads them from a replica.

#![no_main]

use adytum_broker::certificate_authority::{MAXIMUM_REQUEST_LENGTH, RequestedKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|der: &[u8]| match RequestedKey::parse(der) {
    Ok(_) => assert!(der.len() <= MAXIMUM_REQUEST_LENGTH),
    Err(error) => assert!(!error.code().is_empty()),
});
