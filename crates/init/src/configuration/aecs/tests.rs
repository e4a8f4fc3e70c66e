use super::*;
use crate::{
    configuration::PinnedAecsServer,
    fixture::{DIGEST, GENESIS},
};

const MR_ENCLAVE: &str = "4444444444444444444444444444444444444444444444444444444444444444";

/// Occlum's template, with the measurement of a server.
fn file(measurement: &str) -> String {
    let fields = [
        "ias_url",
        "ias_spid",
        "ias_apk_key",
        "dcap_lib_path",
        "dcap_pccs_url",
        "uas_url",
        "uas_app_key",
        "uas_app_secret",
        "policy_str_tee_platform",
        "policy_hex_platform_hw_version",
        "policy_hex_platform_sw_version",
        "policy_hex_secure_flags",
        "policy_hex_platform_measurement",
        "policy_hex_boot_measurement",
        "policy_str_tee_identity",
        "policy_hex_ta_measurement",
        "policy_hex_ta_dyn_measurement",
        "policy_hex_signer",
        "policy_hex_prod_id",
        "policy_str_min_isvsvn",
        "policy_hex_user_data",
        "policy_bool_debug_disabled",
        "policy_hex_hash_or_pem_pubkey",
        "policy_hex_nonce",
        "policy_hex_spid",
    ];
    let value = |field: &str| if field == "policy_hex_ta_measurement" { measurement } else { "" };
    let rules: Vec<String> =
        fields.iter().map(|field| format!("\"ua_{field}\": \"{}\"", value(field))).collect();
    format!(
        r#"{{"kms_server": "localhost:19527",
            "kms_keys": [{{"key": "demo_key", "path": "/etc/demo_key", "service": "service"}}],
            "ua_env_pccs_url": "https://pccs.example:8081/sgx/certification/v3/",
            "ra_config": {{{}}}}}"#,
        rules.join(",")
    )
}

fn read(text: &str) -> Result<MeasuredConfiguration, ConfigurationError> {
    MeasuredConfiguration::parse_occlum(text)
}

fn with(text: &str, from: &str, to: &str) -> String {
    let changed = text.replace(from, to);
    assert_ne!(changed, text, "{from}");
    changed
}

fn added(text: &str, addition: &str) -> String {
    with(text, "\"kms_server\"", &format!("\"adytum\": {{{addition}}}, \"kms_server\""))
}

fn said(field: &str, value: &str) -> String {
    with(
        &file(MR_ENCLAVE),
        &format!("\"ua_policy_{field}\": \"\""),
        &format!("\"ua_policy_{field}\": \"{value}\""),
    )
}

fn report(configuration: &MeasuredConfiguration) -> &PinnedAecsReport {
    match configuration.source() {
        PinnedSource::Aecs(PinnedAecs { server: PinnedAecsServer::Verified(report), .. }) => report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn occlums_file_names_the_server_that_is_believed() {
    let read = read(&file(MR_ENCLAVE)).unwrap();
    assert_eq!(read.source_address(), Some("localhost:19527"));
    assert_eq!(read.collateral_place(), Some("https://pccs.example:8081/sgx/certification/v3/"));
    let policy = &report(&read).policy;
    assert_eq!(policy.mr_enclave, BTreeSet::from([MR_ENCLAVE.parse().unwrap()]));
    assert_eq!(policy.vendors, BTreeSet::from([Vendor::Intel]));
    assert!(!policy.allow_debug && !policy.allow_any_program);
    let PinnedSource::Aecs(aecs) = read.source() else { panic!() };
    assert_eq!(aecs.names["demo_key"].to_string(), "service/demo_key");
    assert!(read.broker().is_none());
    // Addresses are the host's to choose; the server is not.
    let moved = with(&with(&file(MR_ENCLAVE), "localhost", "elsewhere"), "pccs.example", "another.example");
    assert_eq!(super::parse(&moved).unwrap().digest(), read.digest());
    assert_ne!(super::parse(&file(DIGEST)).unwrap().digest(), read.digest());
}

#[test]
fn a_file_that_says_nothing_of_the_server_is_refused() {
    let empty = file("");
    assert_eq!(read(&empty).unwrap_err().code(), "configuration-aecs-unverified");
    let anyone = read(&added(&empty, "\"allow_unverified_aecs\": true")).unwrap();
    let PinnedSource::Aecs(aecs) = anyone.source() else { panic!() };
    assert_eq!(aecs.server, PinnedAecsServer::Anyone);
    assert!(anyone.source().policies().is_empty());
    let both = added(&file(MR_ENCLAVE), "\"allow_unverified_aecs\": true");
    assert_eq!(read(&both).unwrap_err().code(), "configuration-invalid");
}

#[test]
fn every_field_of_the_policy_counts_or_is_refused() {
    let policy = |field, value| report(&read(&said(field, value)).unwrap()).clone();
    assert_eq!(policy("hex_signer", GENESIS).policy.mr_signer.len(), 1);
    assert_eq!(policy("hex_prod_id", "12").policy.isv_prod_id, Some(12));
    assert_eq!(policy("str_min_isvsvn", "3").policy.minimum_isv_svn, Some(3));
    assert_eq!(policy("hex_user_data", "00ff").user_data, [0, 0xff]);
    assert_eq!(policy("hex_hash_or_pem_pubkey", GENESIS).public_key, Some(GENESIS.parse().unwrap()));
    let pem = r"-----BEGIN RSA PUBLIC KEY-----\nAAAA\n-----END RSA PUBLIC KEY-----\n";
    let digest = Sha256Digest::of_bytes(pem.replace("\\n", "\n").as_bytes());
    assert_eq!(policy("hex_hash_or_pem_pubkey", pem).public_key, Some(digest));
    for (field, value) in [("str_tee_platform", "SGX_DCAP"), ("bool_debug_disabled", "1")] {
        assert_eq!(policy(field, value), *report(&read(&file(MR_ENCLAVE)).unwrap()), "{field}");
    }
    for (field, value) in [
        ("str_tee_platform", "HyperEnclave"),
        ("bool_debug_disabled", "0"),
        ("bool_debug_disabled", "false"),
        ("bool_debug_disabled", "yes"),
        ("hex_prod_id", "0x1"),
        ("hex_prod_id", "65536"),
        ("hex_signer", "12"),
        ("hex_user_data", "xy"),
        ("hex_hash_or_pem_pubkey", "12"),
        ("hex_nonce", "00"),
        ("hex_spid", "00"),
        ("hex_platform_sw_version", "1"),
        ("str_tee_identity", "1"),
    ] {
        let error = read(&said(field, value)).unwrap_err();
        assert_eq!(error.code(), "configuration-aecs-rules", "{field} {value}");
        assert!(error.to_string().contains(field), "{error}");
    }
    assert_eq!(read(&said("hex_user_data", &"00".repeat(33))).unwrap_err().code(), "configuration-invalid");
}

#[test]
fn a_signer_alone_pins_no_code() {
    let signer =
        with(&file(""), "\"ua_policy_hex_signer\": \"\"", &format!("\"ua_policy_hex_signer\": \"{DIGEST}\""));
    assert_eq!(read(&signer).unwrap_err().code(), "configuration-aecs-rules");
    let by_name = read(&added(&signer, "\"allow_any_program\": true")).unwrap();
    assert!(report(&by_name).policy.allow_any_program);
    // Without a signer it says nothing.
    let svn = with(&file(""), "\"ua_policy_str_min_isvsvn\": \"\"", "\"ua_policy_str_min_isvsvn\": \"1\"");
    let any = added(&svn, "\"allow_any_program\": true");
    assert_eq!(read(&any).unwrap_err().code(), "configuration-aecs-rules");
}

#[test]
fn the_key_of_an_image_is_at_the_service_that_occlums_init_asks() {
    let key = with(&file(MR_ENCLAVE), "\"demo_key\"", "\"image_key\"");
    let read = read(&key).unwrap();
    let PinnedSource::Aecs(aecs) = read.source() else { panic!() };
    assert_eq!(aecs.names["image_key"].to_string(), "service1/image_key");
}

#[test]
fn there_is_one_source() {
    let toml =
        |tables: &str| MeasuredConfiguration::parse(&format!("format = \"adytum workload v1\"\n{tables}"));
    let policy = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\"]\n");
    let aecs = format!("[aecs.policy]\n{policy}");
    let broker = format!("[broker]\ngenesis = \"{GENESIS}\"\n[broker.policy]\n{policy}");
    assert_eq!(toml("").unwrap_err().code(), "configuration-sources");
    assert_eq!(toml(&format!("{aecs}{broker}")).unwrap_err().code(), "configuration-sources");
    assert_eq!(toml("[aecs]\n").unwrap_err().code(), "configuration-aecs-unverified");
    assert!(toml("[aecs]\nallow_unverified_aecs = true\n").is_ok());

    let secret = "[[secret]]\nname = \"key\"\nlocation = \"service/key\"\nencoding = \"base64\"\n";
    let read = toml(&format!("{aecs}{secret}")).unwrap();
    let PinnedSource::Aecs(pinned) = read.source() else { panic!() };
    assert_eq!(pinned.names["key"].to_string(), "service/key");
    assert_eq!(toml(&format!("{broker}{secret}")).unwrap_err().code(), "configuration-invalid");
    let wrong = secret.replace("service/key", "a/b/c");
    assert_eq!(toml(&format!("{aecs}{wrong}")).unwrap_err().code(), "configuration-invalid");
    // Another place is another workload.
    let other = toml(&format!("{aecs}{}", secret.replace("service/key", "service/other"))).unwrap();
    assert_ne!(other.digest(), read.digest());
}

#[test]
fn rules_for_models_are_where_the_source_has_none() {
    let toml =
        |tables: &str| MeasuredConfiguration::parse(&format!("format = \"adytum workload v1\"\n{tables}"));
    let policy = format!("vendors = [\"intel\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{DIGEST}\"]\n");
    let aecs = format!("[aecs.policy]\n{policy}");
    let broker = format!("[broker]\ngenesis = \"{GENESIS}\"\n[broker.policy]\n{policy}");
    let digests = format!("[[model]]\nname = \"digits\"\ndigests = [\"{DIGEST}\"]\n");
    assert_eq!(toml(&aecs).unwrap().require_model_rules().unwrap_err().code(), "model-rules-missing");
    assert!(toml(&broker).unwrap().require_model_rules().is_ok());
    let read = toml(&format!("{aecs}{digests}")).unwrap();
    assert!(read.require_model_rules().is_ok());
    assert_eq!(read.models().count(), 1);
    let signed = format!("[[model]]\nname = \"digits\"\nsigners = [\"{}\"]\n", signer());
    assert!(toml(&format!("{aecs}{signed}minimum_version = 3\n")).is_ok());
    for wrong in [
        format!("{broker}{digests}"),
        format!("{aecs}{digests}{digests}"),
        format!("{aecs}[[model]]\nname = \"digits\"\n"),
        format!("{aecs}{signed}"),
        format!("{aecs}{digests}minimum_version = 3\n"),
    ] {
        assert_eq!(toml(&wrong).unwrap_err().code(), "configuration-invalid", "{wrong}");
    }
}

fn signer() -> String {
    adytum_signing::OwnerSigningKey::generate().unwrap().public_key().to_string()
}
