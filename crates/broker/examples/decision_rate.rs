//! Measures what a large manifest costs: how long it takes to read, to admit, to decide
//! a request under it, and to change one secret of many.
//!
//! `cargo run --release -p adytum-broker --example decision_rate`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use adytum_api::names::SecretName;
use adytum_evidence::{
    claims::{Claims, TeeKind},
    measurement::WorkloadIdentity,
    policy::Policy,
    trust::Vendor,
};
use adytum_governance::{
    decide::{Listing, Rules, decide},
    genesis::Genesis,
    manifest::{
        Manifest, SignedManifest,
        document::{Document, SecretTable, WorkloadTable},
    },
    rules::{AdmittedManifest, admit},
    secrets::{SecretKind, SecretValue, StoredSecret},
};
use adytum_signing::OwnerSigningKey;
use adytum_testkit::claims as claims_of;
use zeroize::Zeroizing;

const TIME: Duration = Duration::from_secs(1);

fn enclave(number: usize) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

/// Of the workload of this number.
fn claims(number: usize) -> Claims {
    claims_of::sgx(enclave(number))
}

/// With this number of workloads; each secret is for one of them.
fn document(genesis: &Genesis, workloads: usize, secrets: usize) -> Document {
    let mut document = Document::new(genesis.digest(), 1);
    document.trust.vendors = vec![Vendor::Intel];
    let name = |number: usize| format!("workload-{number}").parse().unwrap();
    document.workloads = (0..workloads)
        .map(|number| WorkloadTable {
            name: name(number),
            models: Vec::new(),
            policy: Policy::for_identity(Vendor::Intel, TeeKind::Sgx, WorkloadIdentity(enclave(number))),
        })
        .collect();
    let secret = |number: usize| {
        let workload = name(number % workloads);
        SecretTable::new(format!("secret-{number}").parse().unwrap(), SecretKind::Opaque, vec![workload])
    };
    document.secrets = (0..secrets).map(secret).collect();
    document
}

/// How long one takes, on average over a second.
fn time(mut work: impl FnMut()) -> Duration {
    let (began, mut times) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        work();
        times += 1;
    }
    began.elapsed() / times
}

fn measure(workloads: usize, secrets: usize) {
    let owner = OwnerSigningKey::generate().unwrap();
    let genesis = Genesis::create([owner.public_key()], 1).unwrap();
    let text = document(&genesis, workloads, secrets).to_toml().unwrap();
    println!("{workloads} workloads, {secrets} secrets ({} KiB)", text.len() / 1024);
    println!("  read             {:?}", time(|| drop(Manifest::parse(&text).unwrap())));
    let mut signed = SignedManifest::unsigned(text);
    signed.sign(&owner).unwrap();
    let admitted: AdmittedManifest = admit(&genesis, genesis.first_owners(), 0, signed).unwrap();
    let value = SecretValue::parse(SecretKind::Opaque, Zeroizing::new(vec![1; 64])).unwrap();
    let held: BTreeMap<SecretName, StoredSecret> = (0..secrets)
        .map(|number| {
            let value = Some(value.clone());
            let stored = StoredSecret { kind: SecretKind::Opaque, value, version: 1, changed_by: Vec::new() };
            (format!("secret-{number}").parse().unwrap(), stored)
        })
        .collect();
    let rules = Rules { admitted: Some(&admitted), occlum: None };
    let last = workloads - 1;
    let own = [format!("secret-{last}").parse().unwrap()];
    let peer = claims(last);
    println!(
        "  granted          {:?}",
        time(|| assert!(decide(rules, &held, &peer, &own, Listing::BRIEF).is_ok()))
    );
    let other = [format!("secret-{}", last.saturating_sub(1)).parse().unwrap()];
    println!("  refused          {:?}", time(|| drop(decide(rules, &held, &peer, &other, Listing::BRIEF))));
    let stranger = claims(workloads + 1);
    println!("  of no workload   {:?}", time(|| drop(decide(rules, &held, &stranger, &own, Listing::BRIEF))));
    println!("  copied           {:?}", time(|| drop(held.clone())));
}

fn main() {
    for (workloads, secrets) in [(1, 1), (10, 100), (1000, 10_000)] {
        measure(workloads, secrets);
    }
}
