//! Requests of the KBS protocol: what a client attests, with its key and its evidence.

#![no_main]

use adytum_broker::kbs::{
    evidence::evidence,
    jwe,
    key::TeePublicKey,
    message::{AttestRequest, AuthRequest, HashAlgorithm},
};
use adytum_evidence::{claims::TeeKind, evidence::MAXIMUM_EVIDENCE_LENGTH};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = AuthRequest::parse(body) {
        assert!(request.chosen.is_none_or(|chosen| chosen == request.algorithm()));
    }
    let Ok(request) = AttestRequest::parse(body) else { return };
    for algorithm in HashAlgorithm::ALL {
        assert_ne!(request.report_data(algorithm).0, [0; 64]);
    }
    for tee in [TeeKind::Sgx, TeeKind::Tdx, TeeKind::Snp] {
        if let Ok(evidence) = evidence(tee, &request.evidence) {
            assert!(evidence.bytes.len() + evidence.endorsements.len() <= MAXIMUM_EVIDENCE_LENGTH);
        }
    }
    // A point that is not on its curve, or a modulus that is none, is refused.
    if let TeePublicKey::Ec { .. } = request.key {
        let _ = jwe::encrypt(&request.key, b"secret");
    }
});
