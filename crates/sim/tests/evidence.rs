//! Simulated platforms in the project's own verifier and policy, with collateral
//! from memory, from the directory and from the PCCS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::Attester as _,
    claims::{Claims, Measured, TcbStatus},
    clock::{FixedClock, UnixSeconds},
    collateral::{CollateralSource, DirectorySource, PccsSource, PckCa},
    measurement::{Fmspc, MrSigner, ReportData, WorkloadIdentity},
    trust::Vendor,
    verifier::{TrustRoot, VerificationError, Verifier},
};
use adytum_sim::{Faults, Platform, PlatformBuilder, PublishedTcbStatus, SimAttester, service};
use tokio::net::TcpListener;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xa5; 32]);
const REPORT_DATA: ReportData = ReportData([0x5a; 64]);

fn builder() -> PlatformBuilder {
    Platform::builder().clock(Arc::new(FixedClock::new(NOW)))
}

fn verifier(roots: Vec<TrustRoot>, collateral: impl CollateralSource + 'static) -> Verifier {
    Verifier::new(roots, Arc::new(collateral), Arc::new(FixedClock::new(NOW)))
}

async fn verify_with(platform: &Arc<Platform>, verifier: &Verifier) -> Result<Claims, VerificationError> {
    let attester = SimAttester::new(platform.clone(), IDENTITY);
    verifier.verify(&attester.evidence(REPORT_DATA).await.unwrap()).await
}

async fn verify(platform: &Arc<Platform>) -> Result<Claims, VerificationError> {
    let verifier = verifier(vec![platform.trust_root().unwrap()], platform.collateral_source());
    verify_with(platform, &verifier).await
}

#[tokio::test]
async fn claims_say_what_the_platform_was_told_and_that_it_is_simulated() {
    for ca in [PckCa::Processor, PckCa::Platform] {
        let platform = builder().pck_ca(ca).fmspc(Fmspc([0, 0x90, 0x6e, 0xd5, 0, 0])).ephemeral().unwrap();
        let attester = SimAttester::new(platform.clone(), IDENTITY)
            .mr_signer(MrSigner([7; 32]))
            .isv_prod_id(3)
            .isv_svn(9)
            .config_svn(2);
        let claims = verifier(vec![platform.trust_root().unwrap()], platform.collateral_source())
            .verify(&attester.evidence(REPORT_DATA).await.unwrap())
            .await
            .unwrap();
        assert_eq!(claims.vendor, Vendor::Simulation);
        assert_eq!(claims.tcb_status, Some(TcbStatus::UpToDate));
        assert_eq!(claims.platform.id, platform.id());
        assert_eq!(claims.platform.fmspc, Some(platform.fmspc()));
        assert_eq!(claims.report_data, REPORT_DATA);
        assert!(!claims.debug && claims.carries(IDENTITY));
        let Measured::Sgx { mr_signer, isv_prod_id, isv_svn, config_svn, .. } = claims.measured else {
            panic!("not SGX: {claims:?}");
        };
        assert_eq!((mr_signer, isv_prod_id, isv_svn, config_svn), (MrSigner([7; 32]), 3, 9, 2));
    }
}

#[tokio::test]
async fn only_the_root_that_was_asked_for_by_name_is_trusted() {
    let platform = builder().ephemeral().unwrap();
    let other = builder().ephemeral().unwrap();
    let intel = TrustRoot::intel();
    let nobody = verify_with(&platform, &verifier(vec![], platform.collateral_source())).await.unwrap_err();
    assert_eq!(nobody.code(), "nothing-trusted-yet", "{nobody}");
    for roots in [vec![intel.clone()], vec![other.trust_root().unwrap()]] {
        let error = verify_with(&platform, &verifier(roots, platform.collateral_source())).await.unwrap_err();
        assert_eq!(error.code(), "untrusted-root", "{error}");
        assert!(error.to_string().contains("simulated platform"), "{error}");
    }
    let both = verifier(vec![intel, platform.trust_root().unwrap()], platform.collateral_source());
    verify_with(&platform, &both).await.unwrap();
}

#[tokio::test]
async fn every_fault_has_its_code() {
    let faults = |faults| builder().faults(faults).ephemeral().unwrap();
    let sound = Faults::default();
    for (platform, code) in [
        (faults(Faults { pck_revoked: true, ..sound }), "platform-revoked"),
        (faults(Faults { pck_ca_revoked: true, ..sound }), "platform-revoked"),
        (faults(Faults { tcb_status: PublishedTcbStatus::Revoked, ..sound }), "tcb-revoked"),
        (faults(Faults { qe_status: PublishedTcbStatus::Revoked, ..sound }), "tcb-revoked"),
        (faults(Faults { collateral_expired: true, ..sound }), "collateral-expired"),
    ] {
        let error = verify(&platform).await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let outdated = faults(Faults { tcb_status: PublishedTcbStatus::OutOfDate, ..sound });
    let claims = verify(&outdated).await.unwrap();
    assert_eq!(claims.tcb_status, Some(TcbStatus::OutOfDate));
    assert_eq!(claims.advisory_ids, BTreeSet::from(["ADYTUM-SIMULATION-00001".to_owned()]));
}

#[tokio::test]
async fn debug_is_claimed() {
    let platform = builder().ephemeral().unwrap();
    let verifier = verifier(vec![platform.trust_root().unwrap()], platform.collateral_source());
    let attester = SimAttester::new(platform, IDENTITY).debug(true);
    assert!(verifier.verify(&attester.evidence(REPORT_DATA).await.unwrap()).await.unwrap().debug);
}

#[tokio::test]
async fn a_platform_of_another_family_finds_no_collateral() {
    let known = builder().ephemeral().unwrap();
    let unknown = builder().fmspc(Fmspc([9; 6])).ephemeral().unwrap();
    let roots = || vec![known.trust_root().unwrap(), unknown.trust_root().unwrap()];
    let error = verify_with(&unknown, &verifier(roots(), known.collateral_source())).await.unwrap_err();
    assert_eq!(error.code(), "collateral-missing", "{error}");
    let both = known.collateral_source().and(unknown.clone());
    verify_with(&unknown, &verifier(roots(), both)).await.unwrap();
}

#[tokio::test]
async fn collateral_in_the_directory_is_what_a_directory_source_reads() {
    for ca in [PckCa::Processor, PckCa::Platform] {
        let directory = tempfile::tempdir().unwrap();
        let platform = builder().pck_ca(ca).create(directory.path().join("platform")).unwrap();
        let source = DirectorySource::new(platform.collateral_path().unwrap());
        let root = std::fs::read_to_string(platform.root_certificate_path().unwrap()).unwrap();
        let root = TrustRoot::simulation(pem::parse(root).unwrap().contents()).unwrap();
        verify_with(&platform, &verifier(vec![root], source)).await.unwrap();
    }
}

#[tokio::test]
async fn the_pccs_is_what_a_pccs_source_reads() {
    for ca in [PckCa::Processor, PckCa::Platform] {
        let platform = builder().pck_ca(ca).ephemeral().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server =
            tokio::spawn(service::serve(listener, platform.clone(), Duration::ZERO, std::future::pending()));
        let roots = vec![platform.trust_root().unwrap()];
        verify_with(&platform, &verifier(roots.clone(), PccsSource::new(&url).unwrap())).await.unwrap();

        // What it takes back is seen as well, by who asks again.
        platform.set_faults(Faults { pck_revoked: true, ..Faults::default() }).unwrap();
        let error = verify_with(&platform, &verifier(roots.clone(), PccsSource::new(&url).unwrap()))
            .await
            .unwrap_err();
        assert_eq!(error.code(), "platform-revoked", "{error}");

        let unknown = builder().fmspc(Fmspc([9; 6])).ephemeral().unwrap();
        let error = verify_with(
            &unknown,
            &verifier(vec![unknown.trust_root().unwrap()], PccsSource::new(&url).unwrap()),
        )
        .await
        .unwrap_err();
        assert_eq!(error.code(), "collateral-missing", "{error}");
        server.abort();
    }
}
