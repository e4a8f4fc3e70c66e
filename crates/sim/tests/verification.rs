//! Quotes of a simulated platform in the verifier that real quotes go through.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::sync::Arc;

use adytum_evidence::{
    attester::Attester as _,
    clock::{FixedClock, UnixSeconds},
    collateral::PckCa,
    measurement::{Fmspc, MrSigner, ReportData, WorkloadIdentity},
};
use adytum_sim::{Faults, Platform, PlatformBuilder, PublishedTcbStatus, SimAttester};
use dcap_qvl::{
    QuoteClaims, QuotePolicy,
    quote::Report,
    verify::{QuoteVerifier, VerifiedReport},
};

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xa5; 32]);
const REPORT_DATA: ReportData = ReportData([0x5a; 64]);

fn builder() -> PlatformBuilder {
    Platform::builder().clock(Arc::new(FixedClock::new(NOW)))
}

async fn quote(attester: &SimAttester) -> Vec<u8> {
    attester.evidence(REPORT_DATA).await.unwrap().bytes
}

/// Verifies a quote with the platform's own root and collateral.
fn verify(platform: &Platform, quote: &[u8]) -> Result<VerifiedReport, String> {
    QuoteVerifier::new(platform.root_certificate_der().to_vec())
        .verify(quote, &platform.collateral(), NOW.0)
        .map_err(|error| format!("{error:#}"))
}

async fn verify_fresh(platform: &Arc<Platform>) -> Result<VerifiedReport, String> {
    verify(platform, &quote(&SimAttester::new(platform.clone(), IDENTITY)).await)
}

#[tokio::test]
async fn a_quote_says_what_it_was_told_and_is_accepted_under_its_root() {
    for ca in [PckCa::Processor, PckCa::Platform] {
        let platform = builder().pck_ca(ca).ephemeral().unwrap();
        let attester = SimAttester::new(platform.clone(), IDENTITY)
            .mr_signer(MrSigner([7; 32]))
            .isv_prod_id(3)
            .isv_svn(9)
            .config_svn(2);
        let verified = verify(&platform, &quote(&attester).await).unwrap();
        assert_eq!(verified.status, "UpToDate");
        assert_eq!(verified.advisory_ids, Vec::<String>::new());
        assert_eq!(hex::encode(&verified.ppid), platform.id());
        let Report::SgxEnclave(report) = verified.report else { panic!("no SGX report") };
        assert_eq!(report.mr_enclave, IDENTITY.0);
        assert_eq!(report.mr_signer, [7; 32]);
        assert_eq!((report.isv_prod_id, report.isv_svn), (3, 9));
        assert_eq!(report.reserved4[..2], 2u16.to_le_bytes());
        assert_eq!(report.report_data, REPORT_DATA.0);
    }
}

#[tokio::test]
async fn a_strict_policy_on_claims_is_met() {
    let platform = builder().ephemeral().unwrap();
    let quote = quote(&SimAttester::new(platform.clone(), IDENTITY)).await;
    let claims: QuoteClaims = QuoteVerifier::new(platform.root_certificate_der().to_vec())
        .verify_with_policy(&quote, platform.collateral().as_ref(), NOW.0, &QuotePolicy::strict(NOW.0))
        .unwrap();
    assert_eq!(claims.platform.pck.fmspc, platform.fmspc().0);
}

#[tokio::test]
async fn intels_root_and_another_simulated_root_refuse_it() {
    let platform = builder().ephemeral().unwrap();
    let other = builder().ephemeral().unwrap();
    let quote = quote(&SimAttester::new(platform.clone(), IDENTITY)).await;
    for verifier in [QuoteVerifier::new_prod(), QuoteVerifier::new(other.root_certificate_der().to_vec())] {
        for collateral in [platform.collateral(), other.collateral()] {
            assert!(verifier.verify(&quote, &collateral, NOW.0).is_err());
        }
    }
    // Nor does the other platform's collateral help under the right root.
    let verifier = QuoteVerifier::new(platform.root_certificate_der().to_vec());
    assert!(verifier.verify(&quote, &other.collateral(), NOW.0).is_err());
    assert!(verifier.verify(&quote, &platform.collateral(), NOW.0).is_ok());
}

#[tokio::test]
async fn every_signed_byte_counts() {
    let platform = builder().ephemeral().unwrap();
    let quote = quote(&SimAttester::new(platform.clone(), IDENTITY)).await;
    // Header, report, signature, attestation key, QE report and its signature,
    // authentication data; then certificates, of which PEM ignores some bytes.
    let certificates = 48 + 384 + 4 + 64 + 64 + 384 + 64 + 2 + 32 + 2 + 4;
    for position in (0..certificates).step_by(7).chain([48 + 64, 48 + 320]) {
        let mut changed = quote.clone();
        changed[position] ^= 1;
        assert!(verify(&platform, &changed).is_err(), "byte {position} does not count");
    }
}

#[tokio::test]
async fn faults_are_found_by_the_verifier() {
    let cases: [(PlatformBuilder, &str); 7] = [
        (builder().pck_revoked(), "CertRevoked"),
        (builder().pck_ca_revoked(), "CertRevoked"),
        (builder().tcb_status(PublishedTcbStatus::Revoked), "Revoked"),
        (builder().qe_status(PublishedTcbStatus::Revoked), "Revoked"),
        (builder().collateral_expired(), "Expired"),
        (builder().qe_status(PublishedTcbStatus::SWHardeningNeeded), "Unrecognized TCB status"),
        (
            builder().faults(Faults { pck_revoked: true, pck_ca_revoked: true, ..Faults::default() }),
            "CertRevoked",
        ),
    ];
    for (builder, expected) in cases {
        let error = verify_fresh(&builder.ephemeral().unwrap()).await.unwrap_err();
        assert!(error.contains(expected), "expected {expected}, got {error}");
    }
}

#[tokio::test]
async fn tcb_statuses_are_reported() {
    use PublishedTcbStatus::{
        ConfigurationAndSWHardeningNeeded, ConfigurationNeeded, OutOfDate, OutOfDateConfigurationNeeded,
        SWHardeningNeeded,
    };
    for status in [
        SWHardeningNeeded,
        ConfigurationNeeded,
        ConfigurationAndSWHardeningNeeded,
        OutOfDate,
        OutOfDateConfigurationNeeded,
    ] {
        let verified = verify_fresh(&builder().tcb_status(status).ephemeral().unwrap()).await.unwrap();
        assert_eq!(verified.status, format!("{status:?}"));
        assert_eq!(verified.advisory_ids, ["ADYTUM-SIMULATION-00001"]);
    }
    let verified = verify_fresh(&builder().qe_status(OutOfDate).ephemeral().unwrap()).await.unwrap();
    assert_eq!(verified.status, "OutOfDate");
}

#[tokio::test]
async fn a_platform_can_be_revoked_later() {
    let platform = builder().ephemeral().unwrap();
    verify_fresh(&platform).await.unwrap();
    platform.set_faults(Faults { pck_revoked: true, ..Faults::default() }).unwrap();
    assert!(verify_fresh(&platform).await.unwrap_err().contains("CertRevoked"));
    platform.set_faults(Faults::default()).unwrap();
    verify_fresh(&platform).await.unwrap();
}

#[tokio::test]
async fn a_debug_program_is_refused_unless_allowed() {
    let platform = builder().ephemeral().unwrap();
    let quote = quote(&SimAttester::new(platform.clone(), IDENTITY).debug(true)).await;
    assert!(verify(&platform, &quote).unwrap_err().contains("Debug mode"));
    QuoteVerifier::new(platform.root_certificate_der().to_vec())
        .allow_debug(true)
        .verify(&quote, &platform.collateral(), NOW.0)
        .unwrap();
}

#[tokio::test]
async fn another_family_needs_its_own_collateral() {
    let family = Fmspc([0, 0x90, 0x6e, 0xd5, 0, 0]);
    let platform = builder().fmspc(family).ephemeral().unwrap();
    assert_eq!(platform.fmspc(), family);
    verify_fresh(&platform).await.unwrap();
}

#[tokio::test]
async fn collateral_is_renewed_before_it_expires() {
    let clock = Arc::new(FixedClock::new(NOW));
    let platform = Platform::builder().clock(clock.clone()).ephemeral().unwrap();
    let quote = quote(&SimAttester::new(platform.clone(), IDENTITY)).await;
    let verifier = QuoteVerifier::new(platform.root_certificate_der().to_vec());
    let first = platform.collateral();

    let day = 24 * 60 * 60;
    clock.set(UnixSeconds(NOW.0 + 19 * day));
    assert_eq!(platform.collateral(), first, "renewed too early");
    clock.set(UnixSeconds(NOW.0 + 21 * day));
    let second = platform.collateral();
    assert_ne!(second, first, "not renewed");

    let late = NOW.0 + 40 * day;
    assert!(verifier.verify(&quote, &first, late).is_err());
    verifier.verify(&quote, &second, late).unwrap();

    // A clock that was ahead and is put right.
    clock.set(NOW);
    verifier.verify(&quote, &platform.collateral(), NOW.0).unwrap();
}
