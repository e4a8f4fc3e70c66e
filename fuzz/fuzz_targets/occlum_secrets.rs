//! Occlum's secrets file, as the broker reads it.

#![no_main]

use adytum_governance::occlum::{Accepted, OcclumConfiguration};
use base64::{Engine, engine::general_purpose::STANDARD};
use libfuzzer_sys::fuzz_target;

const CONFIGURATION: &str = r#"{
    "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off", "verify_isv_svn": "off",
    "sgx_mrs": [{
        "mr_enclave": "0101010101010101010101010101010101010101010101010101010101010101", "debuggable": false
    }]
}"#;

fuzz_target!(|text: &str| {
    let parse =
        |text: &str| OcclumConfiguration::parse(CONFIGURATION, text, &Accepted::default(), Vec::new());
    let Ok(occlum) = parse(text) else { return };
    let printed: serde_json::Map<String, serde_json::Value> = occlum
        .secrets
        .iter()
        .map(|(name, secret)| {
            let value = secret.value.as_ref().expect("a secret that was read has a value");
            assert!(!value.expose().is_empty());
            (name.to_string(), STANDARD.encode(value.expose()).into())
        })
        .collect();
    let again = parse(&serde_json::Value::from(printed).to_string()).expect("what is printed is read");
    assert_eq!(again.secrets, occlum.secrets);
});
