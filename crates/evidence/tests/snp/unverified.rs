//! What evidence says before it is verified is what it says afterwards.

use adytum_evidence::{
    measurement::{HostData, ReportData, SnpMeasurement, WorkloadIdentity},
    snp::{Endorser, SnpProduct},
    unverified,
};
use adytum_sim::{
    Platform, Program,
    snp::{SnpGuest, SnpPlatform},
};

#[test]
fn a_report_and_a_quote_say_what_was_measured() {
    let platform = SnpPlatform::ephemeral(SnpProduct::Turin, Endorser::Vlek).unwrap();
    let guest = SnpGuest::new(SnpMeasurement([7; 48]), HostData([8; 32]));
    let evidence = platform.evidence(&guest, ReportData([9; 64])).unwrap();
    let said = unverified::says(&evidence).unwrap();
    for (name, value) in [
        ("measurement", "07".repeat(48)),
        ("host_data", "08".repeat(32)),
        ("vmpl", "0".to_owned()),
        ("debug", "false".to_owned()),
        ("signing_key", "VLEK".to_owned()),
        ("chip_id", hex::encode(platform.chip_id())),
        ("report_data", "09".repeat(64)),
    ] {
        assert!(said.contains(&(name, value)), "no {name} in {said:?}");
    }
    let quoting = Platform::ephemeral().unwrap();
    let program = Program::of(WorkloadIdentity([5; 32]));
    let quote = quoting.quote(&program, ReportData([6; 64])).unwrap();
    let said = unverified::says(&adytum_evidence::evidence::Evidence::dcap_quote(quote)).unwrap();
    for (name, value) in [("mr_enclave", "05".repeat(32)), ("report_data", "06".repeat(64))] {
        assert!(said.contains(&(name, value)), "no {name} in {said:?}");
    }
}
