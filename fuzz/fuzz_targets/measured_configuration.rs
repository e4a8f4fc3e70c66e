//! A workload's measured configuration (TOML).

#![no_main]

use adytum_init::configuration::{FORMAT, MAXIMUM_SECRETS, MeasuredConfiguration};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(configuration) = MeasuredConfiguration::parse(text) else { return };
    assert!(!configuration.source().policies().is_empty() || text.contains("allow_unverified_aecs"));
    assert!(configuration.secrets().len() <= MAXIMUM_SECRETS);
    let canonical = configuration.canonical();
    let value: serde_json::Value = serde_json::from_slice(&canonical).expect("the canonical form is JSON");
    assert_eq!(value["format"], FORMAT);
    // White space and comments mean nothing.
    let commented = format!("# another text\n\n{text}\n");
    let again = MeasuredConfiguration::parse(&commented).expect("it means the same");
    assert_eq!(again.canonical(), canonical);
});
