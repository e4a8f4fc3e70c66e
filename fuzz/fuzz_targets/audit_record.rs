//! Records of the audit log: an accepted one has one encoding.

#![no_main]

use adytum_governance::audit::{export, record};
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Some(decoded) = record::decode(bytes) else { return };
    assert_eq!(decoded.encode_to_vec(), bytes);
    let line = export::line(1, None, bytes).expect("a record has a line");
    assert!(!line.contains('\n'));
    serde_json::from_str::<serde_json::Value>(&line).expect("a line is JSON");
});
