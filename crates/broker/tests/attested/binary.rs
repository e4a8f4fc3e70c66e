//! The binary itself: its ready line, its measurement, its logs, its end.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::Duration,
};

use adytum_broker::store::LockedStore;
use adytum_evidence::measurement::{Sha256Digest, WorkloadIdentity};
use adytum_governance::measured::MeasuredConfiguration;
use adytum_sim::Platform;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    sync::mpsc::{self, UnboundedReceiver},
    time::timeout,
};

use crate::fixture::{Fixture, apply, execute, fetch, identity, put};

const BINARY: &str = env!("CARGO_BIN_EXE_adytum-broker");
const SECRET: &str = "open sesame, the cave of the forty";

pub(crate) struct BinaryFixture {
    directory: TempDir,
    pub(crate) fixture: Fixture,
}

pub(crate) struct Process {
    pub(crate) child: Child,
    /// What it logs is read while it runs: a full pipe would hold it up.
    pub(crate) logs: UnboundedReceiver<String>,
    pub(crate) address: SocketAddr,
    /// Of probes and metrics.
    pub(crate) health: Option<SocketAddr>,
    /// For the KBS protocol.
    pub(crate) kbs: Option<SocketAddr>,
    /// For Occlum's own init.
    pub(crate) occlum: Option<SocketAddr>,
}

impl BinaryFixture {
    pub(crate) fn new() -> Self {
        let directory = TempDir::new().unwrap();
        let mut fixture = Fixture::new(1, 1);
        fixture.platform = Platform::create(directory.path().join("platform")).unwrap();
        fs::write(directory.path().join("genesis.toml"), fixture.genesis.to_toml()).unwrap();
        Self { directory, fixture }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, flags: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .env_remove("PCCS_URL")
            .env_remove("ADYTUM_LOG_FORMAT")
            .env("RUST_LOG", "debug")
            .arg("--genesis")
            .arg(self.path("genesis.toml"))
            .arg(format!("--tee=simulation={}", self.path("platform").display()))
            .args(flags)
            .arg("127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn start(&self, flags: &[&str]) -> Process {
        let mut child = self.command(flags).spawn().unwrap();
        let (sender, mut logs) = mpsc::unbounded_channel();
        let mut logged = BufReader::new(child.stderr.take().unwrap()).lines();
        tokio::spawn(async move {
            while let Some(line) = logged.next_line().await.unwrap() {
                let _ = sender.send(line);
            }
        });
        let mut lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
        let (mut health, mut kbs, mut occlum) = (None, None, None);
        loop {
            let line = timeout(Duration::from_secs(30), lines.next_line()).await.unwrap().unwrap();
            let Some(line) = line else {
                panic!("{:?}, having logged {:#?}", child.wait().await, rest(&mut logs).await);
            };
            if let Some(address) = line.strip_prefix("Health listening on ") {
                health = Some(address.parse().unwrap());
                continue;
            }
            if let Some(address) = line.strip_prefix("KBS listening on ") {
                kbs = Some(address.parse().unwrap());
                continue;
            }
            if let Some(address) = line.strip_prefix("Occlum listening on ") {
                occlum = Some(address.parse().unwrap());
                continue;
            }
            let address = line.strip_prefix("Server listening on ").expect(&line).parse().unwrap();
            return Process { child, logs, address, health, kbs, occlum };
        }
    }

    /// Runs it to its end, which is expected to be an error.
    async fn fail(&self, flags: &[&str]) -> String {
        let output = timeout(Duration::from_secs(30), self.command(flags).output()).await.unwrap().unwrap();
        assert!(!output.status.success(), "{output:?}");
        assert!(output.stdout.is_empty(), "it was never ready: {output:?}");
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn identity(&self, occlum: Option<Sha256Digest>) -> WorkloadIdentity {
        let program = Sha256Digest::of_file(Path::new(BINARY)).unwrap();
        MeasuredConfiguration { occlum }.identity(program)
    }
}

/// The lines that were not read yet, until there are no more.
async fn rest(logs: &mut UnboundedReceiver<String>) -> String {
    let mut lines = String::new();
    while let Some(line) = logs.recv().await {
        lines.push_str(&line);
        lines.push('\n');
    }
    lines
}

impl Process {
    pub(crate) async fn terminate(mut self) -> Output {
        let pid = nix::unistd::Pid::from_raw(self.child.id().unwrap().try_into().unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        let end = async {
            let output = self.child.wait_with_output().await.unwrap();
            Output { stderr: rest(&mut self.logs).await.into_bytes(), ..output }
        };
        timeout(Duration::from_secs(20), end).await.unwrap()
    }
}

#[tokio::test]
async fn it_serves_survives_a_restart_ends_cleanly_and_logs_no_secret() {
    let binary = BinaryFixture::new();
    let state = binary.path("state").display().to_string();
    let flags = ["--state-directory", &state, "--log-format", "json"];
    let fixture = &binary.fixture;
    let process = binary.start(&flags).await;
    let connector = fixture.connector(None, binary.identity(None));
    let owner = connector.session(&process.address.to_string()).await.unwrap();
    execute(&owner, fixture.command(&owner, 0, apply(&fixture.signed(&fixture.document(1))))).await.unwrap();
    execute(&owner, fixture.command(&owner, 1, put("ssl_config", SECRET.as_bytes()))).await.unwrap();
    let first = process.terminate().await;

    let process = binary.start(&flags).await;
    let connect = async |program: &str| {
        let connector = fixture.connector(Some(fixture.attester(program)), binary.identity(None));
        connector.session(&process.address.to_string()).await.unwrap()
    };
    let replica = connect("serving").await;
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, SECRET.as_bytes());
    fetch(&connect("tampered").await, &["ssl_config"]).await.unwrap_err();
    let second = process.terminate().await;

    for output in [&first, &second] {
        assert!(output.status.success(), "{output:?}");
    }
    let logs = String::from_utf8([first.stderr, second.stderr].concat()).unwrap();
    let audit: Vec<serde_json::Value> = logs
        .lines()
        .map(|line| serde_json::from_str(line).expect(line))
        .filter(|line: &serde_json::Value| line["target"] == "adytum::audit")
        .collect();
    let decisions: Vec<_> = audit.iter().map(|event| event["fields"]["decision"].as_str().unwrap()).collect();
    assert_eq!(decisions, ["executed", "executed", "granted", "refused"]);
    let granted = &audit[2]["fields"];
    assert_eq!(granted["secret"], "ssl_config");
    assert_eq!(granted["rule"], "workload serving");
    assert_eq!(granted["manifest_version"], 1);
    assert_eq!(granted["mr_enclave"], identity("serving").to_string());
    assert_eq!(granted["claims_digest"].as_str().unwrap().len(), 64);
    assert_eq!(audit[3]["fields"]["mr_enclave"], identity("tampered").to_string());
    assert_eq!(audit[3]["fields"]["code"], "secret-refused");
    for form in [
        SECRET.to_owned(),
        hex::encode(SECRET),
        format!("{:?}", SECRET.as_bytes()).trim_matches(['[', ']']).to_owned(),
    ] {
        assert!(!logs.contains(&form), "{form}");
    }
}

#[tokio::test]
async fn an_occlum_configuration_needs_names_for_its_weaknesses_and_shows_in_the_measurement() {
    let mut binary = BinaryFixture::new();
    let configuration = |verify: &str| {
        serde_json::json!({
            "verify_mr_enclave": verify, "verify_mr_signer": "on", "verify_isv_prod_id": "off",
            "verify_isv_svn": "off", "verify_config_svn": "off", "verify_enclave_debuggable": "on",
            "sgx_mrs": [{
                "mr_enclave": identity("occlum").to_string(),
                "mr_signer": adytum_sim::default_mr_signer().to_string(),
                "isv_prod_id": 0, "isv_svn": 0, "config_svn": 0, "debuggable": false
            }]
        })
        .to_string()
    };
    let write = |name: &str, text: &str| {
        fs::write(binary.path(name), text).unwrap();
        binary.path(name).display().to_string()
    };
    let strict = write("strict.json", &configuration("on"));
    let weak = write("weak.json", &configuration("off"));
    let secrets = write("secrets.json", r#"{"ssl_config": "b3BlbiBzZXNhbWU="}"#);
    let root = write("root.pem", binary.fixture.platform.root_certificate_pem());
    let base = ["--occlum-secrets", secrets.as_str(), "--occlum-simulation-root", root.as_str()];

    let refused = binary.fail(&[&["--occlum-config", &weak], &base[..]].concat()).await;
    assert!(refused.contains("--accept-signer-only occlum-1"), "{refused}");
    let accepted = ["--occlum-config", &weak, "--accept-signer-only", "occlum-1"];
    let process = binary.start(&[&accepted, &base[..]].concat()).await;
    let output = process.terminate().await;
    let logs = String::from_utf8(output.stderr).unwrap();
    assert!(logs.contains("AN OCCLUM CONFIGURATION IS LOADED"), "{logs}");

    let occlum = adytum_governance::occlum::OcclumConfiguration::parse(
        &configuration("on"),
        "{}",
        &Default::default(),
        vec![adytum_evidence::verifier::TrustRoot::intel(), binary.fixture.platform.trust_root().unwrap()],
    );
    let digest = occlum.unwrap().digest();
    let process = binary.start(&[&["--occlum-config", &strict], &base[..]].concat()).await;
    let shown = binary.identity(Some(digest));
    // It is not the broker that the owners measured, and where only the announcement tells,
    // not one that they pinned.
    for (measured, pinned, code) in [
        (binary.identity(None), Some(digest), "policy-refused"),
        (shown, None, "occlum-configuration-not-pinned"),
    ] {
        binary.fixture.pinned_occlum = pinned;
        for attester in [Some(binary.fixture.attester("occlum")), None] {
            let connector = binary.fixture.connector(attester, measured);
            let refusal = connector.session(&process.address.to_string()).await.unwrap_err();
            assert_eq!(refusal.code(), code);
        }
    }
    binary.fixture.pinned_occlum = Some(digest);
    let connector = binary.fixture.connector(Some(binary.fixture.attester("occlum")), shown);
    let replica = connector.session(&process.address.to_string()).await.unwrap();
    assert_eq!(fetch(&replica, &["ssl_config"]).await.unwrap().secrets[0].value, b"open sesame");
}

#[tokio::test]
async fn broken_beginnings_say_why() {
    let binary = BinaryFixture::new();
    let state = binary.path("state").display().to_string();
    let process = binary.start(&["--state-directory", &state]).await;
    let second = binary.fail(&["--state-directory", &state]).await;
    assert!(second.contains("in use by another broker"), "{second}");
    process.terminate().await;

    let file = binary.path("state").join(adytum_broker::store::FILE);
    let bytes = fs::read(&file).unwrap();
    // Something in every page.
    let bytes: Vec<u8> =
        bytes.iter().enumerate().map(|(at, byte)| byte ^ u8::from(at % 512 == 300)).collect();
    fs::write(&file, &bytes).unwrap();
    let changed = binary.fail(&["--state-directory", &state]).await;
    assert!(changed.contains("is damaged at"), "{changed}");

    fs::write(binary.path("genesis.toml"), "owners = []").unwrap();
    let genesis = binary.fail(&[]).await;
    assert!(genesis.contains("genesis.toml") && genesis.contains("missing field"), "{genesis}");
}

#[tokio::test]
async fn without_a_tee_it_does_not_fall_back_to_simulation() {
    let binary = BinaryFixture::new();
    let output = Command::new(BINARY)
        .env_remove("PCCS_URL")
        .arg("--genesis")
        .arg(binary.path("genesis.toml"))
        .args(["--tee=gramine", "--collateral=/nowhere", "127.0.0.1:0"])
        .output()
        .await
        .unwrap();
    assert!(!output.status.success() && output.stdout.is_empty(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("/dev/attestation"), "{output:?}");
}

async fn offline(words: &[&str]) -> Output {
    Command::new(BINARY).args(words).output().await.unwrap()
}

#[tokio::test]
async fn a_state_is_backed_up_and_restored_by_the_binary_itself() {
    let binary = BinaryFixture::new();
    let text = |name: &str| binary.path(name).to_str().unwrap().to_owned();
    let backup = async |from: &str, out: &str| {
        offline(&["backup", "--state-directory", &text(from), "--out", &text(out)]).await
    };
    let restore =
        async |to: &str, from: &str| offline(&["restore", "--state-directory", &text(to), &text(from)]).await;
    let refused = |output: Output, reason: &str| {
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && said.contains(reason), "{said}");
    };
    let done = |output: Output| {
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && said.contains(&binary.fixture.genesis.digest().to_string()),
            "{said}"
        );
    };
    let locked = LockedStore::open(&binary.path("state"), binary.fixture.genesis.digest()).unwrap();
    refused(backup("state", "backup.redb").await, "in use by another broker");
    drop(locked);
    done(backup("state", "backup.redb").await);
    refused(backup("state", "backup.redb").await, "there already");
    refused(backup("nowhere", "other.redb").await, "holds no broker's state");
    refused(restore("state", "backup.redb").await, "there already");
    done(restore("restored", "backup.redb").await);
}
