//! Reports that do not hold are refused, each for its reason.

use std::sync::Arc;

use adytum_evidence::{
    clock::{Clock, SystemClock, UnixSeconds},
    collateral::SnpCollateral,
    evidence::{Evidence, EvidenceFormat},
    snp::{Endorser, SnpProduct, certificate_table},
    verifier::TrustRoot,
};
use adytum_sim::snp::{SnpFaults, SnpGuest, SnpPlatform};

use crate::fixture::{REPORT_DATA, evidence, faulty, guest, milan, trusting, verifier};

const DAY: u64 = 24 * 60 * 60;

async fn code(platform: &Arc<SnpPlatform>, evidence: &Evidence) -> (&'static str, String) {
    let error = verifier(platform).verify(evidence).await.unwrap_err();
    (error.code(), error.to_string())
}

#[tokio::test]
async fn a_report_that_was_changed_anywhere_is_refused() {
    let platform = milan();
    let verifier = verifier(&platform);
    let genuine = evidence(&platform);
    for at in 0..genuine.bytes.len() {
        let mut changed = genuine.clone();
        changed.bytes[at] ^= 1;
        assert!(verifier.verify(&changed).await.is_err(), "byte {at:#x} means nothing");
    }
}

#[tokio::test]
async fn a_certificate_that_was_changed_anywhere_is_refused() {
    let platform = milan();
    let verifier = verifier(&platform);
    for at in 0..platform.endorsement().len() {
        let mut certificate = platform.endorsement().to_vec();
        certificate[at] ^= 1;
        let changed =
            Evidence::snp_report(evidence(&platform).bytes, certificate_table(Endorser::Vcek, &certificate));
        assert!(verifier.verify(&changed).await.is_err(), "byte {at} means nothing");
    }
}

/// The owner of one chip must not speak for another, or for other firmware.
#[tokio::test]
async fn a_key_speaks_for_its_own_chip_and_firmware_only() {
    for faults in [
        SnpFaults { certified_chip: Some([7; 64]), ..SnpFaults::default() },
        // The firmware that the report is of is newer than the key's.
        SnpFaults { certified_tcb: Some([2, 0, 8, 0, 0, 0, 8, 210]), ..SnpFaults::default() },
        SnpFaults { certified_tcb: Some([3, 0, 8, 0, 0, 0, 8, 10]), ..SnpFaults::default() },
    ] {
        let platform = faulty(faults.clone());
        let (code, text) = code(&platform, &evidence(&platform)).await;
        assert_eq!(code, "evidence-invalid", "{faults:?}: {text}");
        assert!(text.contains("and the report is of"), "{text}");
    }
}

#[tokio::test]
async fn another_chips_report_with_this_chips_certificate_is_refused() {
    let (platform, other) = (milan(), milan());
    let stolen = Evidence::snp_report(evidence(&other).bytes, evidence(&platform).endorsements);
    let (code, text) = code(&platform, &stolen).await;
    assert_eq!(code, "evidence-invalid", "{text}");
    assert!(text.contains("not signed by the VCEK"), "{text}");
}

#[tokio::test]
async fn dates_count() {
    let now = SystemClock.now().0;
    let (past, future) = (
        Some((UnixSeconds(now - 9 * DAY), UnixSeconds(now - DAY))),
        Some((UnixSeconds(now + DAY), UnixSeconds(now + 9 * DAY))),
    );
    for (faults, expected) in [
        (SnpFaults { endorsement_validity: past, ..SnpFaults::default() }, "evidence-outside-validity"),
        (SnpFaults { endorsement_validity: future, ..SnpFaults::default() }, "evidence-outside-validity"),
        (SnpFaults { crl_validity: past, ..SnpFaults::default() }, "collateral-expired"),
        (SnpFaults { crl_validity: future, ..SnpFaults::default() }, "collateral-not-yet-valid"),
    ] {
        let platform = faulty(faults);
        assert_eq!(code(&platform, &evidence(&platform)).await.0, expected);
    }
}

#[tokio::test]
async fn what_amd_revokes_is_refused() {
    let platform = faulty(SnpFaults { issuer_revoked: true, ..SnpFaults::default() });
    let (code, text) = code(&platform, &evidence(&platform)).await;
    assert_eq!(code, "platform-revoked", "{text}");
}

#[tokio::test]
async fn collateral_that_does_not_hang_together_is_refused() {
    for faults in [
        SnpFaults { crl_of_issuer: true, ..SnpFaults::default() },
        SnpFaults { issuer_is_no_ca: true, ..SnpFaults::default() },
        SnpFaults { issuer_of_other_root: true, ..SnpFaults::default() },
    ] {
        let platform = faulty(faults.clone());
        let (code, text) = code(&platform, &evidence(&platform)).await;
        let expected = if faults.issuer_is_no_ca { "evidence-invalid" } else { "collateral-invalid" };
        assert_eq!(code, expected, "{faults:?}: {text}");
    }
}

#[tokio::test]
async fn collateral_that_was_changed_anywhere_is_refused() {
    let platform = milan();
    let (verifier, evidence) = (verifier(&platform), evidence(&platform));
    let genuine = platform.published();
    let parts: [fn(&mut SnpCollateral) -> &mut Vec<u8>; 3] = [
        |collateral| &mut collateral.issuer,
        |collateral| &mut collateral.root,
        |collateral| &mut collateral.crl,
    ];
    for part in parts {
        for at in 0..part(&mut (*genuine).clone()).len() {
            let mut changed = (*genuine).clone();
            part(&mut changed)[at] ^= 1;
            assert!(verifier.verify_with(&evidence, &changed).is_err(), "byte {at} means nothing");
        }
    }
}

#[tokio::test]
async fn a_root_that_nobody_named_is_refused() {
    let (platform, other) = (milan(), milan());
    let evidence = evidence(&platform);
    // AMD's: the root must have AMD's key, whatever its name.
    let error = trusting(TrustRoot::amd().collect(), &platform).verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "untrusted-root", "{error}");
    assert!(error.to_string().contains("simulated platform"), "{error}");
    let error = trusting(vec![other.trust_root().unwrap()], &platform).verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "untrusted-root", "{error}");
    // Who trusts Intel alone asks for nothing of AMD's.
    let error = trusting(vec![TrustRoot::intel()], &platform).verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "untrusted-root", "{error}");
    assert!(error.to_string().contains("AMD's root of Milan processors"), "{error}");
    let error = trusting(Vec::new(), &platform).verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "nothing-trusted-yet", "{error}");
}

/// A VLEK is a cloud provider's, and a VCEK's certificate says more.
#[tokio::test]
async fn one_kind_of_key_does_not_pass_for_the_other() {
    let platform = milan();
    let vlek = SnpPlatform::ephemeral(SnpProduct::Milan, Endorser::Vlek).unwrap();
    let genoa = SnpPlatform::ephemeral(SnpProduct::Genoa, Endorser::Vcek).unwrap();
    let report = evidence(&platform).bytes;
    for (table, expected) in [
        (certificate_table(Endorser::Vlek, vlek.endorsement()), "evidence-malformed"),
        (certificate_table(Endorser::Vcek, vlek.endorsement()), "evidence-invalid"),
        (certificate_table(Endorser::Vcek, genoa.endorsement()), "evidence-invalid"),
        (Vec::new(), "evidence-malformed"),
        (vec![1; 24], "evidence-malformed"),
        (certificate_table(Endorser::Vcek, b"no certificate"), "evidence-malformed"),
        // The root's own certificate.
        (certificate_table(Endorser::Vcek, &platform.published().root), "evidence-unsupported"),
    ] {
        let (code, text) = code(&platform, &Evidence::snp_report(report.clone(), table)).await;
        assert_eq!(code, expected, "{text}");
    }
}

#[tokio::test]
async fn a_guest_that_an_agent_may_copy_is_refused() {
    let platform = milan();
    let guest = SnpGuest { policy: guest().policy | 1 << 18, ..guest() };
    let (code, text) = code(&platform, &platform.evidence(&guest, REPORT_DATA).unwrap()).await;
    assert_eq!(code, "configuration-unsafe", "{text}");
}

#[tokio::test]
async fn a_report_is_no_quote_and_a_quote_no_report() {
    let platform = milan();
    let report = evidence(&platform);
    let as_quote = Evidence { format: EvidenceFormat::DcapQuote, endorsements: Vec::new(), ..report.clone() };
    assert_eq!(code(&platform, &as_quote).await.0, "evidence-unsupported");
    let quote = [&[3, 0, 2, 0][..], &[0; 5000]].concat();
    let as_report = Evidence::snp_report(quote, report.endorsements);
    assert_eq!(code(&platform, &as_report).await.0, "evidence-malformed");
}
