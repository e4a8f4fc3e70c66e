use adytum_evidence::{measurement::RootKeyId, trust::Vendor};
use adytum_testkit::{
    claims as claims_of,
    manifest::{Manifest, enclave_policy},
    owners::owner,
};
use zeroize::Zeroizing;

use super::*;
use crate::{
    genesis::Genesis,
    manifest::SignedManifest,
    occlum::{Accepted, OcclumConfiguration},
    rules::admit,
};

fn claims(mr_enclave: u8) -> Claims {
    claims_of::of(claims_of::enclave([mr_enclave; 32], [0xbb; 32]))
}

fn admitted(body: &str) -> AdmittedManifest {
    let owner = owner();
    let genesis = Genesis::create([owner.public_key()], 1).unwrap();
    let text = Manifest::intel(genesis.digest(), 7).table(body).text();
    let mut signed = SignedManifest::unsigned(text);
    signed.sign(&owner).unwrap();
    admit(&genesis, genesis.first_owners(), 0, signed).unwrap()
}

fn workload(name: &str, mr_enclave: u8, models: &str) -> String {
    format!(
        "[[workload]]\nname = \"{name}\"\nmodels = [{models}]\n[workload.policy]\n{}\n",
        enclave_policy(mr_enclave)
    )
}

fn secret(name: &str, workloads: &str) -> String {
    format!("[[secret]]\nname = \"{name}\"\nkind = \"opaque\"\nworkloads = [{workloads}]\n\n")
}

fn two_workloads() -> AdmittedManifest {
    let model = format!("[[model]]\nname = \"resnet\"\ndigests = [\"{}\"]\n", "cd".repeat(32));
    admitted(
        &[
            workload("serving", 1, "\"resnet\""),
            workload("other", 2, ""),
            secret("model_key", "\"serving\""),
            secret("shared", "\"serving\", \"other\""),
            secret("others", "\"other\""),
            secret("empty", "\"serving\""),
            model,
        ]
        .concat(),
    )
}

fn value(kind: SecretKind, bytes: &[u8]) -> StoredSecret {
    let value = SecretValue::parse(SecretKind::Opaque, Zeroizing::new(bytes.to_vec())).unwrap();
    StoredSecret { kind, value: Some(value), version: 4, changed_by: Vec::new() }
}

fn held() -> BTreeMap<SecretName, StoredSecret> {
    ["model_key", "shared", "others", "unnamed"]
        .map(|name| (name.parse().unwrap(), value(SecretKind::Opaque, name.as_bytes())))
        .into()
}

fn names(names: &[&str]) -> Vec<SecretName> {
    names.iter().map(|name| name.parse().unwrap()).collect()
}

fn ask<'a>(
    admitted: &'a AdmittedManifest,
    held: &'a BTreeMap<SecretName, StoredSecret>,
    claims: &Claims,
    asked: &[&str],
) -> Result<Grant<'a>, Refusal> {
    decide(Rules { admitted: Some(admitted), occlum: None }, held, claims, &names(asked), Listing::BRIEF)
}

#[test]
fn a_workload_gets_what_the_manifest_names_for_it() {
    let (admitted, held) = (two_workloads(), held());
    let grant = ask(&admitted, &held, &claims(1), &["shared", "model_key"]).unwrap();
    let got: Vec<_> = grant.secrets.iter().map(|secret| secret.value.expose()).collect();
    assert_eq!(got, [&b"shared"[..], b"model_key"]);
    assert_eq!(grant.secrets[0].by, Workload::Manifest("serving".parse().unwrap()));
    assert_eq!(grant.secrets[0].version, 4);
    assert_eq!(grant.models.iter().map(|model| model.name.as_str()).collect::<Vec<_>>(), ["resnet"]);
    let grant = ask(&admitted, &held, &claims(2), &["others"]).unwrap();
    assert!(grant.models.is_empty(), "a workload gets its own models only");
}

/// However many workloads there are, a refusal describes the nearest few, and says how
/// many more there are.
#[test]
fn of_many_workloads_the_nearest_are_described_and_the_rest_counted() {
    let mut text: Vec<String> = (0..100).map(|number| workload(&format!("w{number}"), 3, "")).collect();
    // One of them is less unlike than the others.
    let far = "tee = [\"sgx\"]\n";
    assert!(text[7].contains(far), "{}", text[7]);
    (0..100).filter(|number| *number != 7).for_each(|number| {
        text[number] = text[number].replace(far, &format!("{far}isv_prod_id = 9\n"));
    });
    let all: Vec<String> = (0..100).map(|number| format!("\"w{number}\"")).collect();
    text.push(secret("model_key", &all.join(", ")));
    let (admitted, held) = (admitted(&text.concat()), held());
    let rules = Rules { admitted: Some(&admitted), occlum: None };
    let refused = |listing| decide(rules, &held, &claims(1), &names(&["model_key"]), listing).unwrap_err();
    let whole = refused(Listing::WHOLE);
    assert_eq!((whole.mismatches.nearest.len(), whole.mismatches.more), (100, 0));
    assert!(whole.mismatches.nearest.is_sorted_by_key(|mismatch| mismatch.failures.len()));
    let brief = refused(Listing::BRIEF);
    let Listing { workloads, each_secret } = Listing::BRIEF;
    assert_eq!(brief.mismatches.nearest, whole.mismatches.nearest[..workloads]);
    assert_eq!(brief.mismatches.more, 100 - workloads);
    let Verdict::Refused { mismatches } = &brief.verdicts[0].1 else { panic!("{brief:?}") };
    assert_eq!(mismatches.nearest, whole.mismatches.nearest[..each_secret]);
    assert_eq!(mismatches.more, 100 - each_secret);
    let text = brief.explanation();
    assert!(text.contains("not workload w7:") && text.contains("more workloads"), "{text}");
    assert_eq!(brief.reason(), whole.reason());
}

#[test]
fn all_or_none_and_each_reason_is_its_own() {
    let (admitted, held) = (two_workloads(), held());
    for (asked, reason) in [
        (&["model_key", "others"][..], Reason::SecretRefused),
        (&["model_key", "unnamed"], Reason::SecretUnknown),
        (&["model_key", "empty"], Reason::SecretHasNoValue),
        (&["empty", "unnamed", "others"], Reason::SecretRefused),
        (&["empty", "unnamed"], Reason::SecretUnknown),
    ] {
        assert_eq!(ask(&admitted, &held, &claims(1), asked).unwrap_err().reason(), reason, "{asked:?}");
    }
    let refusal = ask(&admitted, &held, &claims(1), &["model_key", "others"]).unwrap_err();
    assert!(matches!(refusal.verdicts[0].1, Verdict::Withheld { .. }));
    let text = refusal.explanation();
    assert!(text.contains("workload serving") && text.contains("not workload other"), "{text}");
    assert!(text.contains(&hex::encode([2; 32])) && text.contains(&hex::encode([1; 32])), "{text}");
}

#[test]
fn a_peer_that_is_no_workload_learns_every_reason_and_no_name() {
    let (admitted, held) = (two_workloads(), held());
    let refuse = |asked: &[&str]| ask(&admitted, &held, &claims(9), asked).unwrap_err();
    let known = refuse(&["model_key"]);
    assert_eq!(known.reason(), Reason::NoWorkload);
    let text = known.explanation();
    for workload in ["serving", "other"] {
        assert!(text.contains(&format!("not workload {workload}: mr_enclave")), "{text}");
    }
    assert!(!text.contains("model_key"));
    for asked in [&["unknown"][..], &["others", "empty"], &[]] {
        let refusal = refuse(asked);
        assert_eq!((refusal.reason(), refusal.explanation()), (known.reason(), text.clone()));
    }
}

#[test]
fn evidence_under_a_root_that_is_no_longer_trusted_is_worth_nothing() {
    let (admitted, held) = (two_workloads(), held());
    for stranger in [
        Claims { root_key_id: RootKeyId([9; 48]), ..claims(1) },
        // The right key and the wrong vendor: a policy would name the vendor.
        Claims { vendor: Vendor::Simulation, ..claims(1) },
    ] {
        let refusal = ask(&admitted, &held, &stranger, &["model_key"]).unwrap_err();
        assert_eq!(refusal.reason(), Reason::EvidenceNotTrusted);
        assert!(!refusal.explanation().contains("serving"));
    }
    let no_rules = Rules { admitted: None, occlum: None };
    let refusal = decide(no_rules, &held, &claims(1), &names(&["model_key"]), Listing::BRIEF).unwrap_err();
    assert_eq!(refusal.reason(), Reason::EvidenceNotTrusted);
}

#[test]
fn a_value_of_another_kind_is_no_value() {
    let admitted = two_workloads();
    let held = [("model_key".parse().unwrap(), value(SecretKind::AgeIdentity, b"x"))].into();
    let refusal = ask(&admitted, &held, &claims(1), &["model_key"]).unwrap_err();
    assert_eq!(refusal.reason(), Reason::SecretHasNoValue);
}

#[test]
fn explanations_are_bounded_and_show_the_nearest_first() {
    // A second rule makes them less like the peer than the other.
    let far = |n| workload(&format!("far-{n}"), 3, "") + "isv_prod_id = 9\n\n";
    let mut body: String = (0..200).map(far).collect();
    body = body.replace("\n\nisv_prod_id", "\nisv_prod_id");
    body.push_str(&workload("near", 2, ""));
    body.push_str(&secret("model_key", "\"near\""));
    let (admitted, held) = (admitted(&body), held());
    let text = ask(&admitted, &held, &claims(1), &["model_key"]).unwrap_err().explanation();
    assert!(text.len() <= 4096, "{}", text.len());
    let (near, far) = (text.find("not workload near").unwrap(), text.find("not workload far-0").unwrap());
    assert!(near < far, "{text}");
    assert!(text.contains("more workloads"), "{text}");
}

fn occlum(names_and_values: &str, mr_enclave: u8) -> OcclumConfiguration {
    let configuration = serde_json::json!({
        "verify_mr_enclave": "on", "verify_mr_signer": "off", "verify_isv_prod_id": "off",
        "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
        "sgx_mrs": [{ "mr_enclave": hex::encode([mr_enclave; 32]), "debuggable": false }]
    });
    let roots = vec![adytum_evidence::verifier::TrustRoot::intel()];
    OcclumConfiguration::parse(&configuration.to_string(), names_and_values, &Accepted::default(), roots)
        .unwrap()
}

#[test]
fn an_occlum_configuration_serves_its_own_secrets_to_its_own_workloads() {
    let occlum = occlum(r#"{"ssl_config": "c2VzYW1l"}"#, 5);
    let held = BTreeMap::new();
    let rules = Rules { admitted: None, occlum: Some(&occlum) };
    let grant = decide(rules, &held, &claims(5), &names(&["ssl_config"]), Listing::BRIEF).unwrap();
    assert_eq!(grant.secrets[0].value.expose(), b"sesame");
    assert!(matches!(grant.secrets[0].by, Workload::Occlum(_)));
    let refusal = decide(rules, &held, &claims(6), &names(&["ssl_config"]), Listing::BRIEF).unwrap_err();
    assert_eq!(refusal.reason(), Reason::NoWorkload);
    assert!(refusal.explanation().contains("occlum-1"));
}

#[test]
fn an_occlum_configuration_never_weakens_a_manifest() {
    // The file names a secret of the manifest, and an enclave of its own.
    let occlum = occlum(r#"{"model_key": "Zm9yZ2Vk", "own": "b3du"}"#, 5);
    let (admitted, held) = (two_workloads(), held());
    let rules = Rules { admitted: Some(&admitted), occlum: Some(&occlum) };
    let ask = |claims: &Claims, asked: &[&str]| decide(rules, &held, claims, &names(asked), Listing::BRIEF);

    // Its workload gets none of the manifest's secrets, named by the file or not.
    for secret in ["model_key", "shared", "others"] {
        assert_eq!(ask(&claims(5), &[secret]).unwrap_err().reason(), Reason::SecretRefused);
    }
    // The manifest's workload gets the manifest's value, not the file's.
    let grant = ask(&claims(1), &["model_key"]).unwrap();
    assert_eq!(grant.secrets[0].value.expose(), b"model_key");
    // A name of the manifest without a value is not filled from the file.
    let nothing = BTreeMap::new();
    let refusal = decide(rules, &nothing, &claims(1), &names(&["model_key"]), Listing::BRIEF).unwrap_err();
    assert_eq!(refusal.reason(), Reason::SecretHasNoValue);
    // The manifest's workload is not given the file's secrets either.
    assert_eq!(ask(&claims(1), &["own"]).unwrap_err().reason(), Reason::SecretRefused);
    assert_eq!(ask(&claims(5), &["own"]).unwrap().secrets[0].value.expose(), b"own");
    assert!(ask(&claims(5), &["own"]).unwrap().models.is_empty());
}

#[test]
fn a_reference_workload_named_like_a_manifests_is_not_it() {
    let occlum = occlum("{}", 5);
    let body = [workload("occlum-1", 1, ""), secret("model_key", "\"occlum-1\"")].concat();
    let (admitted, held) = (admitted(&body), held());
    let rules = Rules { admitted: Some(&admitted), occlum: Some(&occlum) };
    let refusal = decide(rules, &held, &claims(5), &names(&["model_key"]), Listing::BRIEF).unwrap_err();
    assert_eq!(refusal.reason(), Reason::SecretRefused);
}
