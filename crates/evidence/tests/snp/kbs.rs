//! A report that Confidential Containers' attestation agent sent from hardware.

use std::sync::Arc;

use adytum_evidence::{
    claims::TeeKind,
    clock::{FixedClock, UnixSeconds},
    evidence::{Evidence, EvidenceFormat},
    kbs_evidence,
    measurement::{HostData, ReportData, SnpMeasurement},
    snp::{Endorser, SnpProduct},
    verifier::{TrustRoot, Verifier},
};
use adytum_sim::snp::{SnpGuest, SnpPlatform};
use adytum_testkit::{recorded::vector, tee::Nothing};
use serde_json::Value;

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
    // Written again, it is the same.
    let (tee, written) = kbs_evidence::write(&evidence).unwrap();
    let recorded: Value = serde_json::from_slice(&json).unwrap();
    assert_eq!(tee, TeeKind::Snp);
    for (name, value) in recorded["attestation_report"].as_object().unwrap() {
        assert_eq!(&written["attestation_report"][name], value, "{name}");
    }
    assert_eq!(written["cert_chain"], recorded["cert_chain"]);
    let report = adytum_evidence::snp::parse_report(&evidence.bytes).unwrap();
    assert_eq!(report.report_data.0[..2], [126, 115]);
    assert_eq!((report.version, report.vmpl), (3, 0));
}

/// Reports of each processor and version are read as they were written.
#[test]
fn a_report_is_read_as_it_was_written() {
    for product in [SnpProduct::Milan, SnpProduct::Genoa, SnpProduct::Turin] {
        for endorser in [Endorser::Vcek, Endorser::Vlek] {
            let platform = SnpPlatform::ephemeral(product, endorser).unwrap();
            for version in [2, 3, 5] {
                // Older reports do not tell the processor, and those of Turin are not so old.
                if (version, product) == (2, SnpProduct::Turin) {
                    continue;
                }
                let guest = SnpGuest { version, ..SnpGuest::new(SnpMeasurement([7; 48]), HostData([8; 32])) };
                let evidence = platform.evidence(&guest, ReportData([9; 64])).unwrap();
                let (_, json) = kbs_evidence::write(&evidence).unwrap();
                assert_eq!(kbs_evidence::read(&json).unwrap(), evidence, "{product:?} {version}");
                // A byte that the form has no place for.
                let mut odd = evidence.clone();
                odd.bytes[0x4c] = 1;
                assert_eq!(kbs_evidence::write(&odd).unwrap_err().code(), "kbs-evidence-malformed");
            }
        }
    }
    let token = Evidence::azure_token("eyJhbGciOiJSUzI1NiJ9.e30.AAAA");
    assert_eq!(kbs_evidence::write(&token).unwrap_err().code(), "kbs-evidence-malformed");
}
