//! The binary `adytum-sim` itself.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that panics fails")]

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStderr, Command, Stdio},
};

use adytum_evidence::{
    attester::Attester as _,
    measurement::{ReportData, WorkloadIdentity},
};
use adytum_sim::{Faults, Platform, PublishedTcbStatus, RemoteSimAttester};
use dcap_qvl::verify::QuoteVerifier;

struct Running {
    child: Child,
    log: BufReader<ChildStderr>,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(arguments: &[&str]) -> Running {
    let mut child = Command::new(env!("CARGO_BIN_EXE_adytum-sim"))
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let log = BufReader::new(child.stderr.take().unwrap());
    Running { child, log }
}

impl Running {
    /// Waits for a line that contains this text and returns what follows it.
    fn wait_for(&mut self, text: &str) -> String {
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            assert_ne!(self.log.read_line(&mut line).unwrap(), 0, "never logged {text:?}, but:\n{seen}");
            if let Some((_, rest)) = line.split_once(text) {
                assert!(text != LISTENING || seen.contains("SIMULATION"), "no warning in:\n{seen}");
                return rest.trim().to_owned();
            }
            seen += &line;
        }
    }
}

const LISTENING: &str = "Simulated TEE platform listening on ";

#[tokio::test]
async fn it_makes_a_platform_serves_it_and_ends_on_a_signal() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("platform");
    for signal in ["TERM", "INT"] {
        let mut running =
            start(&["--platform", path.to_str().unwrap(), "--quote-latency", "1ms", "127.0.0.1:0"]);
        let address = running.wait_for(LISTENING);
        let attester = RemoteSimAttester::connect(&format!("http://{address}"), WorkloadIdentity([1; 32]))
            .await
            .unwrap();
        let quote = attester.evidence(ReportData([2; 64])).await.unwrap().bytes;
        let platform = Platform::open(&path).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        QuoteVerifier::new(platform.root_certificate_der().to_vec())
            .verify(&quote, &platform.collateral(), now)
            .unwrap();

        let process = running.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &process]).status().unwrap().success());
        assert!(running.child.wait().unwrap().success(), "SIG{signal}");
    }
}

#[test]
fn faults_are_set_and_taken_away_by_flag() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("platform");
    let platform = path.to_str().unwrap();
    let faulty = Faults { pck_revoked: true, tcb_status: PublishedTcbStatus::OutOfDate, ..Faults::default() };
    for (flags, expected) in [
        (vec!["--fault", "pck-revoked", "--fault", "tcb=OutOfDate"], faulty),
        (vec![], faulty),
        (vec!["--fault", "none"], Faults::default()),
    ] {
        let arguments = [vec!["--platform", platform, "127.0.0.1:0"], flags].concat();
        start(&arguments).wait_for(LISTENING);
        assert_eq!(Platform::open(&path).unwrap().faults(), expected, "{arguments:?}");
    }
}

#[test]
fn what_it_can_not_do_it_says() {
    let directory = tempfile::tempdir().unwrap();
    let platform = directory.path().join("platform");
    let platform = platform.to_str().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (arguments, expected) in [
        (vec!["--platform", platform, taken.as_str()], "another program has this port"),
        (vec!["--platform", file.to_str().unwrap(), "127.0.0.1:0"], "file"),
        (vec!["--platform", directory.path().to_str().unwrap(), "127.0.0.1:0"], "already exists"),
        (vec!["--platform", platform, "--quote-latency", "fast", "127.0.0.1:0"], "such as 20ms"),
        (vec!["--platform", platform, "--fault", "rust", "127.0.0.1:0"], "expected none, pck-revoked"),
        (vec!["127.0.0.1:0"], "--platform"),
    ] {
        let mut running = start(&arguments);
        let mut log = String::new();
        running.log.read_to_string(&mut log).unwrap();
        assert!(!running.child.wait().unwrap().success(), "{arguments:?}");
        assert!(log.contains(expected), "{arguments:?}: expected {expected}, got\n{log}");
    }
}
