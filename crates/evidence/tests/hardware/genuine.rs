//! Genuine evidence becomes the right claims, or is refused for what it is.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::{Measured, TcbStatus, TeeKind},
    evidence::{Evidence, EvidenceFormat},
    trust::Vendor,
    verifier::{TrustRoot, VerificationError, Verifier, parse_dcap},
};

use crate::samples::{Sample, vector};

#[test]
fn sgx_quote_becomes_claims() {
    let sample = Sample::sgx();
    let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
    assert_eq!(claims.vendor, Vendor::Intel);
    assert_eq!(claims.root_key_id, TrustRoot::intel().root_key_id());
    assert_eq!(claims.tee(), TeeKind::Sgx);
    assert!(!claims.debug);
    assert_eq!(claims.tcb_status, TcbStatus::ConfigurationAndSWHardeningNeeded);
    assert_eq!(
        claims.advisory_ids,
        BTreeSet::from(["INTEL-SA-00289".to_owned(), "INTEL-SA-00615".to_owned()])
    );
    assert_eq!(claims.platform.fmspc.unwrap().to_string(), "00a067110000");
    assert_eq!(claims.platform.id.len(), 32);
    assert!(claims.report_data.0.starts_with(b"Hello, world!"));
    println!("{claims:#?}");
}

#[test]
fn tdx_quotes_become_claims() {
    for sample in [Sample::tdx_v4(), Sample::tdx_v5()] {
        let claims = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap();
        assert_eq!(claims.tee(), TeeKind::Tdx);
        println!("{claims:#?}");
    }
}

#[test]
fn a_platform_older_than_every_level_is_named_so() {
    let sample = Sample::tdx_v5_outdated();
    let error = sample.verifier().verify_with(&sample.evidence(), &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "tcb-not-matched", "{error}");
    assert!(error.to_string().contains("No matching TCB level"), "{error}");
    assert!(!error.retry());
}
