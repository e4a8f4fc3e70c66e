//! Results as JSON (`--json`): whatever a command prints on standard output is JSON.

use std::fs;

use adytum_testkit::directory::Directory;
#[cfg(feature = "simulation")]
use adytum_testkit::manifest::secret_table;
use serde_json::Value;

use crate::fixture::adytum;
#[cfg(feature = "simulation")]
use crate::{
    fixture::{Fixture, succeeds},
    made_secrets::CERTIFICATE,
    provisioning::provisioning,
};

/// All that a command printed, which must be JSON.
pub(crate) fn objects(command: &str, stdout: &str) -> Vec<Value> {
    let all = serde_json::Deserializer::from_str(stdout).into_iter::<Value>();
    let all =
        all.collect::<Result<Vec<_>, _>>().unwrap_or_else(|fault| panic!("{command}: {fault}: {stdout}"));
    assert!(all.iter().all(|value| value.is_object() || value.is_array()), "{command}: {stdout}");
    assert!(!all.is_empty(), "{command}");
    all
}

#[test]
fn results_are_json_where_it_is_asked_for() {
    let directory = Directory::new();
    let path = |name: &str| directory.path(name);
    let (key, genesis, model) = (path("a.pem"), path("genesis.toml"), path("model.key"));
    let (crt, ssl, man) = (path("server.crt"), path("ssl.cfg"), path("man"));
    for words in [
        &["owner", "new", "--out", &key][..],
        &["owner", "show", &key],
        &["genesis", "new", "--owner", &key, "--out", &genesis],
        &["genesis", "show", &genesis],
        &["genesis", "show", &genesis, "--digest"],
        &["model-key", "new", "--out", &model],
        &["model-key", "show", &model],
        &["ssl-config", "new", "--crt", &crt, "--out", &ssl],
        &["man", &man],
        &["explain", "overloaded"],
        &["context", "list"],
        &["doctor", "--port", "0"],
    ] {
        let outcome = adytum([words, &["--json"]].concat());
        let stdout = outcome.succeeded();
        assert!(serde_json::from_str::<Value>(&stdout).is_ok(), "{words:?}: {stdout}");
    }
}

/// An owner's directory, step by step, and drafts: each line is an object.
#[cfg(feature = "simulation")]
#[test]
fn steps_and_drafts_are_json_where_it_is_asked_for() {
    let directory = Directory::new();
    let path = |name: &str| directory.path(name);
    let programs = path("programs");
    fs::create_dir(&programs).unwrap();
    for name in ["adytum-broker", "adytum-serving"] {
        directory.write(&format!("programs/{name}"), name);
    }
    let digits = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/digits/model.onnx");
    let (owner, simulated, hardware) = (path("owner"), path("simulated"), path("hardware"));
    let (broker, root) = (format!("{programs}/adytum-broker"), path("simulated/private/platform/root.pem"));
    let draft = path("policy.toml");
    let printed = |words: &[&str]| {
        let stdout = adytum([words, &["--json"]].concat()).succeeded();
        let lines: Vec<Value> = stdout.lines().flat_map(|line| objects(&words.join(" "), line)).collect();
        lines
    };
    let printed_whole =
        |words: &[&str]| objects(&words.join(" "), &adytum([words, &["--json"]].concat()).succeeded());
    for place in [&owner, &simulated, &hardware] {
        let made = printed(&["deployment", "new", "--owner-directory", place, "--model", digits]);
        assert_eq!(made[0]["hosts"][0], "localhost", "{made:?}");
        assert_eq!((made.len(), made[0]["models"][0].is_string()), (1, true), "{made:?}");
    }
    let built = printed(&[
        "deployment",
        "build",
        "--owner-directory",
        &simulated,
        "--programs",
        &programs,
        "--simulate",
    ]);
    let field = |lines: &[Value], name: &str| lines.iter().find_map(|line| line.get(name).cloned());
    assert_eq!(field(&built, "manifest_version"), Some(1.into()), "{built:?}");
    for name in ["owner_directory", "genesis", "model", "broker", "workload", "identity", "helm_values"] {
        assert!(field(&built, name).is_some_and(|value| value.is_string()), "{name}: {built:?}");
    }
    let hardware_policy = directory.write("hardware.toml", adytum_testkit::manifest::enclave_policy(0x1f));
    let policy = ["workload", "policy", "--broker-program", &broker, "--trust-simulation", &root];
    let shown = printed(&policy);
    assert!(shown[0]["text"].as_str().unwrap().contains("identity"), "{shown:?}");
    let written = printed(&[&policy[..], &["--out", &draft]].concat());
    assert_eq!(written[0]["file"], draft.as_str());
    let at = ["--owner-directory", &simulated];
    let status = printed_whole(&[&["deployment", "status"], &at[..]].concat());
    assert_eq!(status.len(), 1, "{status:?}");
    let release = [&["model", "release", digits, "--model", "digits"], &at[..]].concat();
    assert!(field(&printed(&release), "done").is_some());
    assert!(printed_whole(&[&["model", "list"], &at[..]].concat())[0].is_array());
    let retire = [&["model", "retire", "--model", "digits", "--below", "1"], &at[..]].concat();
    assert!(field(&printed(&retire), "done").is_some());
    let (measured, serving) = (path("simulated/public/workload.toml"), format!("{programs}/adytum-serving"));
    let workload = ["workload", "new", "--workload", "one", "--program", &serving];
    let workload = [&workload[..], &["--configuration", &measured, "--trust-simulation", &root]];
    assert!(field(&printed(&workload.concat()), "text").is_some());
    // Neither a broker nor a workload is identified yet; then the broker alone.
    let build = ["deployment", "build", "--owner-directory", &hardware, "--programs", &programs];
    let built = printed(&build);
    assert_eq!(field(&built, "broker"), Some(Value::Null), "{built:?}");
    let built = printed(&[&build[..], &["--broker-policy", &hardware_policy]].concat());
    assert_eq!(field(&built, "manifest_version"), Some(Value::Null), "{built:?}");
}

/// A bundle, sealed and unsealed.
#[test]
fn a_bundle_is_json_where_it_is_asked_for() {
    let directory = Directory::new();
    let path = |name: &str| directory.path(name);
    let (key, identity, out) = (path("a.pem"), path("model.key"), path("out"));
    adytum(["owner", "new", "--out", &key]).succeeded();
    let recipient = adytum(["model-key", "new", "--out", &identity]).succeeded();
    let recipient = recipient.split_whitespace().find(|word| word.starts_with("age1")).unwrap().to_owned();
    fs::create_dir(path("tree")).unwrap();
    directory.write("tree/a.txt", "a");
    let bundle = path("code.age");
    let seal = ["seal", &path("tree"), "--bundle", "code", "--version", "1", "--owner", &key];
    let seal = [&seal[..], &["--recipient", &recipient, "--out", &bundle, "--json"]].concat();
    serde_json::from_str::<Value>(&adytum(seal).succeeded()).unwrap();
    let unseal = ["unseal", &bundle, "--identity", &identity, "--signer", &key, "--out", &out, "--json"];
    let unsealed: Value = serde_json::from_str(&adytum(unseal).succeeded()).unwrap();
    assert_eq!((&unsealed["name"], &unsealed["path"]), (&"code".into(), &out.into()), "{unsealed}");
    assert!(unsealed["entries"].is_u64(), "{unsealed}");
}

/// Whatever a broker is asked, one after the other.
#[cfg(feature = "simulation")]
#[tokio::test(flavor = "multi_thread")]
async fn what_a_broker_is_asked_is_json_where_it_is_asked_for() {
    let fixture = Fixture::new(1, 1).await;
    let path = |name: &str| fixture.path(name);
    let owner = path("owner0.pem");
    let random = secret_table("seed", "random", &["digits"]);
    let manifest = |version| format!("{}\n{random}\n{CERTIFICATE}", fixture.manifest(version));
    let (first, second) =
        (fixture.write("first.toml", manifest(1)), fixture.write("second.toml", manifest(2)));
    let ssl = fixture.write("ssl.cfg", "server_key: \"x\"\n");
    let (ca, got, log) = (path("ca.pem"), path("got.toml"), path("log.jsonl"));
    let asked = |words: &[&str]| {
        let words = [words, &["--json"]].concat();
        objects(&words.join(" "), &succeeds(fixture.pinned(&words)));
    };
    asked(&["broker", "verify"]);
    asked(&["broker", "status"]);
    for words in [
        &["manifest", "history"][..],
        &["manifest", "apply", &first],
        &["manifest", "diff", &second],
        &["manifest", "apply", &second],
        &["manifest", "history"],
        &["manifest", "get"],
        &["manifest", "get", "--out", &got],
        &["secret", "put", "ssl_config", "--from-file", &ssl],
        &["secret", "rotate", "seed"],
        &["secret", "list"],
        &["secret", "rm", "ssl_config"],
        &["broker", "rotate-ca"],
        &["broker", "forecast"],
        &["audit", "tail"],
        &["audit", "export", "--out", &log],
    ] {
        asked(&[words, &["--owner", &owner]].concat());
    }
    asked(&["broker", "ca"]);
    asked(&["broker", "ca", "--out", &ca]);
    asked(&["broker", "status"]);
    objects("audit verify", &succeeds(["audit", "verify", &log, "--json"]));

    let fixture = Fixture::new(1, 1).await;
    let mut provision = provisioning(&fixture);
    let key = fixture.path("owner/private/secrets/model_key");
    succeeds(["model-key", "new", "--out", &key]);
    provision.extend(["--heads".into(), fixture.path("heads.json"), "--json".into()]);
    objects("provision", &succeeds(provision));
}

/// An error that does not end a command is said, also to those who want to read nothing else.
#[cfg(feature = "object-stores")]
#[test]
fn a_watch_says_what_fails_also_where_silence_was_asked_for() {
    use std::{
        io::{BufRead as _, BufReader},
        process::{Command, Stdio},
    };

    let directory = Directory::new();
    let missing = format!("file://{}", directory.path("missing"));
    for style in ["--quiet", "--json"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_adytum"));
        command.args(["model", "pull", "--watch", style, &missing, &directory.path("models")]);
        let mut pull = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(pull.stderr.take().unwrap()).read_line(&mut line).unwrap();
        pull.kill().unwrap();
        pull.wait().unwrap();
        assert!(line.contains("missing"), "{style}: {line}");
        if style == "--json" {
            let value: Value = serde_json::from_str(&line).unwrap();
            assert!(value["code"].as_str().unwrap().starts_with("pull-"), "{line}");
        }
    }
}
