use adytum_evidence::{
    claims::{Measured, TcbStatus},
    measurement::{MrEnclave, MrSigner, RootKeyId},
};
use adytum_testkit::claims as claims_of;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

const ENCLAVE: &str = "aa";
const SIGNER: &str = "bb";

fn configuration(change: impl FnOnce(&mut Value)) -> String {
    let mut value = json!({
        "verify_mr_enclave": "on",
        "verify_mr_signer": "on",
        "verify_isv_prod_id": "off",
        "verify_isv_svn": "off",
        "verify_config_svn": "off",
        "verify_enclave_debuggable": "on",
        "sgx_mrs": [{
            "mr_enclave": ENCLAVE.repeat(32), "mr_signer": SIGNER.repeat(32),
            "isv_prod_id": 1, "isv_svn": 2, "config_svn": 3, "debuggable": false
        }]
    });
    change(&mut value);
    value.to_string()
}

fn parse(
    configuration: &str,
    secrets: &str,
    accepted: &Accepted,
) -> Result<OcclumConfiguration, OcclumError> {
    OcclumConfiguration::parse(configuration, secrets, accepted, vec![TrustRoot::intel()])
}

fn code(configuration: &str) -> &'static str {
    parse(configuration, "{}", &Accepted::default()).unwrap_err().code()
}

fn name(text: &str) -> WorkloadName {
    text.parse().unwrap()
}

fn claims() -> Claims {
    claims_of::of(Measured::Sgx {
        mr_enclave: MrEnclave([0xaa; 32]),
        mr_signer: MrSigner([0xbb; 32]),
        isv_prod_id: 1,
        isv_svn: 2,
        config_svn: 3,
        enclave: Default::default(),
    })
}

#[test]
fn every_on_field_is_compared_by_equality_and_off_fields_are_not() {
    for (switch, field) in [
        ("verify_mr_enclave", "mr_enclave"),
        ("verify_mr_signer", "mr_signer"),
        ("verify_isv_prod_id", "isv_prod_id"),
        ("verify_isv_svn", "isv_svn"),
        ("verify_config_svn", "config_svn"),
    ] {
        let text = |state| {
            configuration(|value| {
                value[switch] = json!(state);
                value["sgx_mrs"][0][field] =
                    if field.starts_with("mr_") { json!("cc".repeat(32)) } else { json!(0) };
            })
        };
        let accepted = |on: bool| Accepted {
            signer_only: (!on && field == "mr_enclave").then(|| name("occlum-1")).into_iter().collect(),
            ..Accepted::default()
        };
        let occlum = parse(&text("on"), "{}", &accepted(true)).unwrap();
        let failures = occlum.workloads[&name("occlum-1")].failures(&claims());
        assert_eq!(failures.iter().map(|failure| failure.rule.as_str()).collect::<Vec<_>>(), [field]);
        let occlum = parse(&text("off"), "{}", &accepted(false)).unwrap();
        assert_eq!(occlum.matching(&claims()).count(), 1, "{field} off");
    }
}

#[test]
fn a_higher_svn_is_not_equal() {
    let text = configuration(|value| {
        value["verify_isv_svn"] = json!("on");
        value["sgx_mrs"][0]["isv_svn"] = json!(1);
    });
    assert_eq!(parse(&text, "{}", &Accepted::default()).unwrap().matching(&claims()).count(), 0);
}

#[test]
fn any_entry_that_matches_passes() {
    let text = configuration(|value| {
        let mut other = value["sgx_mrs"][0].clone();
        other["mr_enclave"] = json!("cc".repeat(32));
        value["sgx_mrs"].as_array_mut().unwrap().insert(0, other);
    });
    let occlum = parse(&text, "{}", &Accepted::default()).unwrap();
    assert_eq!(occlum.matching(&claims()).collect::<Vec<_>>(), [&name("occlum-2")]);
}

#[test]
fn debug_enclaves_and_platforms_out_of_date_do_not_pass() {
    let occlum = parse(&configuration(|_| {}), "{}", &Accepted::default()).unwrap();
    assert_eq!(occlum.matching(&claims()).count(), 1);
    assert_eq!(occlum.matching(&Claims { debug: true, ..claims() }).count(), 0);
    let outdated = Claims { tcb_status: Some(TcbStatus::OutOfDate), ..claims() };
    assert_eq!(occlum.matching(&outdated).count(), 0);
}

#[test]
fn entries_that_check_no_code_or_accept_debug_must_be_accepted_by_name() {
    let signer_only = configuration(|value| value["verify_mr_enclave"] = json!("off"));
    assert_eq!(code(&signer_only), "occlum-signer-only");
    let accepted = Accepted { signer_only: [name("occlum-1")].into(), ..Accepted::default() };
    assert!(parse(&signer_only, "{}", &accepted).is_ok());

    let debug = configuration(|value| value["sgx_mrs"][0]["debuggable"] = json!(true));
    let unchecked = configuration(|value| value["verify_enclave_debuggable"] = json!("off"));
    for text in [&debug, &unchecked] {
        assert_eq!(code(text), "occlum-debug");
        let accepted = Accepted { debug: [name("occlum-1")].into(), ..Accepted::default() };
        assert!(parse(text, "{}", &accepted).is_ok());
        // Accepting one weakness does not accept the other.
        let wrong = Accepted { signer_only: [name("occlum-1")].into(), ..Accepted::default() };
        assert_eq!(parse(text, "{}", &wrong).unwrap_err().code(), "occlum-debug");
    }
}

#[test]
fn no_flag_accepts_an_entry_that_anybody_passes() {
    let text = configuration(|value| {
        value["verify_mr_enclave"] = json!("off");
        value["verify_mr_signer"] = json!("off");
    });
    let all = Accepted { signer_only: [name("occlum-1")].into(), debug: [name("occlum-1")].into() };
    for accepted in [Accepted::default(), all] {
        assert_eq!(parse(&text, "{}", &accepted).unwrap_err().code(), "occlum-pins-nothing");
    }
}

#[test]
fn names_accepted_in_vain_are_errors() {
    for workload in ["occlum-1", "occlum-2"] {
        let accepted = Accepted { signer_only: [name(workload)].into(), ..Accepted::default() };
        let error = parse(&configuration(|_| {}), "{}", &accepted).unwrap_err();
        assert_eq!(error.code(), "occlum-accepted-in-vain");
    }
}

#[test]
fn older_files_without_the_newer_switches_are_read_strictly() {
    let text = configuration(|value| {
        let map = value.as_object_mut().unwrap();
        map.remove("verify_config_svn");
        map.remove("verify_enclave_debuggable");
    });
    let occlum = parse(&text, "{}", &Accepted::default()).unwrap();
    assert_eq!(occlum.matching(&Claims { debug: true, ..claims() }).count(), 0);
}

#[test]
fn malformed_files_say_where() {
    for (text, code_wanted) in [
        (String::new(), "occlum-syntax"),
        (configuration(|value| value["verify_mr_enclave"] = json!("yes")), "occlum-syntax"),
        (configuration(|value| value["verify_mrenclave"] = json!("on")), "occlum-syntax"),
        (configuration(|value| value["sgx_mrs"] = json!([])), "occlum-no-entry"),
        (configuration(|value| value["sgx_mrs"][0]["mr_enclave"] = json!("")), "occlum-value"),
        (configuration(|value| value["sgx_mrs"][0]["isv_svn"] = json!(70000)), "occlum-syntax"),
        (" ".repeat(MAXIMUM_LENGTH + 1), "occlum-too-long"),
        (
            configuration(|value| {
                let entry = value["sgx_mrs"][0].clone();
                value["sgx_mrs"] = Value::Array(vec![entry; MAXIMUM_ENTRIES + 1]);
            }),
            "occlum-too-many",
        ),
    ] {
        assert_eq!(code(&text), code_wanted);
    }
    let missing = configuration(|value| {
        value["verify_isv_svn"] = json!("on");
        value["sgx_mrs"][0].as_object_mut().unwrap().remove("isv_svn");
    });
    assert!(parse(&missing, "{}", &Accepted::default()).unwrap_err().to_string().contains("isv_svn"));
}

#[test]
fn secrets_are_base64_once_each_and_errors_do_not_quote_them() {
    let read = |secrets: &str| parse(&configuration(|_| {}), secrets, &Accepted::default());
    let occlum = read(r#"{"ssl_config": "c2VzYW1l", "image_key": "MTItMzQ=\n"}"#).unwrap();
    let value = occlum.secrets[&"ssl_config".parse::<SecretName>().unwrap()].value.clone().unwrap();
    assert_eq!(value.expose(), b"sesame");
    for secrets in [
        r#"{"ssl_config": "sesame!"}"#,
        r#"{"a": "c2VzYW1l", "a": "c2VzYW1l"}"#,
        r#"{"../a": "c2VzYW1l"}"#,
        r#"{"a": ""}"#,
        r#"{"a": 123456}"#,
        r#"{"a": "c2VzYW1l" "#,
        r#"["sesame!"]"#,
    ] {
        let error = read(secrets).unwrap_err().to_string();
        assert!(!error.contains("sesame") && !error.contains("c2Vz") && !error.contains("123456"), "{error}");
    }
}

#[test]
fn the_measured_digest_follows_configuration_roots_and_acceptance() {
    let base = parse(&configuration(|_| {}), "{}", &Accepted::default()).unwrap().digest();
    let other = configuration(|value| value["sgx_mrs"][0]["isv_svn"] = json!(9));
    assert_ne!(parse(&other, "{}", &Accepted::default()).unwrap().digest(), base);
    let rootless =
        OcclumConfiguration::parse(&configuration(|_| {}), "{}", &Accepted::default(), vec![]).unwrap();
    assert_ne!(rootless.digest(), base);
    let with_secret = parse(&configuration(|_| {}), r#"{"a": "YQ=="}"#, &Accepted::default()).unwrap();
    assert_eq!(with_secret.digest(), base, "a public measurement says nothing of secrets");
}

#[test]
fn a_tdx_guest_is_no_enclave() {
    let zero = adytum_evidence::measurement::TdxMeasurement([0; 48]);
    let measured = Measured::Tdx { mr_td: zero, mr_config_id: zero, rtmr: [zero; 4], td: Default::default() };
    let occlum = parse(&configuration(|_| {}), "{}", &Accepted::default()).unwrap();
    let claims = Claims { measured, root_key_id: RootKeyId([0; 48]), ..claims() };
    assert_eq!(occlum.matching(&claims).count(), 0);
}

proptest! {
    #[test]
    fn any_texts_are_read_or_refused(configuration in ".{0,300}", secrets in ".{0,300}") {
        let _ = parse(&configuration, &secrets, &Accepted::default());
    }

    #[test]
    fn any_change_is_read_or_refused(at in 0usize..600, with in any::<char>()) {
        let mut text: Vec<char> = configuration(|_| {}).chars().collect();
        let at = at % text.len();
        text[at] = with;
        let _ = parse(&text.into_iter().collect::<String>(), "{}", &Accepted::default());
    }
}
