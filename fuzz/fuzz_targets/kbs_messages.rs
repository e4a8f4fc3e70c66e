//! Requests of the KBS protocol: what a client attests, with its key. Evidence has a target of its own.

#![no_main]

use adytum_broker::kbs::{
    jwe,
    key::TeePublicKey,
    message::{AttestRequest, AuthRequest, HashAlgorithm},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(request) = AuthRequest::parse(body) {
        assert!(request.chosen.is_none_or(|chosen| chosen == request.algorithm()));
    }
    let Ok(request) = AttestRequest::parse(body) else { return };
    for algorithm in HashAlgorithm::ALL {
        assert_ne!(request.report_data(algorithm).0, [0; 64]);
    }
    // A point that is not on its curve, or a modulus that is none, is refused.
    if let TeePublicKey::Ec { .. } = request.key {
        let _ = jwe::encrypt(&request.key, b"secret");
    }
});
