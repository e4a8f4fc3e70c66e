//! SEV-SNP reports, and the certificate tables that come after them.

#![no_main]

use adytum_evidence::{
    evidence::Evidence,
    snp::{CertificateTable, Endorser, SnpProduct, parse_report},
    unverified,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let evidence = Evidence::from_file(bytes.to_vec());
    assert_eq!(evidence.to_file(), bytes);
    let _ = unverified::says(&evidence);
    if let Ok(report) = parse_report(&evidence.bytes) {
        for product in SnpProduct::ALL {
            let tcb = report.tcb(product);
            assert!(tcb.reaches(&tcb));
        }
    }
    if let Ok(table) = CertificateTable::parse(&evidence.endorsements) {
        for endorser in [Endorser::Vcek, Endorser::Vlek] {
            if let Some(certificate) = table.endorser(endorser) {
                assert!(certificate.len() <= evidence.endorsements.len());
            }
        }
    }
});
