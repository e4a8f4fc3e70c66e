//! SEV-SNP evidence and collateral, whole: none of it is AMD's, so none of it verifies.

#![no_main]

use std::sync::Arc;

use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    collateral::{DirectorySource, SnpCollateral},
    evidence::Evidence,
    snp::{Endorser, certificate_table},
    verifier::{TrustRoot, Verifier},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|parts: (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>)| {
    let (certificate, issuer, root, crl) = parts;
    let mut report = vec![0; adytum_evidence::snp::REPORT_LENGTH];
    (report[0], report[0x34]) = (2, 1);
    let evidence = Evidence::snp_report(report, certificate_table(Endorser::Vcek, &certificate));
    let verifier = Verifier::new(
        TrustRoot::amd().collect(),
        Arc::new(DirectorySource::new("/nonexistent")),
        Arc::new(FixedClock::new(UnixSeconds(1_735_689_600))),
    );
    assert!(verifier.verify_with(&evidence, &SnpCollateral { issuer, root, crl }).is_err());
});
