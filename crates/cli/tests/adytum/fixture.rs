//! The real binary, and a broker in this process that it is run against.

use std::ffi::OsStr;
#[cfg(feature = "simulation")]
use std::{ops::Deref, sync::Arc};

#[cfg(feature = "simulation")]
use adytum_governance::genesis::Genesis;
#[cfg(feature = "simulation")]
use adytum_sim::Platform;
#[cfg(feature = "simulation")]
pub(crate) use adytum_testkit::broker::{IDENTITY, RunningBroker};
use adytum_testkit::program::{self, Outcome};
#[cfg(feature = "simulation")]
use adytum_testkit::{
    broker,
    directory::Directory,
    manifest::{Manifest, simulated_policy},
    owners,
};

/// The command with these arguments.
pub(crate) fn command<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> std::process::Command {
    program::command(env!("CARGO_BIN_EXE_adytum"), arguments)
}

/// Runs the binary, while the tasks of a broker in this process go on.
pub(crate) fn adytum<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Outcome {
    run(command(arguments))
}

/// Runs a command that [`command`] returned.
pub(crate) fn run(command: std::process::Command) -> Outcome {
    match tokio::runtime::Handle::try_current() {
        Ok(_) => tokio::task::block_in_place(|| program::run(command)),
        Err(_) => program::run(command),
    }
}

/// Runs the binary, which reads this from its standard input.
#[cfg(feature = "simulation")]
pub(crate) fn adytum_reading(input: &str, arguments: Vec<String>) -> Outcome {
    tokio::task::block_in_place(|| program::run_with_input(command(arguments), input.as_bytes()))
}

/// The standard output of a run that succeeds.
#[track_caller]
pub(crate) fn succeeds<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> String {
    adytum(arguments).succeeded()
}

/// The message of a run that fails with this exit code.
#[track_caller]
pub(crate) fn fails<A: AsRef<OsStr>>(code: i32, arguments: impl IntoIterator<Item = A>) -> String {
    message(code, &adytum(arguments))
}

/// The message of a run that failed with this exit code: one error, in one line.
#[track_caller]
pub(crate) fn message(code: i32, outcome: &Outcome) -> String {
    let stderr = outcome.failed_with(code);
    let other = |line: &&str| !line.contains("warning") && !line.starts_with("what to do: ");
    assert_eq!(stderr.trim_end().lines().filter(other).count(), 1, "{stderr}");
    stderr
}

/// A platform, the owners of a broker, and the broker if it runs.
#[cfg(feature = "simulation")]
pub(crate) struct Fixture {
    pub(crate) directory: Directory,
    pub(crate) platform: Arc<Platform>,
    pub(crate) genesis: Genesis,
    running: Option<RunningBroker>,
}

#[cfg(feature = "simulation")]
impl Deref for Fixture {
    type Target = Directory;

    fn deref(&self) -> &Directory {
        &self.directory
    }
}

#[cfg(feature = "simulation")]
impl Fixture {
    /// The directory has `platform`, `genesis.toml`, and the owners' keys `owner0.pem`,
    /// `owner1.pem` and so on.
    pub(crate) fn without_broker(owners: usize, threshold: usize) -> Self {
        let directory = Directory::new();
        let platform = Platform::create(directory.path("platform")).unwrap();
        let keys = (0..owners).map(|number| owners::write_owner(&directory, &format!("owner{number}.pem")));
        let genesis = Genesis::create(keys.collect::<Vec<_>>(), threshold).unwrap();
        directory.write("genesis.toml", genesis.to_toml());
        Self { directory, platform, genesis, running: None }
    }

    /// With a broker that serves.
    pub(crate) async fn new(owners: usize, threshold: usize) -> Self {
        let mut fixture = Self::without_broker(owners, threshold);
        let store = broker::in_memory(&fixture.genesis);
        let configuration = broker::configuration(&fixture.platform, IDENTITY, &fixture.genesis, store);
        fixture.running = Some(RunningBroker::start(configuration).await);
        fixture
    }

    /// The address of the broker.
    pub(crate) fn address(&self) -> String {
        self.running.as_ref().unwrap().address.to_string()
    }

    /// A command with the flags that identify this broker.
    pub(crate) fn pinned(&self, words: &[&str]) -> Vec<String> {
        self.pinned_to(&self.address(), "heads.json", words)
    }

    /// A command with the flags that identify the broker at this address, and a file of
    /// heads.
    pub(crate) fn pinned_to(&self, address: &str, heads: &str, words: &[&str]) -> Vec<String> {
        let mut arguments: Vec<String> = words.iter().map(ToString::to_string).collect();
        match words {
            ["broker", "verify" | "status" | "ca", ..] => arguments.insert(2, address.to_owned()),
            _ => arguments.extend(["--broker".to_owned(), address.to_owned()]),
        }
        arguments.extend([
            "--genesis".to_owned(),
            self.path("genesis.toml"),
            "--broker-measurement".to_owned(),
            IDENTITY.to_string(),
            "--trust-simulation".to_owned(),
            self.path("platform/root.pem"),
            "--heads".to_owned(),
            self.path(heads),
        ]);
        arguments
    }

    /// Two secrets and a model for the workload "digits".
    pub(crate) fn manifest(&self, version: u64) -> String {
        self.trusting(version)
            .workload("digits", &simulated_policy("1f".repeat(32)), &["digits"])
            .secret("ssl_config", "opaque", &["digits"])
            .secret("model_key", "age-identity", &["digits"])
            .table(format!("[[model]]\nname = \"digits\"\ndigests = [\"{}\"]\n", "2e".repeat(32)))
            .text()
    }

    /// A manifest that trusts the platform and has no workload yet.
    pub(crate) fn trusting(&self, version: u64) -> Manifest {
        Manifest::simulation(self.genesis.digest(), version, &[self.read("platform/root.pem")])
    }
}

/// With another value for one flag.
#[cfg(feature = "simulation")]
pub(crate) fn with(mut arguments: Vec<String>, flag: &str, value: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments[position + 1] = value.to_owned();
    arguments
}

/// Without a flag and its value.
#[cfg(feature = "simulation")]
pub(crate) fn without(mut arguments: Vec<String>, flag: &str) -> Vec<String> {
    let position = arguments.iter().position(|argument| argument == flag).unwrap();
    arguments.drain(position..position + 2);
    arguments
}
