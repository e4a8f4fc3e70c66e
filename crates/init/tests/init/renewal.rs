//! A replica that runs on: renewals, rotation, revocation, outage, health.
//!
//! The lease is ten seconds, the shortest that a manifest may give, so these tests take
//! some seconds of real time; the exact times are tested on paused time next to the code.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
};

use adytum_api::broker::{RemoveSecret, RotateSecret, command::Command};
use adytum_testkit::ports::free_port;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tokio::process::Child;

use crate::fixture::{Fixture, Workload, ended, eventually, memory_directory, read_until};

fn rotate(name: &str) -> Command {
    Command::RotateSecret(RotateSecret { name: name.to_owned() })
}

fn remove(name: &str) -> Command {
    Command::RemoveSecret(RemoveSecret { name: name.to_owned() })
}

/// A random secret, announced by HUP, and a certificate in two files, announced by USR1.
fn workload(memory: &Path) -> Workload {
    let directory = memory.display();
    let secrets = format!(
        "[[secret]]\nname = \"random_key\"\npath = \"{directory}/random\"\nreload_signal = \"HUP\"\n\
         [[secret]]\nname = \"tls\"\npath = \"{directory}/chain.pem\"\nkey_path = \"{directory}/key.pem\"\n\
         reload_signal = \"USR1\"\n"
    );
    Workload { tables: "[environment]\nallow = [\"PATH\"]\n".to_owned(), secrets }
}

const SCRIPT: &str = "trap 'echo hup.' HUP; trap 'echo usr1.' USR1; trap 'echo term.; exit 0' TERM; \
                      echo ready.; while :; do sleep 0.02; done";

fn terminate(child: &Child) {
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
}

fn probe(port: u16, path: &str) -> String {
    let mut answer = String::new();
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)) else { return answer };
    let _ = write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
    let _ = stream.read_to_string(&mut answer);
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_owner_rotates_reaches_the_program_and_what_he_removes_ends_it() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let configuration = fixture.configuration("workload", &workload(memory.path()));
    let broker = fixture.broker(&configuration).await;
    let message = fixture.directory.path().join("termination-log");
    fs::write(&message, "").unwrap();
    let mut child = fixture
        .init(&configuration, broker.address, SCRIPT)
        .environment("PATH", "/usr/bin:/bin")
        .environment("ADYTUM_TERMINATION_LOG", message.to_str().unwrap())
        .start();
    read_until(&mut child, "ready.").await;
    let read = |name: &str| fs::read(memory.path().join(name)).unwrap();
    let (random, chain, key) = (read("random"), read("chain.pem"), read("key.pem"));
    assert!(key.starts_with(b"-----BEGIN EC PRIVATE KEY-----\n"));
    assert!(chain.starts_with(b"-----BEGIN CERTIFICATE-----\n"));

    fixture.order(&broker, rotate("random_key")).await;
    let said = read_until(&mut child, "hup.").await;
    assert!(!said.contains("usr1"), "the certificate did not change: {said}");
    assert_ne!(read("random"), random);
    assert_eq!((read("chain.pem"), read("key.pem")), (chain.clone(), key.clone()));

    let random = read("random");
    fixture.order(&broker, rotate("tls")).await;
    let said = read_until(&mut child, "usr1.").await;
    assert!(!said.contains("hup"), "{said}");
    assert_ne!(read("chain.pem"), chain);
    assert_ne!(read("key.pem"), key, "a key of its own for each certificate");
    assert_eq!(read("random"), random);

    fixture.order(&broker, remove("random_key")).await;
    let ended = ended(child).await;
    assert!(ended.stdout.contains("term."), "{ended:?}");
    ended.assert_refused(77, "lease-revoked");
    let said = fs::read_to_string(&message).unwrap();
    assert!(said.starts_with("lease-revoked: ") && said.lines().count() == 1, "{said}");
    assert!(fs::read_dir(memory.path()).unwrap().next().is_none(), "no secret outlives the program");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_that_does_not_end_when_it_loses_its_secrets_is_killed() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let configuration = fixture.configuration("workload", &workload(memory.path()));
    let broker = fixture.broker(&configuration).await;
    let script = "trap '' TERM; echo ready.; while :; do sleep 0.02; done";
    let init = fixture.init(&configuration, broker.address, script).environment("PATH", "/usr/bin:/bin");
    let mut child = init.flag("--drain-timeout=50ms").start();
    read_until(&mut child, "ready.").await;
    fixture.order(&broker, remove("random_key")).await;
    let ended = ended(child).await;
    ended.assert_refused(77, "lease-revoked");
    assert!(ended.stderr.contains("killing it"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_broker_the_program_runs_until_the_lease_is_over() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let configuration = fixture.configuration("workload", &workload(memory.path()));
    let broker = fixture.broker(&configuration).await;
    let port = free_port();
    let init = fixture.init(&configuration, broker.address, SCRIPT).environment("PATH", "/usr/bin:/bin");
    let mut child = init.flag(&format!("--health-port={port}")).start();
    read_until(&mut child, "ready.").await;
    let started = std::time::Instant::now();
    eventually("it is ready", || probe(port, "/readyz").starts_with("HTTP/1.1 200 ")).await;
    drop(broker);
    let ended = ended(child).await;
    ended.assert_refused(69, "lease-expired");
    assert!(ended.stdout.contains("term."), "{ended:?}");
    // It had been renewed at most once, so it lasted at least so long.
    assert!(started.elapsed().as_secs() >= 8, "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_sigterm_it_is_unready_and_the_program_runs_until_the_delay_is_over() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let broker = fixture.broker(&configuration).await;
    let port = free_port();
    let script = "trap 'echo term.; exit 7' TERM; echo ready.; while read -r line; do echo got $line.; done";
    let mut init =
        fixture.init(&configuration, broker.address, script).flag(&format!("--health-port={port}"));
    init = init.flag("--drain-delay=600");
    init.command.stdin(std::process::Stdio::piped());
    let mut child = init.start();
    read_until(&mut child, "ready.").await;
    eventually("it is ready", || probe(port, "/readyz").starts_with("HTTP/1.1 200 ")).await;
    terminate(&child);
    eventually("it is unready", || probe(port, "/readyz").contains("draining: asked to stop")).await;
    assert!(probe(port, "/healthz").starts_with("HTTP/1.1 200 "));
    // The program has not heard of it, and works.
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"work\n").await.unwrap();
    let said = read_until(&mut child, "got work.").await;
    assert!(!said.contains("term"), "{said}");
    // A second signal means now.
    terminate(&child);
    drop(stdin);
    let ended = ended(child).await;
    assert!(matches!(ended.code(), 7 | 0), "by the signal or by the end of its input: {ended:?}");
}
