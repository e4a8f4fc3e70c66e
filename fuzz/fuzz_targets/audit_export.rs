//! Exports of the audit log.

#![no_main]

use adytum_governance::audit::{
    export::Header,
    verify::{ExpectedLog, verify},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    if let Ok(text) = std::str::from_utf8(header)
        && let Ok(header) = Header::parse(text)
    {
        assert_eq!(header.line(), text);
    }
    if let Ok(verified) = verify(bytes, &ExpectedLog::default()) {
        assert!(verified.first <= verified.size);
    }
});
