//! The real binary against a broker on a simulated platform: it sends nothing
//! before the broker has proved that it is the one that is meant.

#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Output, Stdio},
    sync::Arc,
};

use adytum_broker::{
    Broker, BrokerConfiguration, ServerLimits, events::LoggedEvents, genesis::Genesis, serve, store::Store,
};
use adytum_evidence::{
    clock::SystemClock,
    measurement::{Sha256Digest, WorkloadIdentity},
};
use adytum_ratls::{claims::StateHead, heads::HeadMemory};
use adytum_sealed::signing::OwnerSigningKey;
use adytum_sim::{Platform, SimAttester};
use tokio::net::TcpListener;

const IDENTITY: WorkloadIdentity = WorkloadIdentity([0xb0; 32]);

/// A broker in this process, and what its owners know of it.
struct Stage {
    directory: tempfile::TempDir,
    address: String,
    genesis: Genesis,
}

impl Stage {
    /// With owners `owner0.pem`, `owner1.pem`, and so on.
    async fn new(owners: usize, threshold: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let platform = Platform::create(directory.path().join("platform")).unwrap();
        let keys = (0..owners).map(|number| {
            let key = OwnerSigningKey::generate().unwrap();
            let path = directory.path().join(format!("owner{number}.pem"));
            fs::write(path, key.to_pem().unwrap().as_bytes()).unwrap();
            key.public_key()
        });
        let genesis = Genesis::found(keys, threshold).unwrap();
        fs::write(directory.path().join("genesis.toml"), genesis.to_toml()).unwrap();
        let broker = Broker::start(BrokerConfiguration {
            genesis: genesis.clone(),
            attester: Arc::new(SimAttester::new(Arc::clone(&platform), IDENTITY)),
            collateral: Arc::new(platform.collateral_source()),
            clock: Arc::new(SystemClock),
            store: Store::in_memory(genesis.digest()).unwrap(),
            events: Arc::new(LoggedEvents::default()),
            reference: None,
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(serve(listener, broker, ServerLimits::default(), std::future::pending()));
        Self { directory, address, genesis }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The flags that find this broker and hold it to what it must be.
    fn pinned(&self, words: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = words.iter().map(ToString::to_string).collect();
        if words[0] != "broker" {
            arguments.extend(["--broker".into(), self.address.clone()]);
        }
        arguments.extend([
            "--genesis".into(),
            self.path("genesis.toml"),
            "--broker-measurement".into(),
            IDENTITY.to_string(),
            "--trust-simulation".into(),
            self.path("platform/root.pem"),
            "--heads".into(),
            self.path("heads.json"),
        ]);
        arguments
    }

    fn manifest(&self, version: u64) -> String {
        format!(
            r#"format = "adytum manifest v1"
genesis = "{}"
version = {version}

[trust]
vendors = ["simulation"]
simulation_roots = ["""
{}"""]

[[workload]]
name = "digits"
models = ["digits"]

[workload.policy]
vendors = ["simulation"]
tee = ["sgx"]
identity = ["{}"]

[[secret]]
name = "ssl_config"
kind = "opaque"
workloads = ["digits"]

[[secret]]
name = "model_key"
kind = "age-identity"
workloads = ["digits"]

[[model]]
name = "digits"
digests = ["{}"]
"#,
            self.genesis.digest(),
            fs::read_to_string(self.path("platform/root.pem")).unwrap(),
            "1f".repeat(32),
            "2e".repeat(32),
        )
    }
}

fn command(arguments: Vec<String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum"));
    command.args(arguments);
    for variable in ["PCCS_URL", "ADYTUM_BROKER", "ADYTUM_HEADS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

async fn adytum(arguments: Vec<String>, input: &'static str) -> Output {
    run(command(arguments), input).await
}

/// Runs the binary beside the broker's tasks.
async fn run(mut command: Command, input: &'static str) -> Output {
    tokio::task::spawn_blocking(move || {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

async fn succeeds_with(arguments: Vec<String>, input: &'static str) -> String {
    let output = adytum(arguments, input).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

async fn succeeds(arguments: Vec<String>) -> String {
    succeeds_with(arguments, "").await
}

async fn fails(arguments: Vec<String>) -> String {
    let output = adytum(arguments, "").await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.trim_end().lines().filter(|line| !line.contains("warning")).count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// With another value for one flag.
fn with(mut arguments: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments[position + 1] = value.to_owned();
    arguments
}

fn without(mut arguments: Vec<String>, flag: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments.drain(position..position + 2);
    arguments
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_that_is_meant_verifies() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);
    let said = succeeds(verify.clone()).await;
    assert!(said.contains("is the broker that is meant"), "{said}");
    assert!(said.contains(&stage.genesis.digest().to_string()) && said.contains(&"b0".repeat(32)), "{said}");
    assert!(said.contains("simulated and protects nothing"), "{said}");

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = stage.write("policy.toml", &policy);
    let mut by_policy = without(verify.clone(), "--broker-measurement");
    by_policy.extend(["--policy".into(), policy, "--json".into()]);
    let json = succeeds(by_policy).await;
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(parsed["broker"]["genesis"], stage.genesis.digest().to_string());
    assert_eq!(parsed["claims"]["vendor"], "simulation");

    let mut by_directory = verify;
    by_directory.extend(["--collateral".into(), stage.path("platform/collateral")]);
    succeeds(by_directory).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_broker_is_refused() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);

    let message = fails(with(verify.clone(), "--broker-measurement", &"b1".repeat(32))).await;
    assert!(message.contains("policy-refused") && message.contains(&"b0".repeat(32)), "{message}");

    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    let other = stage.write("other.toml", &other.to_toml());
    let message = fails(with(verify.clone(), "--genesis", &other)).await;
    assert!(message.contains("genesis-mismatch"), "{message}");

    // Not trusted by name: neither by default, nor another platform's root.
    let mut untrusting = without(verify.clone(), "--trust-simulation");
    untrusting.extend(["--collateral".into(), stage.path("platform/collateral")]);
    let message = fails(untrusting).await;
    assert!(message.contains("simulat") && message.contains("root"), "{message}");
    Platform::create(stage.path("elsewhere")).unwrap();
    fails(with(verify.clone(), "--trust-simulation", &stage.path("elsewhere/root.pem"))).await;

    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nmr_enclave = [\"{IDENTITY}\"]\n");
    let policy = stage.write("policy.toml", &policy);
    let mut untrusting = without(without(verify, "--trust-simulation"), "--broker-measurement");
    untrusting.extend(["--broker-policy".into(), policy]);
    assert!(fails(untrusting).await.contains("--trust-simulation"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_flags_and_places_say_what_to_do() {
    let stage = Stage::new(1, 1).await;
    let verify = stage.pinned(&["broker", "verify", &stage.address]);
    let message =
        fails(without(with(verify.clone(), "--genesis", &stage.path("nowhere")), "--trust-simulation")).await;
    assert!(message.contains("nowhere can't be read"), "{message}");
    let message = fails(without(verify.clone(), "--trust-simulation")).await;
    assert!(message.contains("--collateral"), "{message}");
    let message = fails(with(verify.clone(), "--trust-simulation", &stage.path("owner0.pem"))).await;
    assert!(message.contains("no simulated platform's root"), "{message}");
    // A policy that any code passes.
    let policy = stage.write("policy.toml", "vendors = [\"intel\"]\ntee = [\"sgx\"]\n");
    let mut loose = without(verify.clone(), "--broker-measurement");
    loose.extend(["--policy".into(), policy]);
    assert!(fails(loose).await.contains("pins no code"));

    // Nobody there: a port that was free a moment ago.
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    let mut nobody = verify;
    nobody[2] = free.clone();
    let message = fails(nobody).await;
    assert!(message.contains(&free) && message.contains("refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_provisions_a_broker() {
    let stage = Stage::new(1, 1).await;
    let owner = stage.path("owner0.pem");
    let manifest = stage.write("manifest.toml", &stage.manifest(1));
    let checked = succeeds(vec!["manifest".into(), "check".into(), manifest.clone()]).await;
    assert!(
        checked.contains("workload  digits") && checked.contains("model_key (age-identity)"),
        "{checked}"
    );

    assert!(fails(stage.pinned(&["manifest", "get", "--owner", &owner])).await.contains("no manifest yet"));
    // A secret before there is a manifest that names it.
    let ssl = stage.write("ssl.cfg", "server_key: \"x\"\n");
    let put = stage.pinned(&["secret", "put", "ssl_config", "--from-file", &ssl, "--owner", &owner]);
    fails(put.clone()).await;

    let said = succeeds(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner])).await;
    assert!(said.contains("version 1 is in force"), "{said}");
    let message = fails(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owner])).await;
    assert!(message.contains("version"), "{message}");

    assert_eq!(succeeds(put.clone()).await, "ssl_config: version 1\n");
    assert_eq!(succeeds(put).await, "ssl_config: version 2\n");
    let key = stage.path("key.txt");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key.clone()]).await;
    let key = stage.pinned(&["secret", "put", "model_key", "--from-file", &key, "--owner", &owner]);
    assert_eq!(succeeds(key.clone()).await, "model_key: version 1\n");
    // From standard input; and this is no age identity.
    let message = adytum(with(key, "--from-file", "-"), "sesame").await;
    assert!(!message.status.success());
    let stdin = stage.pinned(&["secret", "put", "ssl_config", "--from-file", "-", "--owner", &owner]);
    assert_eq!(succeeds_with(stdin, "from a pipe").await, "ssl_config: version 3\n");
    assert!(
        fails(stage.pinned(&["secret", "put", "nobodys", "--from-file", &ssl, "--owner", &owner]))
            .await
            .contains("nobodys")
    );
    let empty = stage.write("empty", "");
    assert!(
        fails(stage.pinned(&["secret", "put", "ssl_config", "--from-file", &empty, "--owner", &owner]))
            .await
            .contains("is empty")
    );
    let huge = stage.write("huge", &"a".repeat(70_000));
    assert!(
        fails(stage.pinned(&["secret", "put", "ssl_config", "--from-file", &huge, "--owner", &owner]))
            .await
            .contains("more than 65536")
    );

    let listed = succeeds(stage.pinned(&["secret", "list", "--owner", &owner])).await;
    let words: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(words.contains(&vec!["ssl_config", "opaque", "3", "1h", "0s", "digits"]), "{listed}");
    assert!(words.contains(&vec!["model_key", "age-identity", "1", "1h", "0s", "digits"]), "{listed}");
    let json = succeeds(stage.pinned(&["secret", "list", "--json", "--owner", &owner])).await;
    assert_eq!(serde_json::from_str::<serde_json::Value>(&json).unwrap().as_array().unwrap().len(), 2);

    succeeds(stage.pinned(&["secret", "rm", "ssl_config", "--owner", &owner])).await;
    let listed = succeeds(stage.pinned(&["secret", "list", "--owner", &owner])).await;
    assert!(listed.contains("removed"), "{listed}");

    let status = succeeds(stage.pinned(&["broker", "status", &stage.address])).await;
    assert!(status.contains("manifest version  1") && !status.contains("ssl_config"), "{status}");
    let got = succeeds(stage.pinned(&["manifest", "get", "--owner", &owner])).await;
    assert_eq!(got, stage.manifest(1));
    let out = stage.path("got.toml");
    let get = stage.pinned(&["manifest", "get", "--out", &out, "--owner", &owner]);
    succeeds(get.clone()).await;
    assert_eq!(fs::read_to_string(&out).unwrap(), stage.manifest(1));
    assert_eq!(fs::read_to_string(format!("{out}.sig")).unwrap().matches("ed25519:").count(), 1);
    assert!(fails(get).await.contains("never overwritten"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_must_agree() {
    let stage = Stage::new(3, 2).await;
    let owners = [0, 1, 2].map(|number| stage.path(&format!("owner{number}.pem")));
    let manifest = stage.write("manifest.toml", &stage.manifest(1));
    let message = fails(stage.pinned(&["manifest", "apply", &manifest, "--owner", &owners[0]])).await;
    assert!(message.contains('2'), "{message}");

    // Signatures collected one after the other, in a file beside the manifest.
    for owner in &owners[..2] {
        let sign = ["manifest", "sign", &manifest, "--owner", owner].map(str::to_owned);
        succeeds(sign.to_vec()).await;
    }
    let signatures = fs::read_to_string(format!("{manifest}.sig")).unwrap();
    assert_eq!(signatures.matches("ed25519:").count(), 2);
    assert!(!Path::new(&format!("{manifest}.sig.sig")).exists());
    let apply = stage.pinned(&["manifest", "apply", &manifest, "--owner", &owners[1], "--owner", &owners[2]]);
    succeeds(apply).await;

    // A manifest that names no owners keeps them: another is compared with those.
    let key = succeeds(vec!["owner".into(), "show".into(), owners[0].clone()]).await;
    let alone = format!("{}\n[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", stage.manifest(2), key.trim());
    let alone = stage.write("alone.toml", &alone);
    let said = succeeds(stage.pinned(&["manifest", "diff", &alone, "--owner", &owners[0]])).await;
    assert!(said.contains("WEAKER   the number of owners who must agree falls from 2 to 1\n"), "{said}");

    // A stranger's signature counts for nothing.
    let stranger = stage.path("stranger.pem");
    let new = ["owner", "new", "--out", &stranger].map(str::to_owned);
    succeeds(new.to_vec()).await;
    let message = fails(stage.pinned(&["secret", "list", "--owner", &stranger])).await;
    assert!(message.contains("not an owner of this broker"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_for_another_broker_is_not_sent() {
    let stage = Stage::new(1, 1).await;
    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    let text = stage.manifest(1).replace(&stage.genesis.digest().to_string(), &other.digest().to_string());
    let manifest = stage.write("manifest.toml", &text);
    let message =
        fails(stage.pinned(&["manifest", "apply", &manifest, "--owner", &stage.path("owner0.pem")])).await;
    assert!(message.contains("is for the broker of genesis"), "{message}");
    let changed = stage.write("changed.toml", &stage.manifest(1).replace("version = 1", "version = one"));
    let message = fails(vec!["manifest".into(), "check".into(), changed]).await;
    assert!(message.contains("changed.toml") && message.contains("line 3"), "{message}");
}

/// An owner's directory, as `deploy/owner.sh` lays it out.
fn owners_directory(stage: &Stage) -> String {
    for part in ["owner/public", "owner/private/secrets"] {
        fs::create_dir_all(stage.path(part)).unwrap();
    }
    fs::copy(stage.path("owner0.pem"), stage.path("owner/private/owner.pem")).unwrap();
    fs::copy(stage.path("genesis.toml"), stage.path("owner/public/genesis.toml")).unwrap();
    let policy = format!("vendors = [\"simulation\"]\ntee = [\"sgx\"]\nidentity = [\"{IDENTITY}\"]\n");
    stage.write("owner/public/broker-policy.toml", &policy);
    stage.write("owner/public/manifest.toml", &stage.manifest(1));
    stage.write("owner/private/secrets/ssl_config", "server_key: \"x\"\n");
    stage.path("owner")
}

/// `adytum provision` from such a directory, which is made.
fn provisioning(stage: &Stage) -> Vec<String> {
    [
        "provision",
        "--owner-directory",
        &owners_directory(stage),
        "--broker",
        &stage.address,
        "--trust-simulation",
        &stage.path("platform/root.pem"),
    ]
    .map(str::to_owned)
    .into()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_command_provisions_a_broker_from_an_owners_directory() {
    let stage = Stage::new(1, 1).await;
    let mut provision = provisioning(&stage);
    provision.extend(["--heads".into(), stage.path("heads.json")]);

    // Nothing is sent while something is missing.
    assert!(fails(provision.clone()).await.contains("model_key"));
    let key = stage.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]).await;
    let list = stage.pinned(&["secret", "list", "--owner", &stage.path("owner0.pem")]);
    assert!(!succeeds(list.clone()).await.contains("ssl_config"));

    let said = succeeds(provision.clone()).await;
    for line in ["manifest version 1 is in force\n", "ssl_config: version 1\n", "model_key: version 1\n"] {
        assert!(said.contains(line), "{said}");
    }
    let said = succeeds(provision.clone()).await;
    for line in ["version 1 is in force already", "ssl_config: version 1 is there already"] {
        assert!(said.contains(line), "{said}");
    }
    let mut replace = provision.clone();
    replace.push("--replace".to_owned());
    assert!(succeeds(replace).await.contains("ssl_config: version 2\n"));

    // The same version with another text is not what is in force; an older one neither.
    stage.write("owner/public/manifest.toml", &stage.manifest(1).replace(&"2e".repeat(32), &"3e".repeat(32)));
    assert!(fails(provision.clone()).await.contains("another manifest of version 1"));
    stage.write("owner/public/manifest.toml", &stage.manifest(2));
    assert!(succeeds(provision.clone()).await.contains("manifest version 2 is in force\n"));
    stage.write("owner/public/manifest.toml", &stage.manifest(1));
    assert!(fails(provision.clone()).await.contains("higher version"));

    // A genuine broker that somebody else founded gets nothing.
    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    stage.write("owner/public/genesis.toml", &other.to_toml());
    assert!(fails(provision).await.contains("genesis-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn provision_and_all_other_verbs_remember_in_one_place() {
    let stage = Stage::new(1, 1).await;
    let provision = provisioning(&stage);
    let key = stage.path("owner/private/secrets/model_key");
    succeeds(vec!["model-key".into(), "new".into(), "--out".into(), key]).await;
    let owner = stage.path("owner0.pem");
    let list = without(stage.pinned(&["secret", "list", "--owner", &owner]), "--heads");
    let accept = ["broker", "confirm", "--accept-rollback", "--broker", &stage.address, "--owner", &owner];
    let accept = without(stage.pinned(&accept), "--heads");
    let remembering = |arguments: &[String]| {
        let mut command = command(arguments.to_vec());
        command.env("XDG_STATE_HOME", stage.path("remembered"));
        run(command, "")
    };
    let own = stage.path("owner/private/heads.json");
    let common = HeadMemory::new(stage.path("remembered/adytum/heads.json"));
    let genesis = stage.genesis.digest();

    let output = remembering(&provision).await;
    assert!(output.status.success(), "{output:?}");
    assert!(common.seen(genesis).unwrap().is_some() && !Path::new(&own).exists());

    // As a former version left it, which has seen more.
    let audit_hash = Some(Sha256Digest([9; 32]));
    let more = StateHead { epoch: 9, manifest_version: 9, audit_size: 99, audit_hash };
    HeadMemory::new(&own).remember(genesis, &more).unwrap();
    // With a file that is named, only that one counts.
    let mut named = provision.clone();
    named.extend(["--heads".into(), stage.path("heads.json")]);
    succeeds(named).await;
    assert!(Path::new(&own).exists());
    for arguments in [&provision, &list, &provision] {
        let output = remembering(arguments).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && stderr.contains("rolled back"), "{stderr}");
        assert_eq!(common.seen(genesis).unwrap(), Some(more.clone()));
        assert!(!Path::new(&own).exists() && Path::new(&format!("{own}.merged")).exists());
    }
    // What an owner accepts by one verb, all others accept.
    for arguments in [&accept, &provision, &list] {
        let output = remembering(arguments).await;
        assert!(output.status.success(), "{output:?}");
    }

    // Of two states of which neither continues the other, an owner must choose.
    let other = StateHead { epoch: 9, manifest_version: 0, audit_size: 0, audit_hash: None };
    HeadMemory::new(&own).remember(genesis, &other).unwrap();
    let output = remembering(&provision).await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && stderr.contains("can't be merged"), "{stderr}");
    assert!(Path::new(&own).exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_listed_compared_and_shown_again() {
    let stage = Stage::new(1, 1).await;
    let owned = |words: &[&str]| {
        let mut arguments = stage.pinned(words);
        arguments.extend(["--owner".into(), stage.path("owner0.pem")]);
        arguments
    };
    let none = succeeds(owned(&["manifest", "history"])).await;
    assert!(none.contains("no manifest yet"), "{none}");
    let first = stage.write("first.toml", &stage.manifest(1));
    assert!(fails(owned(&["manifest", "diff", &first])).await.contains("no manifest yet"));
    succeeds(owned(&["manifest", "apply", &first])).await;

    let who = "workloads = [\"digits\"]";
    let leased = stage.manifest(2).replacen(who, &format!("{who}\nlease = \"10m\""), 1);
    let second = stage.write("second.toml", &leased);
    let said = succeeds(owned(&["manifest", "diff", &second])).await;
    assert!(said.starts_with("version  1 -> 2\n~ secret ssl_config\n    lease: + 10m\n"), "{said}");
    assert!(
        fails(owned(&["manifest", "diff", &first, &second])).await.contains("one manifest with --broker")
    );
    succeeds(owned(&["manifest", "apply", &second])).await;

    let key = succeeds(vec!["owner".into(), "show".into(), stage.path("owner0.pem")]).await;
    let history = succeeds(owned(&["manifest", "history"])).await;
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[0].starts_with("version 2 ") && lines[1].starts_with("version 1 "), "{history}");
    assert!(lines.iter().all(|line| line.ends_with(&format!("signed by {}", key.trim()))), "{history}");
    let json = succeeds(owned(&["manifest", "history", "--count", "1", "--json"])).await;
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((parsed.as_array().unwrap().len(), &parsed[0]["version"]), (1, &serde_json::json!(2)));
    assert_eq!(succeeds(owned(&["manifest", "get", "--version", "1"])).await, stage.manifest(1));
    assert_eq!(succeeds(owned(&["manifest", "get"])).await, leased);
    assert!(fails(owned(&["manifest", "get", "--version", "9"])).await.contains("refused"));
}
