//! Evidence in the JSON of Confidential Containers' KBS protocol.

#![no_main]

use adytum_evidence::{
    evidence::MAXIMUM_EVIDENCE_LENGTH, kbs_evidence, unverified, verifier::collateral_request,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(json) = serde_json::from_slice(bytes) else { return };
    if let Ok(evidence) = kbs_evidence::read(&json) {
        assert!(evidence.bytes.len() + evidence.endorsements.len() <= MAXIMUM_EVIDENCE_LENGTH);
        let _ = (collateral_request(&evidence), unverified::says(&evidence));
        // What is written is read as the same.
        if let Ok((_, written)) = kbs_evidence::write(&evidence) {
            assert_eq!(kbs_evidence::read(&written).map(|read| read.bytes), Ok(evidence.bytes));
        }
    }
});
