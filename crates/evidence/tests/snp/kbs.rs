//! A report that Confidential Containers' attestation agent sent from hardware.

use std::sync::Arc;

use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    evidence::EvidenceFormat,
    kbs_evidence,
    verifier::{TrustRoot, Verifier},
};
use adytum_testkit::{recorded::vector, tee::Nothing};

/// The fields become the bytes that the firmware signed: the verifier asks for AMD's
/// certificates of just that kind of key.
#[tokio::test]
async fn a_recorded_report_in_json_is_read_as_its_bytes() {
    let Some(json) = vector("snp/coco_e2e_snp_evidence.json") else { return };
    let evidence = kbs_evidence::read(&serde_json::from_slice(&json).unwrap()).unwrap();
    assert_eq!(evidence.format, EvidenceFormat::SnpReport);
    let clock = Arc::new(FixedClock::new(UnixSeconds(1_760_000_000)));
    let verifier = Verifier::new(TrustRoot::amd().collect(), Arc::new(Nothing), clock);
    let error = verifier.verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "collateral-missing", "{error}");
    let report = adytum_evidence::snp::parse_report(&evidence.bytes).unwrap();
    assert_eq!(report.report_data.0[..2], [126, 115]);
    assert_eq!((report.version, report.vmpl), (3, 0));
}
