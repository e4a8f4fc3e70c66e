//! Occlum's init_ra_conf.json as a measured configuration, of its own protocol and of its AECS
//! client: it pins the server's code unless it says otherwise by name, and never accepts a
//! debug enclave.

#![no_main]

use adytum_init::configuration::MeasuredConfiguration;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(configuration) = MeasuredConfiguration::parse_occlum(text) else { return };
    let source = configuration.source();
    if source.policies().is_empty() {
        assert!(text.contains("allow_unverified_aecs"));
    }
    for policy in source.policies() {
        assert!(!policy.allow_debug);
        if policy.mr_enclave.is_empty() {
            assert!(text.contains("allow_any_program") && !policy.mr_signer.is_empty());
        }
    }
    serde_json::from_slice::<serde_json::Value>(&configuration.canonical()).expect("JSON");
});
