//! Occlum's RA verify configuration, as the broker reads it: without a weakness
//! accepted by name, every entry pins code and refuses debug enclaves.

#![no_main]

use adytum_governance::occlum::{Accepted, OcclumConfiguration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(occlum) = OcclumConfiguration::parse(text, "{}", &Accepted::default(), Vec::new()) else { return };
    assert!(!occlum.workloads.is_empty());
    for entry in occlum.workloads.values() {
        assert!(entry.mr_enclave.is_some());
        assert_eq!(entry.debuggable, Some(false));
    }
    let again = OcclumConfiguration::parse(text, "{}", &Accepted::default(), Vec::new()).expect("as before");
    assert_eq!(again.digest(), occlum.digest());
});
