//! Altered, foreign and mistimed evidence never becomes claims.

use std::{ops::Range, sync::Arc};

use adytum_evidence::{
    attester::Attester,
    clock::{FixedClock, UnixSeconds},
    evidence::{Evidence, EvidenceFormat},
    measurement::{ReportData, WorkloadIdentity},
    verifier::{TrustRoot, Verifier, parse_dcap},
};
use adytum_sim::{Platform, SimAttester};
use adytum_testkit::{
    recorded::{Sample, verifier_at},
    tee::Nothing,
};
use proptest::prelude::*;

/// The first and last byte of a structure and at most `most` between.
fn positions(range: Range<usize>, most: usize) -> impl Iterator<Item = usize> {
    let step = range.len().div_ceil(most).max(1);
    let last = range.end - 1;
    range.step_by(step).chain([last])
}

#[test]
fn a_flipped_bit_in_any_structure_is_refused() {
    for sample in [Sample::sgx(), Sample::tdx_v4(), Sample::tdx_v5()] {
        let verifier = sample.verifier();
        let structures = parse_dcap(&sample.quote).unwrap().structures;
        for name in [
            "header",
            "body",
            "signature",
            "attestation key",
            "QE report",
            "QE report signature",
            "QE authentication data",
            "certification data type",
            "PCK chain",
        ] {
            assert!(structures.iter().any(|(what, _)| *what == name), "{name}");
        }
        for (what, range) in structures {
            for position in positions(range, 60) {
                let mut evidence = sample.evidence();
                evidence.bytes[position] ^= 1 << (position % 8);
                let outcome = verifier.verify_with(&evidence, &sample.collateral);
                let error = outcome.err().unwrap_or_else(|| panic!("{what}, byte {position} accepted"));
                let code = error.code();
                assert!(
                    code.starts_with("evidence-") || code == "untrusted-root",
                    "{what}, byte {position}: {code}: {error}"
                );
                assert!(!error.retry(), "{what}, byte {position}: {error}");
            }
        }
    }
}

#[test]
fn each_structure_has_its_own_reason() {
    let sample = Sample::sgx();
    let verifier = sample.verifier();
    let structures = parse_dcap(&sample.quote).unwrap().structures;
    for (structure, reason) in [
        ("body", "signature over header and body"),
        ("signature", "signature over header and body"),
        ("attestation key", "attestation key"),
        ("QE report", "QE report"),
        ("QE report signature", "QE report"),
        ("QE authentication data", "attestation key"),
    ] {
        let (_, range) = structures.iter().find(|(what, _)| *what == structure).unwrap();
        let mut evidence = sample.evidence();
        evidence.bytes[range.start + 20] ^= 1;
        let error = verifier.verify_with(&evidence, &sample.collateral).unwrap_err();
        assert_eq!(error.code(), "evidence-invalid", "{structure}: {error}");
        assert!(error.to_string().contains(reason), "{structure}: {error}");
    }
}

#[test]
fn structures_of_another_genuine_quote_do_not_fit() {
    // Both are TDX 1.0 and 1.5 quotes of genuine platforms: what one has signed
    // does not vouch for the other.
    let (one, other) = (Sample::tdx_v5(), Sample::tdx_v5_outdated());
    let structures = |sample: &Sample| parse_dcap(&sample.quote).unwrap().structures;
    let range = |sample: &Sample, name: &str| {
        structures(sample).into_iter().find(|(what, _)| *what == name).unwrap().1
    };
    for name in ["header", "signature", "attestation key", "QE report", "QE report signature"] {
        let mut evidence = one.evidence();
        evidence.bytes[range(&one, name)].copy_from_slice(&other.quote[range(&other, name)]);
        if evidence.bytes == one.quote {
            // The headers of one kind of machine are the same.
            continue;
        }
        let error = one.verifier().verify_with(&evidence, &one.collateral).unwrap_err();
        assert!(error.code().starts_with("evidence-"), "{name}: {error}");
    }
}

#[test]
fn every_truncation_and_every_extension_is_refused() {
    let sample = Sample::sgx();
    let verifier = sample.verifier();
    for length in 0..sample.quote.len() {
        let evidence = Evidence::dcap_quote(sample.quote[..length].to_vec());
        let error = verifier.verify_with(&evidence, &sample.collateral).unwrap_err();
        assert_eq!(error.code(), "evidence-malformed", "{length}: {error}");
    }
    for tail in [vec![1], b"GET / HTTP/1.1".to_vec(), vec![0; 64 * 1024]] {
        let evidence = Evidence::dcap_quote([sample.quote.clone(), tail].concat());
        let error = verifier.verify_with(&evidence, &sample.collateral).unwrap_err();
        assert_eq!(error.code(), "evidence-malformed", "{error}");
    }
}

#[test]
fn evidence_of_other_kinds_is_named() {
    let sample = Sample::sgx();
    let verifier = sample.verifier();
    let snp = Evidence { format: EvidenceFormat::SnpReport, ..sample.evidence() };
    let error = verifier.verify_with(&snp, &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "evidence-unsupported", "{error}");
    assert!(error.to_string().contains("SEV-SNP"), "{error}");

    let endorsed = Evidence { endorsements: vec![1], ..sample.evidence() };
    let error = verifier.verify_with(&endorsed, &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "evidence-malformed", "{error}");

    // Version 6; SGX in version 4; TEE type 1; P-384; another vendor's QE.
    for (position, value) in [(0, 6), (0, 4), (4, 1), (2, 3), (12, 0)] {
        let mut evidence = sample.evidence();
        evidence.bytes[position] = value;
        let error = verifier.verify_with(&evidence, &sample.collateral).unwrap_err();
        assert_eq!(error.code(), "evidence-unsupported", "{position}: {error}");
    }
}

#[tokio::test]
async fn only_named_roots_are_trusted() {
    let sample = Sample::sgx();
    let platform = Platform::ephemeral().unwrap();
    let clock = Arc::new(FixedClock::new(sample.time));
    let under = |roots| Verifier::new(roots, Arc::new(Nothing), clock.clone());
    let simulated = platform.trust_root().unwrap();

    // Hardware where only the simulated platform is trusted.
    let error =
        under(vec![simulated.clone()]).verify_with(&sample.evidence(), &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "untrusted-root");
    let text = error.to_string();
    for part in [
        "Intel SGX Root CA",
        &TrustRoot::intel().root_key_id().to_string()[..16],
        &format!("simulation {}", &simulated.root_key_id().to_string()[..16]),
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("a simulated platform"), "{text}");

    // The simulated platform where only hardware is trusted: said plainly, and
    // before any collateral is asked for.
    let attester = SimAttester::new(platform, WorkloadIdentity([1; 32]));
    let evidence = attester.evidence(ReportData([2; 64])).await.unwrap();
    let error = under(vec![TrustRoot::intel()]).verify(&evidence).await.unwrap_err();
    assert_eq!(error.code(), "untrusted-root");
    assert!(error.to_string().contains("a simulated platform"), "{error}");
    assert!(error.to_string().contains("--trust-simulation"), "{error}");

    // Nobody is trusted yet: that may change without anything done to this evidence.
    let error = under(vec![]).verify_with(&sample.evidence(), &sample.collateral).unwrap_err();
    assert_eq!((error.code(), error.retry()), ("nothing-trusted-yet", true));

    // Both: each stands for itself.
    let both = under(vec![simulated, TrustRoot::intel()]);
    both.verify_with(&sample.evidence(), &sample.collateral).unwrap();
}

#[test]
fn a_root_that_only_bears_the_name_is_not_the_root() {
    // Same subject and key, another certificate: the signature must be the
    // root's own.
    let sample = Sample::sgx();
    let quote = parse_dcap(&sample.quote).unwrap();
    let [_, _, root] = &quote.pck_chain;
    let (_, chain) = quote.structures.iter().find(|(what, _)| *what == "PCK chain").unwrap();
    let mut altered = root.clone();
    // The last second of notAfter.
    let date = altered.windows(13).position(|window| window == b"491231235959Z").unwrap();
    altered[date + 11] = b'8';
    let pem = |der: &[u8]| {
        use std::fmt::Write;
        let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, der);
        let mut text = "-----BEGIN CERTIFICATE-----\n".to_owned();
        for line in base64.as_bytes().chunks(64) {
            writeln!(text, "{}", str::from_utf8(line).unwrap()).unwrap();
        }
        text + "-----END CERTIFICATE-----\n"
    };
    let text = String::from_utf8(sample.quote[chain.clone()].to_vec()).unwrap();
    assert!(text.contains(&pem(root)));
    let mut evidence = sample.evidence();
    evidence.bytes[chain.clone()].copy_from_slice(text.replace(&pem(root), &pem(&altered)).as_bytes());
    let error = sample.verifier().verify_with(&evidence, &sample.collateral).unwrap_err();
    assert_eq!(error.code(), "evidence-invalid", "{error}");
    assert!(error.to_string().contains("root certificate"), "{error}");
}

#[test]
fn time_decides() {
    let sample = Sample::sgx();
    let day = 24 * 60 * 60;
    for (time, code, retry) in [
        (sample.time.0 - 30 * day, "collateral-not-yet-valid", true),
        (sample.time.0 + 60 * day, "collateral-expired", true),
        (0, "collateral-not-yet-valid", true),
        (u64::MAX, "collateral-expired", true),
    ] {
        let error =
            verifier_at(UnixSeconds(time)).verify_with(&sample.evidence(), &sample.collateral).unwrap_err();
        assert_eq!(error.code(), code, "{time}: {error}");
        assert_eq!(error.retry(), retry, "{time}: {error}");
        assert!(error.to_string().contains("clock"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        prop_assert!(parse_dcap(&bytes).is_err());
    }

    #[test]
    fn no_mutated_quote_panics_or_passes(
        which in 0..2usize,
        edits in proptest::collection::vec((any::<prop::sample::Index>(), 1..=255u8), 1..6),
        cut in proptest::option::of(any::<prop::sample::Index>()),
        duplicate in proptest::option::of((any::<prop::sample::Index>(), 1..40usize)),
    ) {
        let sample = [Sample::sgx, Sample::tdx_v4][which]();
        let mut evidence = sample.evidence();
        for (index, xor) in edits {
            let index = index.index(evidence.bytes.len());
            evidence.bytes[index] ^= xor;
        }
        if let Some((index, length)) = duplicate {
            let index = index.index(evidence.bytes.len() - 40);
            let part = evidence.bytes[index..index + length].to_vec();
            evidence.bytes.splice(index..index, part);
        }
        if let Some(cut) = cut {
            evidence.bytes.truncate(cut.index(evidence.bytes.len()));
        }
        prop_assume!(evidence.bytes != sample.quote);
        let outcome = sample.verifier().verify_with(&evidence, &sample.collateral);
        prop_assert!(outcome.is_err());
    }
}
