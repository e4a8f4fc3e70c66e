//! Tokens of Azure Attestation: recorded claims, signed by a key of the test.

use std::sync::Arc;

use adytum_evidence::{
    claims::{Measured, TcbStatus, TeeKind, report_data_of_token},
    clock::{FixedClock, UnixSeconds},
    evidence::Evidence,
    jwt::Token,
    maa::{MaaClaims, MaaError, MaaTrust, is_of_azure},
    measurement::{FeatureMask, ReportData},
    policy::Policy,
    trust::Vendor,
    verifier::{TrustRoot, Verifier},
};
use adytum_testkit::{recorded::vector, tee::Nothing};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::fixture::{ISSUER, KID, NOW, keys, payload, pinned, rsa_jwk, signed};

fn trust(issuer: &str) -> MaaTrust {
    MaaTrust { issuer: issuer.to_owned(), keys: pinned() }
}

fn verify(claims: &Value) -> Result<MaaClaims, MaaError> {
    trust(ISSUER).verify(Token::parse(&signed("RS256", KID, claims))?, NOW)
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name).unwrap();
    claims
}

/// Now, of the expected service, and these.
fn also(claims: &Value) -> Value {
    let mut all = payload();
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    all
}

fn sgx() -> Value {
    also(&json!({
        "x-ms-attestation-type": "sgx",
        "x-ms-sgx-is-debuggable": false,
        "x-ms-sgx-mrenclave": "1e".repeat(32),
        "x-ms-sgx-mrsigner": "2e".repeat(32),
        "x-ms-sgx-product-id": 7,
        "x-ms-sgx-svn": 3,
        "x-ms-sgx-config-id": "00".repeat(64),
        "x-ms-sgx-config-svn": 5,
        "x-ms-sgx-report-data": hex::encode([sha256(b"runtime data"), vec![0; 32]].concat()),
    }))
}

fn tdx() -> Value {
    also(&json!({
        "x-ms-attestation-type": "tdxvm",
        "attester_tcb_status": "UpToDate",
        "tdx_mrtd": "3e".repeat(48),
        "tdx_mrconfigid": "4e".repeat(48),
        "tdx_rtmr0": "50".repeat(48),
        "tdx_rtmr1": "51".repeat(48),
        "tdx_rtmr2": "52".repeat(48),
        "tdx_rtmr3": "00".repeat(48),
        "tdx_td_attributes": "0000001000000000",
        "tdx_td_attributes_debug": false,
        "tdx_xfam": "e718060000000000",
        "tdx_report_data": hex::encode([sha256(b"runtime data"), vec![0; 32]].concat()),
    }))
}

/// The claims of the recorded token of a SEV-SNP guest, and its issuer and time.
fn snp() -> Option<(Value, String, UnixSeconds)> {
    let text = String::from_utf8(vector("maa/sev-snp-jwt.txt")?).unwrap();
    let claims = Value::Object(Token::parse(text.trim()).unwrap().unverified().clone());
    let issuer = claims["iss"].as_str().unwrap().to_owned();
    let at = UnixSeconds(claims["nbf"].as_u64().unwrap() + 1);
    Some((claims, issuer, at))
}

fn sha256(bytes: &[u8]) -> Vec<u8> {
    adytum_evidence::measurement::Sha256Digest::of_bytes(bytes).0.to_vec()
}

fn policy(toml: &str) -> Policy {
    toml::from_str(&format!("vendors = [\"azure\"]\n{toml}")).unwrap()
}

#[test]
fn an_enclaves_token_becomes_claims_of_a_vendor_of_its_own() {
    let azure = verify(&sgx()).unwrap();
    let claims = azure.claims();
    assert_eq!((claims.vendor, claims.tee(), claims.debug), (Vendor::Azure, TeeKind::Sgx, false));
    let Measured::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, config_svn, .. } = claims.measured
    else {
        panic!("{claims:?}")
    };
    assert_eq!((mr_enclave.0, mr_signer.0), ([0x1e; 32], [0x2e; 32]));
    assert_eq!((isv_prod_id, isv_svn, config_svn), (7, 3, 5));
    azure.bound_to(b"runtime data").unwrap();
    assert_eq!(azure.bound_to(b"of another session").unwrap_err().code(), "maa-not-bound");
    assert_eq!(azure.signed().issuer(), ISSUER);
    assert!(is_of_azure(azure.signed().claims()));
}

#[test]
fn a_policy_names_the_vendor_and_says_that_no_status_is_stated() {
    let azure = verify(&sgx()).unwrap();
    let rules = format!("tee = [\"sgx\"]\nmr_enclave = [\"{}\"]\n", "1e".repeat(32));
    let refusal = policy(&rules).judge(azure.claims()).unwrap_err();
    assert_eq!(refusal.failures.len(), 1, "{refusal}");
    assert!(refusal.to_string().contains("Azure Attestation does not state it"), "{refusal}");
    let every = TcbStatus::ALL.map(|status| format!("\"{status}\"")).join(", ");
    policy(&format!("{rules}tcb_status = [{every}]\n")).judge(azure.claims()).unwrap();
    // Intel's word is another's.
    let intel = rules.replace("tee", "tcb_status = [\"UpToDate\"]\ntee");
    let intel: Policy = toml::from_str(&format!("vendors = [\"intel\"]\n{intel}")).unwrap();
    let refusal = intel.judge(azure.claims()).unwrap_err().to_string();
    assert!(refusal.contains("vendors: wanted intel, got azure"), "{refusal}");
    // What the token does not say, meets no rule.
    for rule in
        ["collateral_not_before = \"2020-01-01\"", "platforms = [\"00\"]", "[sgx_platform]\nsmt = false"]
    {
        let refusal = policy(&format!("{rules}tcb_status = [{every}]\n{rule}\n")).judge(azure.claims());
        assert!(refusal.is_err(), "{rule}");
    }
    let other = policy(&rules.replace("1e", "1f")).judge(azure.claims()).unwrap_err().to_string();
    assert!(other.contains("mr_enclave: wanted 1f1f"), "{other}");
}

#[test]
fn a_guest_of_tdx_has_its_registers_and_its_status() {
    let azure = verify(&tdx()).unwrap();
    let claims = azure.claims();
    assert_eq!((claims.tcb_status, claims.debug), (Some(TcbStatus::UpToDate), false));
    let Measured::Tdx { mr_td, mr_config_id, rtmr, td } = claims.measured else { panic!("{claims:?}") };
    assert_eq!((mr_td.0, mr_config_id.0), ([0x3e; 48], [0x4e; 48]));
    assert_eq!(rtmr.map(|register| register.0[0]), [0x50, 0x51, 0x52, 0]);
    // Bit 28, SEPT_VE_DISABLE, as the bytes are printed.
    assert_eq!((td.attributes, td.xfam), (FeatureMask(1 << 28), FeatureMask(0x618e7)));
    azure.bound_to(b"runtime data").unwrap();
    // A debugger is seen in either claim.
    for debug in [
        with(tdx(), "tdx_td_attributes_debug", json!(true)),
        with(tdx(), "tdx_td_attributes", json!("0100001000000000")),
    ] {
        assert!(verify(&debug).unwrap().claims().debug);
    }
    let migratable = with(tdx(), "tdx_td_attributes", json!("0000002000000000"));
    assert_eq!(verify(&migratable).unwrap_err().code(), "maa-migration");
    let advisories = with(tdx(), "attester_advisory_ids", json!(["INTEL-SA-00837"]));
    assert_eq!(verify(&advisories).unwrap().claims().advisory_ids.len(), 1);
}

#[test]
fn the_recorded_claims_of_a_sev_snp_guest_are_read() {
    let Some((claims, issuer, at)) = snp() else { return };
    let token = || Token::parse(&signed("RS256", KID, &claims)).unwrap();
    let azure = trust(&issuer).verify(token(), at).unwrap();
    let read = azure.claims();
    assert_eq!((read.tee(), read.debug, read.tcb_status), (TeeKind::Snp, false, None));
    let Measured::Snp { measurement, host_data, vmpl, tcb, guest } = &read.measured else {
        panic!("{read:?}")
    };
    assert!(measurement.to_string().starts_with("02c3b0d5bf1d256f"));
    assert!(host_data.to_string().starts_with("73973b78d70cc683"));
    assert_eq!((*vmpl, tcb.bootloader, tcb.snp, tcb.microcode, guest.guest_svn), (0, 3, 8, 115, 2));
    assert!(guest.id_key_digest.is_some() && guest.author_key_digest.is_none());
    let rules = |aliases: &str| {
        policy(&format!(
            "tee = [\"snp\"]\nsnp_measurement = [\"{measurement}\"]\n\
             minimum_snp_tcb = {{ bootloader = 3, tee = 0, snp = 8, microcode = 115 }}\n{aliases}"
        ))
    };
    // The token does not say whether memory was checked for aliases.
    let refusal = rules("").judge(read).unwrap_err();
    assert_eq!(refusal.failures.len(), 1, "{refusal}");
    rules("[snp_platform]\nallow_unchecked_aliases = true\n").judge(read).unwrap();
    // A day later it is no evidence any more, and elsewhere never.
    let later = UnixSeconds(at.0 + 86_400);
    assert_eq!(trust(&issuer).verify(token(), later).unwrap_err().code(), "token-expired");
    assert_eq!(trust(ISSUER).verify(token(), at).unwrap_err().code(), "token-issuer");
    let migration = with(claims.clone(), "x-ms-sevsnpvm-migration-allowed", json!(true));
    let token = Token::parse(&signed("RS256", KID, &migration)).unwrap();
    assert_eq!(trust(&issuer).verify(token, at).unwrap_err().code(), "maa-migration");
}

/// With a key of ours under the name of the service's key.
#[test]
fn the_recorded_signature_is_not_ours() {
    let (Some((_, issuer, at)), Some(text)) = (snp(), vector("maa/sev-snp-jwt.txt")) else { return };
    let token = Token::parse(std::str::from_utf8(&text).unwrap().trim()).unwrap();
    let named = keys(&[rsa_jwk(token.key_id().unwrap())]);
    let error = MaaTrust { issuer, keys: named }.verify(token, at).unwrap_err();
    assert_eq!(error.code(), "token-signature-invalid");
}

/// The recorded claims of 2020, with the names of that time. The enclave held a key.
#[test]
fn the_recorded_claims_of_the_first_version_are_read() {
    let Some(bytes) = vector("maa/post.attest.response.jwt.body.json") else { return };
    let mut documents = serde_json::Deserializer::from_slice(&bytes).into_iter::<Value>();
    let claims = documents.find_map(|json| json.ok().filter(|json| json.get("iss").is_some())).unwrap();
    let issuer = claims["iss"].as_str().unwrap();
    let token = Token::parse(&signed("RS256", KID, &claims)).unwrap();
    let azure = trust(issuer).verify(token, UnixSeconds(1_590_630_000)).unwrap();
    let Measured::Sgx { mr_enclave, isv_prod_id, isv_svn, .. } = azure.claims().measured else { panic!() };
    assert!(mr_enclave.to_string().starts_with("90a328210154d861"));
    assert_eq!((isv_prod_id, isv_svn), (1, 8888));
    let held = URL_SAFE_NO_PAD.decode(claims["maa-ehd"].as_str().unwrap()).unwrap();
    azure.bound_to(&held).unwrap();
    assert!(azure.bound_to(&held[..held.len() - 1]).is_err());
}

#[test]
fn only_rs256_with_a_named_key_counts() {
    for (algorithm, kid) in [("PS256", KID), ("RS384", KID), ("ES256", "ec"), ("EdDSA", "ed")] {
        let token = Token::parse(&signed(algorithm, kid, &sgx())).unwrap();
        assert_eq!(trust(ISSUER).verify(token, NOW).unwrap_err().code(), "token-algorithm");
    }
    for algorithm in ["HS256", "none"] {
        assert!(Token::parse(&signed(algorithm, KID, &sgx())).is_err());
    }
    let unsigned = crate::fixture::unsigned(&json!({ "alg": "RS256" }), &sgx());
    let signature = crate::fixture::sign("RS256", unsigned.as_bytes());
    let token = Token::parse(&crate::fixture::with_signature(&unsigned, &signature)).unwrap();
    let only = MaaTrust { issuer: ISSUER.to_owned(), keys: keys(&[rsa_jwk(KID)]) };
    assert_eq!(only.verify(token, NOW).unwrap_err().code(), "maa-no-key-id");
}

#[test]
fn other_kinds_and_incomplete_claims_are_refused() {
    for kind in [json!("azurevm"), json!("tpm"), json!("openenclave"), json!("SGX"), json!(1), Value::Null] {
        let claims = with(sgx(), "x-ms-attestation-type", kind.clone());
        assert_eq!(verify(&claims).unwrap_err().code(), "maa-kind", "{kind}");
    }
    for (claims, optional) in
        [(sgx(), &["x-ms-sgx-config-id", "x-ms-sgx-config-svn"][..]), (tdx(), &["attester_advisory_ids"])]
    {
        let names: Vec<String> = claims.as_object().unwrap().keys().cloned().collect();
        let ours = names.iter().filter(|name| name.contains('_') || name.starts_with("x-ms-sgx"));
        for name in ours.filter(|name| !optional.contains(&name.as_str())) {
            assert_eq!(verify(&without(claims.clone(), name)).unwrap_err().code(), "maa-claim", "{name}");
            for wrong in [Value::Null, json!("zz"), json!("00"), json!(-1), json!(1u64 << 40), json!([])] {
                let code = verify(&with(claims.clone(), name, wrong.clone())).unwrap_err().code();
                assert_eq!(code, "maa-claim", "{name}: {wrong}");
            }
        }
    }
}

#[tokio::test]
async fn a_verifier_takes_tokens_of_the_services_that_it_trusts() {
    let clock = Arc::new(FixedClock::new(NOW));
    let verifier = |roots| Verifier::new(roots, Arc::new(Nothing), clock.clone());
    let evidence = |claims: &Value| Evidence::azure_token(signed("RS256", KID, claims));
    let trusting = verifier(TrustRoot::azure(ISSUER, pinned()));
    // A root for each key.
    assert_eq!(trusting.roots().count(), 3);
    let claims = trusting.verify(&evidence(&sgx())).await.unwrap();
    assert_eq!(claims.vendor, Vendor::Azure);
    assert!(trusting.roots().any(|root| root.root_key_id() == claims.root_key_id));
    let session = ReportData([5; 64]);
    assert_eq!(claims.report_data_of(session), report_data_of_token(&session.0));
    for (roots, code) in [
        (Vec::new(), "nothing-trusted-yet"),
        (vec![TrustRoot::intel()], "maa-service-not-trusted"),
        (TrustRoot::azure("https://other.example.com", pinned()), "maa-service-not-trusted"),
        (TrustRoot::azure(ISSUER, keys(&[rsa_jwk("another")])), "token-key-unknown"),
    ] {
        assert_eq!(verifier(roots).verify(&evidence(&sgx())).await.unwrap_err().code(), code);
    }
    // It has no collateral, and none fits it.
    assert_eq!(trusting.request(&evidence(&sgx())).unwrap_err().code(), "evidence-unsupported");
    clock.set(UnixSeconds(NOW.0 + 3600));
    assert_eq!(trusting.verify(&evidence(&sgx())).await.unwrap_err().code(), "token-expired");
}
