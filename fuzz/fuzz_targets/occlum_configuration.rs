//! Occlum's init_ra_conf.json as a measured configuration: it always pins the
//! broker's code and never accepts a debug enclave.

#![no_main]

use adytum_init::configuration::MeasuredConfiguration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(configuration) = MeasuredConfiguration::parse_occlum(text) else { return };
    assert!(!configuration.broker().policies.is_empty());
    for policy in &configuration.broker().policies {
        assert!(!policy.mr_enclave.is_empty());
        assert!(!policy.allow_debug);
        assert!(!policy.allow_any_program);
    }
    serde_json::from_slice::<serde_json::Value>(&configuration.canonical()).expect("JSON");
});
