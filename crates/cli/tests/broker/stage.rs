//! A broker in this process, and the real binary that is run against it.

use std::{
    fs,
    io::Write,
    process::{Command, Output, Stdio},
};

use adytum_governance::genesis::Genesis;

pub(crate) use crate::hosted::IDENTITY;
use crate::hosted::host;

/// A broker in this process, and what its owners know of it.
pub(crate) struct Stage {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) address: String,
    pub(crate) genesis: Genesis,
}

impl Stage {
    /// With owners `owner0.pem`, `owner1.pem`, and so on.
    pub(crate) async fn new(owners: usize, threshold: usize) -> Self {
        let names: Vec<_> = (0..owners).map(|number| format!("owner{number}.pem")).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        let (directory, address, genesis) = host(&names, threshold).await;
        Self { directory, address, genesis }
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    /// The flags that find this broker and hold it to what it must be.
    pub(crate) fn pinned(&self, words: &[&str]) -> Vec<String> {
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

    pub(crate) fn manifest(&self, version: u64) -> String {
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

pub(crate) fn command(arguments: Vec<String>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_adytum"));
    command.args(arguments);
    for variable in ["PCCS_URL", "ADYTUM_BROKER", "ADYTUM_HEADS", "RUST_LOG"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) async fn adytum(arguments: Vec<String>, input: &'static str) -> Output {
    run(command(arguments), input).await
}

/// Runs the binary while the broker's tasks go on.
pub(crate) async fn run(mut command: Command, input: &'static str) -> Output {
    tokio::task::spawn_blocking(move || {
        let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = pipes.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    })
    .await
    .unwrap()
}

pub(crate) async fn succeeds_with(arguments: Vec<String>, input: &'static str) -> String {
    let output = adytum(arguments, input).await;
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

pub(crate) async fn succeeds(arguments: Vec<String>) -> String {
    succeeds_with(arguments, "").await
}

pub(crate) async fn fails(arguments: Vec<String>) -> String {
    let output = adytum(arguments, "").await;
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert_eq!(stderr.trim_end().lines().filter(|line| !line.contains("warning")).count(), 1, "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    stderr
}

/// With another value for one flag.
pub(crate) fn with(mut arguments: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments[position + 1] = value.to_owned();
    arguments
}

pub(crate) fn without(mut arguments: Vec<String>, flag: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments.drain(position..position + 2);
    arguments
}
