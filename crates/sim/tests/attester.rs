//! What an attester on a simulated platform does.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::Attester as _,
    measurement::{ReportData, Sha256Digest, WorkloadIdentity},
};
use adytum_sim::{Platform, SimAttester, identity_of_this_program};
use dcap_qvl::{quote::Quote, verify::QuoteVerifier};

const IDENTITY: WorkloadIdentity = WorkloadIdentity([1; 32]);

async fn mr_enclave(platform: &Arc<Platform>, identity: WorkloadIdentity) -> [u8; 32] {
    let attester = SimAttester::new(platform.clone(), identity);
    let quote = attester.evidence(ReportData([0; 64])).await.unwrap().bytes;
    Quote::parse(&quote).unwrap().report.as_sgx().unwrap().mr_enclave
}

#[tokio::test]
async fn one_changed_byte_of_init_program_or_configuration_changes_mr_enclave() {
    let platform = Platform::ephemeral().unwrap();
    let identity = |init: &[u8], program: &[u8], configuration: &[u8]| {
        WorkloadIdentity::of(Sha256Digest::of_bytes(init), Sha256Digest::of_bytes(program), configuration)
    };
    let mut seen = BTreeSet::new();
    for identity in [
        identity(b"init", b"program", b"configuration"),
        identity(b"inis", b"program", b"configuration"),
        identity(b"init", b"programm", b"configuration"),
        identity(b"init", b"program", b"Configuration"),
        identity(b"program", b"init", b"configuration"),
    ] {
        let measured = mr_enclave(&platform, identity).await;
        assert_eq!(measured, identity.0);
        assert!(seen.insert(measured));
    }
}

#[test]
fn this_program_is_measured_with_its_configuration() {
    let program = Sha256Digest::of_file(&std::env::current_exe().unwrap()).unwrap();
    let expected = WorkloadIdentity::of(program, program, b"configuration");
    assert_eq!(identity_of_this_program(b"configuration").unwrap(), expected);
    assert_ne!(identity_of_this_program(b"other").unwrap(), expected);
}

#[test]
fn another_program_or_platform_has_another_sealing_key() {
    let platform = Platform::ephemeral().unwrap();
    let attester = || SimAttester::new(platform.clone(), IDENTITY);
    let key = |attester: SimAttester| *attester.sealing_key().unwrap().unwrap().0;
    assert_eq!(key(attester()), key(attester()));
    // What SGX mixes into a key of the MRENCLAVE policy, and what it does not.
    assert_eq!(key(attester()), key(attester().isv_svn(1)));
    let others = [
        key(attester()),
        key(attester().debug(true)),
        key(attester().isv_prod_id(1)),
        key(SimAttester::new(platform.clone(), WorkloadIdentity([2; 32]))),
        key(SimAttester::new(Platform::ephemeral().unwrap(), IDENTITY)),
    ];
    assert_eq!(BTreeSet::from(others).len(), others.len());
}

#[tokio::test(start_paused = true)]
async fn a_quote_takes_as_long_as_it_is_told_to() {
    let platform = Platform::ephemeral().unwrap();
    let slow = SimAttester::new(platform.clone(), IDENTITY).quote_latency(Duration::from_millis(20));
    let start = tokio::time::Instant::now();
    slow.evidence(ReportData([0; 64])).await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_millis(20));

    // Quotes wait at the same time, not one after the other.
    let start = tokio::time::Instant::now();
    let mut quotes = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let attester = slow.clone();
        quotes.spawn(async move { attester.evidence(ReportData([0; 64])).await.unwrap() });
    }
    quotes.join_all().await;
    assert_eq!(start.elapsed(), Duration::from_millis(20));

    let start = tokio::time::Instant::now();
    SimAttester::new(platform, IDENTITY).evidence(ReportData([0; 64])).await.unwrap();
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn quotes_are_made_in_parallel() {
    let platform = Platform::ephemeral().unwrap();
    let attester = Arc::new(SimAttester::new(platform.clone(), IDENTITY));
    let mut quotes = tokio::task::JoinSet::new();
    for number in 0..64 {
        let attester = attester.clone();
        quotes.spawn(async move { (number, attester.evidence(ReportData([number; 64])).await.unwrap()) });
    }
    // Faults change in the middle of it.
    platform.set_faults(platform.faults()).unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let verifier = QuoteVerifier::new(platform.root_certificate_der().to_vec());
    for (number, evidence) in quotes.join_all().await {
        let verified = verifier.verify(&evidence.bytes, &platform.collateral(), now).unwrap();
        assert_eq!(verified.report.as_sgx().unwrap().report_data, [number; 64]);
    }
}
