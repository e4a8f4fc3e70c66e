//! Manifests: an accepted one, printed from its document, is accepted and means
//! the same.

#![no_main]

use adytum_governance::manifest::{Manifest, document::Document};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(manifest) = Manifest::parse(text) else { return };
    let document: Document = toml::from_str(text).expect("it was read as one");
    let printed = document.to_toml().expect("a document prints");
    let again = Manifest::parse(&printed).expect("what is printed is read");
    assert_eq!(format!("{again:?}"), format!("{manifest:?}"));
    // Every name that is used is defined.
    for workload in manifest.workloads.values() {
        assert!(workload.models.iter().all(|model| manifest.models.contains_key(model)));
    }
    for secret in manifest.secrets.values() {
        assert!(!secret.workloads.is_empty());
        assert!(secret.workloads.iter().all(|workload| manifest.workloads.contains_key(workload)));
    }
});
