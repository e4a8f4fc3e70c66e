use adytum_evidence::trust::Vendor;
use proptest::prelude::*;

use super::*;
use crate::fixture::{DIGEST, GENESIS, minimal, with_secrets};

fn full() -> String {
    format!(
        r#"
format = "adytum workload v1"
allow_plain_models = false

[program]
path = "/usr/bin/server"
sha256 = "{DIGEST}"
arguments = ["--port={{number}}", ["--log", "{{name}}"]]
required_arguments = ["--model_name={{name}}"]

[environment]
allow = ["TZ", "LANG"]
set = {{ OMP_NUM_THREADS = "1" }}

[[library]]
path = "/lib/libc.so.6"
sha256 = "{DIGEST}"

[[library]]
path = "/lib/ld.so"
sha256 = "{GENESIS}"

[broker]
genesis = "{GENESIS}"

[broker.policy]
vendors = ["intel"]
tee = ["sgx"]
mr_enclave = ["{DIGEST}"]

[[secret]]
name = "ssl_config"
path = "/run/adytum/tls.cfg"
user = 1000
reload_signal = "HUP"

[[secret]]
name = "model_key"

[storage]
tmpfs = ["/run/adytum"]
"#
    )
}

fn code(text: &str) -> &'static str {
    MeasuredConfiguration::parse(text).unwrap_err().code()
}

#[test]
fn everything_said_is_read() {
    let read = MeasuredConfiguration::parse(&full()).unwrap();
    assert_eq!(read.program().unwrap().path.as_str(), "/usr/bin/server");
    assert_eq!(read.arguments().required.len(), 1);
    assert_eq!(read.arguments().optional.len(), 2);
    assert_eq!(read.libraries().len(), 2);
    assert_eq!(read.broker().unwrap().genesis.to_string(), GENESIS);
    let secret = &read.secrets()["ssl_config"];
    assert_eq!(secret.owner, Owner { user: Some(1000), group: None });
    assert_eq!(secret.reload_signal, Some(ReloadSignal::Hup));
    assert_eq!(read.secrets()["model_key"].destination, SecretDestination::Memory);
    assert_eq!(read.secret_at(Path::new("/run/adytum/tls.cfg")).unwrap().as_str(), "ssl_config");
    assert_eq!(read.secret_at(Path::new("/etc/other")), None);
    assert!(!read.allow_plain_models());
}

/// The canonical form is a format: a changed byte is another identity of every
/// workload. If this fails, the format's name has to change.
#[test]
fn the_canonical_form_is_this_one() {
    let canonical = String::from_utf8(MeasuredConfiguration::parse(&full()).unwrap().canonical()).unwrap();
    let expected = concat!(
        r#"{"allow_plain_models":false,"#,
        r#""arguments":{"optional":[["--port={number}"],["--log","{name}"]],"required":[["--model_name={name}"]]},"#,
        r#""broker":{"genesis":"1111111111111111111111111111111111111111111111111111111111111111","#,
        r#""policies":[{"allow_debug":false,"#,
        r#""mr_enclave":["2222222222222222222222222222222222222222222222222222222222222222"],"#,
        r#""tcb_status":["UpToDate"],"tee":["sgx"],"vendors":["intel"]}],"simulation_root":null},"#,
        r#""environment":{"allow":["LANG","TZ"],"set":{"OMP_NUM_THREADS":"1"}},"#,
        r#""format":"adytum workload v1","#,
        r#""libraries":{"/lib/ld.so":"1111111111111111111111111111111111111111111111111111111111111111","#,
        r#""/lib/libc.so.6":"2222222222222222222222222222222222222222222222222222222222222222"},"#,
        r#""program":{"path":"/usr/bin/server","#,
        r#""sha256":"2222222222222222222222222222222222222222222222222222222222222222"},"#,
        r#""secrets":{"model_key":{"destination":"memory","owner":{"group":null,"user":null},"reload_signal":null},"#,
        r#""ssl_config":{"destination":"/run/adytum/tls.cfg","owner":{"group":null,"user":1000},"reload_signal":"HUP"}},"#,
        r#""storage":{"tmpfs":["/run/adytum"]}}"#,
    );
    assert_eq!(canonical, expected);
}

#[test]
fn spelling_does_not_matter() {
    let digest = |text: &str| MeasuredConfiguration::parse(text).unwrap().digest();
    let original = digest(&full());
    for (from, to) in [
        ("[storage]", "# a comment\n\n[storage]"),
        ("allow = [\"TZ\", \"LANG\"]", "allow = [\n  'LANG',\n  'TZ',\n]"),
        ("allow_plain_models = false\n", ""),
        ("name = \"model_key\"", "name = \"model_key\"\npath = \"memory\""),
        ("\"--port={number}\"", "[\"--port={number}\"]"),
        ("mr_enclave = [", "allow_debug = false\nmr_enclave = ["),
        ("tee = [\"sgx\"]", "tee = [\"sgx\"]\ntcb_status = [\"UpToDate\"]"),
    ] {
        let changed = full().replace(from, to);
        assert_ne!(changed, full(), "{from}");
        assert_eq!(digest(&changed), original, "{from} -> {to}");
    }
}

#[test]
fn meaning_matters() {
    let digest = |text: &str| MeasuredConfiguration::parse(text).unwrap().digest();
    let mut seen = BTreeSet::from([digest(&full())]);
    for (from, to) in [
        ("allow_plain_models = false", "allow_plain_models = true"),
        ("/usr/bin/server", "/usr/bin/other"),
        ("--port={number}", "--port=*"),
        ("--model_name={name}\"", "--model_name={name}\", \"x\""),
        ("[\"--port={number}\", [\"--log\", \"{name}\"]]", "[[\"--log\", \"{name}\"], \"--port={number}\"]"),
        ("[\"--log\", \"{name}\"]", "\"--log\", \"{name}\""),
        ("\"TZ\", ", ""),
        ("OMP_NUM_THREADS = \"1\"", "OMP_NUM_THREADS = \"2\""),
        ("/lib/libc.so.6", "/lib/libm.so.6"),
        ("genesis = \"1111", "genesis = \"1112"),
        ("mr_enclave = [\"2222", "mr_enclave = [\"2223"),
        ("tee = [\"sgx\"]", "tee = [\"sgx\"]\nallow_debug = true"),
        ("tls.cfg", "tls2.cfg"),
        ("user = 1000", "user = 1001"),
        ("user = 1000", "group = 1000"),
        ("HUP", "USR1"),
        ("name = \"model_key\"", "name = \"model_key\"\npath = \"fd:3\""),
        ("name = \"model_key\"", "name = \"model_key2\""),
        ("tmpfs = [\"/run/adytum\"]", "tmpfs = [\"/run\"]"),
    ] {
        let changed = full().replace(from, to);
        assert_ne!(changed, full(), "{from}");
        assert!(seen.insert(digest(&changed)), "{from} -> {to} is measured like another");
    }
}

#[test]
fn what_is_wrong_is_named() {
    assert_eq!(code(&full().replace("workload v1", "workload v2")), "configuration-format");
    for (from, to) in [
        ("allow_plain_models", "allow_plain_model"),
        ("required_arguments", "required"),
        ("reload_signal = \"HUP\"", "reload_signal = \"KILL\""),
        ("\"TZ\"", "\"LD_PRELOAD\""),
        ("--port={number}", "--port={nummer}"),
        ("format = \"adytum workload v1\"", ""),
        ("/run/adytum/tls.cfg", "/run/../tls.cfg"),
        ("name = \"model_key\"", "name = \"../model_key\""),
        (GENESIS, "11"),
        ("mr_enclave", "platforms"),
    ] {
        assert_eq!(code(&full().replace(from, to)), "configuration-malformed", "{from} -> {to}");
    }
    for (from, to) in [
        ("/lib/ld.so", "/lib/libc.so.6"),
        ("name = \"model_key\"", "name = \"ssl_config\""),
        ("name = \"model_key\"", "name = \"model_key\"\npath = \"/run/adytum/tls.cfg\""),
        ("name = \"model_key\"", "name = \"model_key\"\nuser = 1"),
        ("name = \"model_key\"", "name = \"model_key\"\npath = \"fd:3\"\nreload_signal = \"HUP\""),
        ("\"TZ\"", "\"OMP_NUM_THREADS\""),
        ("path = \"/usr/bin/server\"", ""),
        ("vendors = [\"intel\"]", "vendors = [\"simulation\"]"),
        ("[broker.policy]", "simulation_root = \"x\"\n[broker.policy]"),
    ] {
        assert_eq!(code(&full().replace(from, to)), "configuration-invalid", "{from} -> {to}");
    }
}

#[test]
fn more_secrets_than_a_broker_gives_are_refused() {
    let names: Vec<String> = (0..=MAXIMUM_SECRETS).map(|number| format!("s{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(with_secrets(&names[1..]).secrets().len(), MAXIMUM_SECRETS);
    let text = names.iter().map(|name| format!("[[secret]]\nname = \"{name}\"\n")).collect::<String>();
    assert_eq!(code(&format!("{}{text}", minimal())), "configuration-invalid");
}

fn with_bundles(bundles: &str) -> String {
    let secrets =
        "[[secret]]\nname = \"image_key\"\n[[secret]]\nname = \"tls\"\npath = \"/run/tls/key.pem\"\n";
    format!("{}{secrets}{bundles}", minimal())
}

fn bundle(name: &str, path: &str, rest: &str) -> String {
    format!("[[bundle]]\nname = \"{name}\"\nfile = \"/srv/{name}.bundle\"\npath = \"{path}\"\n{rest}\n")
}

#[test]
fn bundles_are_measured_but_for_where_the_host_put_them() {
    let text = with_bundles(&bundle("web", "/run/web", "user = 33\nmaximum_size = 1000"));
    let read = MeasuredConfiguration::parse(&text).unwrap();
    let rule = &read.bundles()["web"];
    assert_eq!((rule.file.as_str(), rule.path.as_str()), ("/srv/web.bundle", "/run/web"));
    assert_eq!((rule.secret.as_str(), rule.maximum_size), ("image_key", 1000));
    assert_eq!(rule.owner, Owner { user: Some(33), group: None });
    assert!(read.opens_bundle(&"image_key".parse().unwrap()) && !read.opens_bundle(&"tls".parse().unwrap()));
    assert!(read.is_in_bundle(Path::new("/run/web/bin/x")) && !read.is_in_bundle(Path::new("/run/webs")));
    let canonical = String::from_utf8(read.canonical()).unwrap();
    let expected = concat!(
        r#""bundles":{"web":{"maximum_size":1000,"owner":{"group":null,"user":33},"path":"/run/web","#,
        r#""secret":"image_key"}}"#
    );
    assert!(canonical.contains(expected), "{canonical}");
    let moved = text.replace("/srv/web.bundle", "/elsewhere");
    assert_eq!(MeasuredConfiguration::parse(&moved).unwrap().digest(), read.digest());
    for (from, to) in [
        ("/run/web", "/run/wab"),
        ("user = 33", "user = 34"),
        ("1000", "1001"),
        ("name = \"web\"", "name = \"wob\""),
        ("maximum_size", "secret = \"tls\"\nmaximum_size"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(MeasuredConfiguration::parse(&changed).unwrap().digest(), read.digest(), "{from} -> {to}");
    }
}

#[test]
fn bundles_that_contradict_something_are_named() {
    for bundles in [
        bundle("web", "/", ""),
        bundle("web", "/run/web", "secret = \"other\""),
        bundle("web", "/run", ""),
        bundle("web", "/run/tls", ""),
        bundle("web", "/run/web", "") + &bundle("web", "/run/other", ""),
        bundle("web", "/run/web", "") + &bundle("mail", "/run/web", ""),
        bundle("web", "/run/web", "") + &bundle("mail", "/run/web/mail", ""),
        bundle("web", "/run/web/x", "") + &bundle("mail", "/run/web", ""),
        (0..=MAXIMUM_BUNDLES)
            .map(|number| bundle(&format!("b{number}"), &format!("/b/{number}"), ""))
            .collect(),
    ] {
        assert_eq!(code(&with_bundles(&bundles)), "configuration-invalid", "{bundles}");
    }
    for bundles in
        [bundle("web", "run/web", ""), bundle("web", "/run/../web", ""), bundle("web", "/a", "x = 1")]
    {
        assert_eq!(code(&with_bundles(&bundles)), "configuration-malformed", "{bundles}");
    }
}

/// As Occlum's init does it: the key of an image is fetched without a word
/// in `kms_keys`.
#[test]
fn occlums_file_names_bundles_and_fetches_image_key_for_them() {
    let bundles =
        r#""bundle": [{"name": "image", "file": "/image.bundle", "path": "/run/image"}], "genesis""#;
    let text = occlum().replace("\"genesis\"", bundles);
    let read = MeasuredConfiguration::parse_occlum(&text).unwrap();
    assert_eq!(read.bundles()["image"].secret.as_str(), "image_key");
    assert_eq!(read.secrets()["image_key"].destination, SecretDestination::Memory);
    assert_eq!(read.secrets().len(), 2);
}

const SGX_MR: &str = "3333333333333333333333333333333333333333333333333333333333333333";

fn occlum() -> String {
    format!(
        r#"{{
  "kms_server": "localhost:50051",
  "kms_keys": [{{"key": "ssl_config", "path": "/etc/tf_ssl.cfg"}}],
  "ra_config": {{
    "verify_mr_enclave": "on",
    "verify_mr_signer": "off",
    "verify_isv_prod_id": "off",
    "verify_isv_svn": "on",
    "verify_config_svn": "off",
    "verify_enclave_debuggable": "on",
    "sgx_mrs": [{{
      "mr_enclave": "{SGX_MR}", "mr_signer": "", "isv_prod_id": 0, "isv_svn": 2, "config_svn": 0,
      "debuggable": false
    }}]
  }},
  "adytum": {{"genesis": "{GENESIS}"}}
}}"#
    )
}

#[test]
fn occlums_file_becomes_a_measured_configuration() {
    let read = MeasuredConfiguration::parse_occlum(&occlum()).unwrap();
    assert_eq!(read.source_address(), Some("localhost:50051"));
    assert_eq!(read.secret_at(Path::new("/etc/tf_ssl.cfg")).unwrap().as_str(), "ssl_config");
    let policy = &read.broker().unwrap().policies[0];
    assert_eq!(policy.mr_enclave, BTreeSet::from([SGX_MR.parse().unwrap()]));
    assert_eq!(policy.vendors, BTreeSet::from([Vendor::Intel]));
    assert!(policy.mr_signer.is_empty() && !policy.allow_debug);
    assert_eq!(policy.minimum_isv_svn, Some(2));
    // The address is the host's to choose.
    let moved = occlum().replace("localhost:50051", "elsewhere:1");
    assert_eq!(MeasuredConfiguration::parse_occlum(&moved).unwrap().digest(), read.digest());
}

#[test]
fn occlums_file_must_pin_code_and_genesis() {
    let code = |from: &str, to: &str| {
        let changed = occlum().replace(from, to);
        assert_ne!(changed, occlum(), "{from}");
        MeasuredConfiguration::parse_occlum(&changed).unwrap_err().code()
    };
    let addition = format!(",\n  \"adytum\": {{\"genesis\": \"{GENESIS}\"}}");
    assert_eq!(code(&addition, ""), "configuration-genesis-missing");
    assert_eq!(code(&format!("\"genesis\": \"{GENESIS}\""), ""), "configuration-genesis-missing");
    for (from, to) in [
        ("\"verify_mr_enclave\": \"on\"", "\"verify_mr_enclave\": \"off\""),
        ("\"verify_config_svn\": \"off\"", "\"verify_config_svn\": \"on\""),
        ("\"debuggable\": false", "\"debuggable\": true"),
        (SGX_MR, ""),
        ("\"verify_mr_signer\": \"off\"", "\"verify_mr_signer\": \"on\""),
    ] {
        assert_eq!(code(from, to), "configuration-pins-nothing", "{from} -> {to}");
    }
    assert_eq!(code("verify_isv_svn", "verify_isv"), "configuration-malformed");
    assert_eq!(code("{\"genesis\"", "{\"allow_everything\": true, \"genesis\""), "configuration-malformed");
}

#[test]
fn several_entries_are_several_policies() {
    let entry = format!("{{\"mr_enclave\": \"{DIGEST}\"}}, {{\n      \"mr_enclave\"");
    let two = occlum().replace("{\n      \"mr_enclave\"", &entry);
    assert_eq!(MeasuredConfiguration::parse_occlum(&two).unwrap().broker().unwrap().policies.len(), 2);
}

#[test]
fn files_are_loaded_by_their_kind() {
    let directory = tempfile::tempdir().unwrap();
    let (toml, json) = (directory.path().join("w.toml"), directory.path().join("init_ra_conf.json"));
    std::fs::write(&toml, full()).unwrap();
    std::fs::write(&json, occlum()).unwrap();
    assert!(MeasuredConfiguration::load(&toml).unwrap().program().is_some());
    assert_eq!(MeasuredConfiguration::load(&json).unwrap().source_address(), Some("localhost:50051"));
    let missing = MeasuredConfiguration::load(&directory.path().join("none")).unwrap_err();
    assert_eq!(missing.code(), "configuration-unreadable");
    std::fs::write(&toml, "format = [").unwrap();
    let malformed = MeasuredConfiguration::load(&toml).unwrap_err();
    assert_eq!(malformed.code(), "configuration-malformed");
    assert!(malformed.to_string().starts_with(&toml.display().to_string()), "{malformed}");
    std::fs::write(&toml, "#".repeat(1024 * 1024 + 1)).unwrap();
    assert_eq!(MeasuredConfiguration::load(&toml).unwrap_err().code(), "configuration-too-long");
    assert_eq!(MeasuredConfiguration::path(Some(&toml)), toml);
}

/// A LibOS measures its image, and the host chooses the flags.
#[test]
fn on_a_libos_the_host_names_no_other_configuration() {
    let hosts = |platform, path: &str| {
        MeasuredConfiguration::path_on(platform, Some(Path::new(path))).map_err(|error| error.code())
    };
    for platform in [Platform::Gramine, Platform::Occlum] {
        for path in [
            "/host/workload.toml",
            "workload.toml",
            "/etc/adytum/../../host/workload.toml",
            "/etc/adytum/workload.toml/",
            "/proc/self/fd/5",
            "",
        ] {
            assert_eq!(hosts(platform, path), Err("configuration-not-in-image"), "{path}");
        }
        for path in [DEFAULT_PATH, DEFAULT_OCCLUM_PATH] {
            assert_eq!(hosts(platform, path), Ok(path.into()));
        }
        assert!(MeasuredConfiguration::path_on(platform, None).is_ok());
    }
    // Where the identity is measured with the configuration, any place will do.
    for platform in [Platform::ConfidentialVm, Platform::Simulation] {
        assert_eq!(hosts(platform, "/host/workload.toml"), Ok("/host/workload.toml".into()));
    }
}

#[test]
fn the_brokers_occlum_configuration_is_pinned_by_name() {
    let named = full().replace("[broker]\n", &format!("[broker]\nocclum_configuration = [\"{DIGEST}\"]\n"));
    assert_ne!(named, full());
    let (named, without) =
        (MeasuredConfiguration::parse(&named).unwrap(), MeasuredConfiguration::parse(&full()).unwrap());
    assert_eq!(named.broker().unwrap().occlum_configuration.len(), 1);
    assert!(without.broker().unwrap().occlum_configuration.is_empty());
    assert_ne!(named.digest(), without.digest(), "it is measured");
}

#[test]
fn measuring_is_what_the_workload_does_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("program"), "program").unwrap();
    std::fs::write(path("init"), "init").unwrap();
    let program = Sha256Digest::of_bytes(b"program");
    std::fs::write(path("w.toml"), full().replacen(DIGEST, &program.to_string(), 1)).unwrap();
    let measured = measure(&path("w.toml"), &path("init"), &path("program")).unwrap();
    let configuration = MeasuredConfiguration::load(&path("w.toml")).unwrap();
    assert_eq!(measured.identity, configuration.identity(Sha256Digest::of_bytes(b"init"), program));
    assert_eq!(measured.configuration, configuration.digest());
    std::fs::write(path("program"), "prograM").unwrap();
    assert_eq!(
        measure(&path("w.toml"), &path("init"), &path("program")).unwrap_err().code(),
        "program-mismatch"
    );
}

#[test]
fn a_file_to_measure_that_is_not_there_is_named_with_its_flag() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    std::fs::write(path("w.toml"), full()).unwrap();
    std::fs::write(path("program"), "program").unwrap();
    for (init, program, flag) in
        [("program", "away", "--program"), ("away", "away", "--program"), ("away", "program", "--init")]
    {
        let error = measure(&path("w.toml"), &path(init), &path(program)).unwrap_err();
        assert_eq!(error.code(), "program-unreadable");
        let text = error.to_string();
        assert!(text.contains("away") && text.ends_with(&format!("with {flag}")), "{text}");
        assert!(!text.contains("--configuration"), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        let _ = MeasuredConfiguration::parse(&text);
        let _ = MeasuredConfiguration::parse_occlum(&text);
    }

    #[test]
    fn a_changed_file_is_read_or_refused(position in 0usize..1200, byte in 0u8..128) {
        for text in [full(), occlum()] {
            let mut bytes = text.into_bytes();
            let length = bytes.len();
            bytes[position % length] = byte;
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = MeasuredConfiguration::parse(&text);
                let _ = MeasuredConfiguration::parse_occlum(&text);
            }
        }
    }

    /// Two configurations are measured alike exactly if they are equal.
    #[test]
    fn canonical_forms_are_equal_exactly_if_meanings_are(
        left in configurations(), right in configurations(),
    ) {
        let read = |text: &str| MeasuredConfiguration::parse(text).unwrap();
        let (left, right) = (read(&left), read(&right));
        prop_assert_eq!(left == right, left.canonical() == right.canonical());
    }
}

/// Small choices, so that equal ones come up.
fn configurations() -> impl Strategy<Value = String> {
    let quoted = prop::sample::select(vec!["\"a\"", "\"a\\u0001\"", "\"\\\"\"", "\"ü\"", "'a'", "\"a \""]);
    let lists = prop::collection::vec(prop::sample::select(vec!["'x'", "['x']", "['x', 'y']", "'y'"]), 0..3);
    let names = prop::collection::vec(prop::sample::select(vec!["A", "B"]), 0..3);
    (quoted, lists, names, any::<bool>()).prop_map(|(value, list, names, plain)| {
        let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        format!(
            "allow_plain_models = {plain}\n{}\n[program]\narguments = [{}]\n[environment]\nallow = [{}]\nset.X = {value}\n",
            minimal(),
            list.join(","),
            names.join(","),
        )
    })
}
