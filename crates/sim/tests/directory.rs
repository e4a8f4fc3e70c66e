//! A simulated platform as files.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration};

use adytum_evidence::{
    attester::Attester as _,
    clock::{FixedClock, UnixSeconds},
    collateral::QuoteCollateralV3,
    measurement::{ReportData, WorkloadIdentity},
};
use adytum_sim::{Faults, Platform, SimAttester, SimError, open_attester};
use dcap_qvl::verify::QuoteVerifier;

const NOW: UnixSeconds = UnixSeconds(1_780_000_000);
const IDENTITY: WorkloadIdentity = WorkloadIdentity([1; 32]);
const REPORT_DATA: ReportData = ReportData([2; 64]);

fn clock(now: UnixSeconds) -> Arc<FixedClock> {
    Arc::new(FixedClock::new(now))
}

fn verify(root_der: &[u8], collateral: &QuoteCollateralV3, quote: &[u8], now: UnixSeconds) {
    QuoteVerifier::new(root_der.to_vec()).verify(quote, collateral, now.0).unwrap();
}

fn collateral_file(platform: &Platform) -> std::path::PathBuf {
    platform.collateral_path().unwrap().join("sgx-53494d000000-processor.json")
}

#[tokio::test]
async fn a_platform_stays_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/platform");
    let created = Platform::builder().clock(clock(NOW)).create(&path).unwrap();
    let opened = Platform::builder().clock(clock(NOW)).open(&path).unwrap();
    assert_eq!(created.root_certificate_der(), opened.root_certificate_der());
    assert_eq!(created.id(), opened.id());
    assert_eq!(created.collateral(), opened.collateral());

    let attesters = [&created, &opened].map(|platform| SimAttester::new(platform.clone(), IDENTITY));
    let keys = attesters.each_ref().map(|attester| *attester.sealing_key().unwrap().unwrap().0);
    assert_eq!(keys[0], keys[1]);
    for attester in &attesters {
        let quote = attester.evidence(REPORT_DATA).await.unwrap().bytes;
        verify(created.root_certificate_der(), &opened.collateral(), &quote, NOW);
    }
}

#[tokio::test]
async fn a_verifier_needs_only_the_files_made_for_it() {
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::builder().clock(clock(NOW)).create(directory.path()).unwrap();
    let quote = SimAttester::new(platform.clone(), IDENTITY).evidence(REPORT_DATA).await.unwrap().bytes;

    let root = fs::read_to_string(platform.root_certificate_path().unwrap()).unwrap();
    assert_eq!(root, platform.root_certificate_pem());
    let collateral: QuoteCollateralV3 =
        serde_json::from_str(&fs::read_to_string(collateral_file(&platform)).unwrap()).unwrap();
    verify(pem::parse(root).unwrap().contents(), &collateral, &quote, NOW);
}

#[test]
fn keys_are_for_the_owner_only() {
    let directory = tempfile::tempdir().unwrap();
    Platform::create(directory.path()).unwrap();
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    for secret in [
        "root.key.pem",
        "pck-ca.key.pem",
        "tcb-signer.key.pem",
        "pck.key.pem",
        "attestation.key.pem",
        "sealing-secret.hex",
    ] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
    // And no other file holds a key.
    for entry in fs::read_dir(directory.path()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let secret = name.contains(".key.") || name.starts_with("sealing-secret");
        let path = directory.path().join(&name);
        assert!(
            secret || path.is_dir() || !fs::read_to_string(path).unwrap().contains("PRIVATE"),
            "{name} holds a private key"
        );
    }
}

#[test]
fn nothing_is_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    Platform::create(directory.path()).unwrap();
    let root = fs::read(directory.path().join("root.pem")).unwrap();
    assert_eq!(Platform::create(directory.path()).unwrap_err().code(), "simulation-exists");
    assert_eq!(fs::read(directory.path().join("root.pem")).unwrap(), root);

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.tex"), "text").unwrap();
    for result in [Platform::create(foreign.path()), Platform::create_or_open(foreign.path())] {
        assert_eq!(result.unwrap_err().code(), "simulation-exists");
    }
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1);
}

#[test]
fn a_creation_that_was_cut_off_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("root.pem"), "half a certi").unwrap();
    fs::write(directory.path().join("pck.key.pem.4711.new"), "").unwrap();
    assert_eq!(Platform::open(directory.path()).unwrap_err().code(), "simulation-missing");
    let platform = Platform::create_or_open(directory.path()).unwrap();
    let again = Platform::create_or_open(directory.path()).unwrap();
    assert_eq!(platform.root_certificate_der(), again.root_certificate_der());
}

#[test]
fn many_creators_make_one_platform() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("platform");
    let roots: Vec<_> = std::thread::scope(|scope| {
        let creators: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Platform::create_or_open(&path).unwrap().root_certificate_der().to_vec()))
            .collect();
        creators.into_iter().map(|creator| creator.join().unwrap()).collect()
    });
    assert!(roots.iter().all(|root| *root == roots[0]));
}

#[test]
fn every_kind_of_damage_is_named() {
    let good = tempfile::tempdir().unwrap();
    Platform::create(good.path()).unwrap();
    let other = tempfile::tempdir().unwrap();
    Platform::create(other.path()).unwrap();
    let foreign = |name: &str| fs::read(other.path().join(name)).unwrap();

    let collateral = "collateral/sgx-53494d000000-processor.json";
    let cases: Vec<(&str, Option<Vec<u8>>, &str)> = vec![
        ("platform.json", Some(b"{".to_vec()), "a description in JSON"),
        ("platform.json", Some(br#"{"format":"x","hardware":{}}"#.to_vec()), "a description in JSON"),
        ("root.pem", Some(b"no certificate".to_vec()), "the certificate of its key"),
        ("root.pem", Some(vec![0xff; 10]), "not UTF-8"),
        ("root.pem", Some(foreign("root.pem")), "a certificate for another key"),
        ("pck.pem", Some(foreign("pck.pem")), "a certificate for another key"),
        ("pck.key.pem", Some(b"".to_vec()), "an ECDSA P-256 key"),
        ("pck.key.pem", None, "none"),
        ("tcb-signer.key.pem", Some(vec![b'x'; 300_000]), "at most 256 KiB"),
        ("attestation.key.pem", Some(foreign("root.pem")), "an ECDSA P-256 key"),
        ("sealing-secret.hex", Some(b"abcd".to_vec()), "64 hexadecimal digits"),
        (collateral, Some(b"{}".to_vec()), "collateral in JSON"),
        (collateral, Some(foreign(collateral)), "another signer's"),
    ];
    for (name, contents, expected) in cases {
        let damaged = tempfile::tempdir().unwrap();
        copy(good.path(), damaged.path());
        match contents {
            Some(contents) => fs::write(damaged.path().join(name), contents).unwrap(),
            None => fs::remove_file(damaged.path().join(name)).unwrap(),
        }
        let error = Platform::open(damaged.path()).unwrap_err();
        assert_eq!(error.code(), "simulation-damaged", "{name}: {error}");
        let text = error.to_string();
        assert!(text.contains(name) && text.contains(expected), "{name}: expected {expected}, got {text}");
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test]
async fn collateral_in_the_directory_is_renewed() {
    let directory = tempfile::tempdir().unwrap();
    let clock = clock(NOW);
    let platform = Platform::builder().clock(clock.clone()).create(directory.path()).unwrap();
    let attester = SimAttester::new(platform.clone(), IDENTITY);
    let file = collateral_file(&platform);
    let stored = || fs::read_to_string(&file).unwrap();
    let first = stored();

    // By a program that opens it,
    let later = UnixSeconds(NOW.0 + 40 * 24 * 60 * 60);
    Platform::builder().clock(Arc::new(FixedClock::new(later))).open(directory.path()).unwrap();
    let second = stored();
    assert_ne!(second, first);
    // by a program that attests on it,
    clock.set(UnixSeconds(later.0 + 40 * 24 * 60 * 60));
    let quote = attester.evidence(REPORT_DATA).await.unwrap().bytes;
    let third = stored();
    assert_ne!(third, second);
    let collateral = serde_json::from_str(&third).unwrap();
    verify(platform.root_certificate_der(), &collateral, &quote, UnixSeconds(later.0 + 40 * 24 * 60 * 60));
    // and where it is missing.
    fs::remove_file(&file).unwrap();
    Platform::builder().clock(clock.clone()).open(directory.path()).unwrap();
    assert!(file.exists());
}

#[test]
fn faults_stay() {
    let directory = tempfile::tempdir().unwrap();
    let faults = Faults { pck_revoked: true, ..Faults::default() };
    Platform::builder().pck_revoked().create(directory.path()).unwrap();
    let platform = Platform::open(directory.path()).unwrap();
    assert_eq!(platform.faults(), faults);
    platform.set_faults(Faults::default()).unwrap();
    assert_eq!(Platform::open(directory.path()).unwrap().faults(), Faults::default());
}

#[tokio::test]
async fn a_location_of_a_flag_is_opened_but_never_made() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("platform");
    let location = path.to_str().unwrap();
    let error = open_attester(location, IDENTITY, Duration::ZERO).await.err().unwrap();
    assert!(matches!(error, SimError::Missing { .. }), "{error}");
    assert!(!path.exists());

    let platform = Platform::create(&path).unwrap();
    let attester = open_attester(location, IDENTITY, Duration::ZERO).await.unwrap();
    let quote = attester.evidence(REPORT_DATA).await.unwrap().bytes;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    verify(platform.root_certificate_der(), &platform.collateral(), &quote, UnixSeconds(now));
    assert_eq!(attester.platform().to_string(), "simulation");
}
