//! The whole way against a real broker in this process.

use std::{fs, path::Path};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::announcement::WorkloadAnnouncement;
use adytum_init::{Program, arguments::AttestationArguments, configuration::MeasuredConfiguration};
use clap::Parser;
use tokio::net::TcpListener;

use crate::fixture::{Fixture, Workload, ended, eventually, is_running, memory_directory};

fn secret_file(name: &str, directory: &Path) -> String {
    format!("[[secret]]\nname = \"{name}\"\npath = \"{}\"\n", directory.join(name).display())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_reach_the_program_and_nobody_after_it() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let workload = Workload {
        tables: "[environment]\nallow = [\"GREETING\"]\nset = { THREADS = \"1\" }\n".to_owned(),
        secrets: format!(
            "{}[[secret]]\nname = \"model_key\"\npath = \"fd:5\"\n",
            secret_file("ssl_config", memory.path())
        ),
    };
    let configuration = fixture.configuration("workload", &workload);
    let broker = fixture.broker(&configuration).await;
    let file = memory.path().join("ssl_config");
    let script = format!(
        "cat {0}; echo; stat -c %a {0}; cat <&5; echo; cat /proc/self/fd/5; echo; env; echo dumps $(ulimit -H -c); \
         echo $0 $#; (echo x >&5) 2>/dev/null || echo sealed; echo done",
        file.display()
    );
    let ended = fixture
        .init(&configuration, broker.address, &script)
        .environment("GREETING", "hello")
        .environment("KUBERNETES_PORT", "tcp://1")
        .environment("PATH", "/usr/bin:/bin")
        .run()
        .await;
    assert_eq!(ended.code(), 0, "{ended:?}");
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(lines[..3], ["sesame", "400", "mellon"], "{ended:?}");
    for expected in ["GREETING=hello", "THREADS=1", "dumps 0", "/bin/sh 0", "sealed", "done"] {
        assert!(lines.contains(&expected), "no {expected} in {ended:?}");
    }
    for cleared in ["KUBERNETES", "PATH=/usr/bin:/bin", "ADYTUM", "LD_"] {
        assert!(!ended.stdout.contains(cleared), "{cleared} in {ended:?}");
    }
    assert!(!ended.stderr.contains("sesame") && !ended.stderr.contains("mellon"), "{ended:?}");
    // A secret doesn't outlive its program.
    assert!(fs::read_dir(memory.path()).unwrap().next().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_of_another_genesis_is_refused_at_once() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let broker = fixture.foreign_broker(&configuration).await;
    let ended = fixture.init(&configuration, broker.address, "echo started").run().await;
    ended.assert_refused(77, "genesis-mismatch");
    assert!(!ended.stderr.contains("no secrets yet") && ended.stdout.is_empty(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workload_that_nobody_named_is_refused_at_once() {
    let Some(fixture) = Fixture::new() else { return };
    let named = fixture.configuration("named", &Workload::default());
    let broker = fixture.broker(&named).await;
    let workload = Workload { tables: "allow_plain_models = true\n".to_owned(), ..Workload::default() };
    let other = fixture.configuration("other", &workload);
    let ended = fixture.init(&other, broker.address, "echo started").run().await;
    assert_eq!(ended.code(), 77, "{ended:?}");
    assert!(!ended.stderr.contains("no secrets yet") && ended.stdout.is_empty(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_secret_that_nobody_granted_is_refused() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let workload = Workload { secrets: secret_file("other_key", memory.path()), ..Workload::default() };
    let configuration = fixture.configuration("workload", &workload);
    let broker = fixture.broker(&configuration).await;
    let ended = fixture.init(&configuration, broker.address, "echo started").run().await;
    assert_eq!(ended.code(), 77, "{ended:?}");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_comes_late_is_waited_for() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    // Bound, and refusing: closed again as soon as its address is known.
    let first = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = first.local_addr().unwrap();
    let log = fixture.directory.path().join("log");
    let mut init = fixture.init(&configuration, address, "echo started");
    init.command.stderr(fs::File::create(&log).unwrap());
    drop(first);
    let child = init.start();
    eventually("it says that it waits", || {
        fs::read_to_string(&log).is_ok_and(|text| text.contains("no secrets yet"))
    })
    .await;
    let listener = TcpListener::bind(address).await.unwrap();
    let genesis = fixture.genesis();
    let _broker = fixture.broker_on(listener, &configuration, &genesis).await;
    let ended = ended(child).await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_time_to_wait_is_kept() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let ended = fixture.init(&configuration, address, "echo started").flag("--fetch-timeout=1ms").run().await;
    ended.assert_refused(69, "connection-failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_can_be_stopped_while_it_waits() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let child = fixture.init(&configuration, listener.local_addr().unwrap(), "echo started").start();
    // It is in the handshake, which nobody answers.
    let _connection = listener.accept().await.unwrap();
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGTERM).unwrap();
    let ended = ended(child).await;
    assert_eq!(ended.code(), 128 + 15, "{ended:?}");
    assert!(!is_running(pid));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn occlums_variable_names_the_broker_too() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let broker = fixture.broker(&configuration).await;
    let mut init = fixture.init(&configuration, broker.address, "echo started");
    init.command = tokio::process::Command::new(crate::fixture::init_binary());
    init.command
        .env_clear()
        .env("OCCLUM_INIT_RA_KMS_SERVER", broker.address.to_string())
        .arg(format!("--configuration={}", configuration.display()))
        .arg(format!("--tee=simulation={}", fixture.directory.path().join("platform").display()))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let ended = init.run().await;
    assert_eq!((ended.code(), ended.stdout.as_str()), (0, "started\n"), "{ended:?}");
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    attestation: AttestationArguments,
}

/// As a library: the program is this test.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn as_a_library_the_identity_is_that_of_this_program() {
    let Some(mut fixture) = Fixture::new() else { return };
    let pinned = fixture.configuration("pinned", &Workload::default());
    fixture.shell.libraries.clear();
    let secrets = "[[secret]]\nname = \"model_key\"\n".to_owned();
    let path = fixture.configuration("workload", &Workload { secrets, ..Workload::default() });
    let this = Sha256Digest::of_this_program().unwrap();
    let configuration = MeasuredConfiguration::load(&path).unwrap();
    let broker = fixture.broker_for(configuration.identity(this, this)).await;
    let flags = Flags::parse_from([
        "test".to_owned(),
        format!("--broker={}", broker.address),
        format!("--tee=simulation={}", fixture.directory.path().join("platform").display()),
    ])
    .attestation;
    let released = adytum_init::unlock(&flags, &configuration, Program::This).await.unwrap().released;
    assert_eq!(released.secrets["model_key"].as_bytes(), b"mellon");
    assert_eq!(released.manifest_version(), 1);
    // It states what it is, under its evidence: on SGX hardware nothing else does.
    let tee = adytum_init::tee::Tee::find(&flags, &configuration, Program::This).await.unwrap();
    let announced = WorkloadAnnouncement::decode(&(tee.local_attestation().announcement)()).unwrap();
    assert_eq!(announced.unwrap().identity, configuration.identity(this, this));

    // One bit of the program's digest, and it is another workload.
    let mut other = this;
    other.0[0] ^= 1;
    let error = adytum_init::unlock(&flags, &configuration, Program::Child(other)).await.unwrap_err();
    assert_eq!(error.exit_code(), 77, "{error}");

    // This test maps more libraries than the shell's, which are all that this
    // configuration pins.
    let pinned = MeasuredConfiguration::load(&pinned).unwrap();
    let error = adytum_init::unlock(&flags, &pinned, Program::This).await.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("library-not-pinned", 78), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_for_evidence_that_is_taken_is_named() {
    let Some(fixture) = Fixture::new() else { return };
    let configuration = fixture.configuration("workload", &Workload::default());
    let broker = fixture.broker(&configuration).await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let flag = format!("--evidence-listen={}", taken.local_addr().unwrap());
    let ended = fixture.init(&configuration, broker.address, "echo started").flag(&flag).run().await;
    ended.assert_refused(71, "evidence-port");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}

/// Evidence in a file, also of a workload that nobody named: to be named by it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_writes_its_evidence_before_it_is_refused() {
    let Some(fixture) = Fixture::new() else { return };
    let named = fixture.configuration("named", &Workload::default());
    let broker = fixture.broker(&named).await;
    let workload = Workload { tables: "allow_plain_models = true\n".to_owned(), ..Workload::default() };
    let other = fixture.configuration("other", &workload);
    let out = fixture.directory.path().join("evidence");
    let flag = format!("--write-evidence={}", out.display());
    let ended = fixture.init(&other, broker.address, "echo started").flag(&flag).run().await;
    assert_eq!(ended.code(), 77, "{ended:?}");
    let evidence = adytum_evidence::evidence::Evidence::dcap_quote(fs::read(&out).unwrap());
    let claims = fixture.verifier().verify(&evidence).await.unwrap();
    let shell = Path::new(crate::fixture::Shell::PATH);
    let identity =
        adytum_init::configuration::measure(&other, crate::fixture::init_binary(), shell).unwrap().identity;
    assert!(claims.carries(identity));

    // The path is the host's choice, so what is there stays as it is.
    fs::write(&out, "untouched").unwrap();
    let ended = fixture.init(&other, broker.address, "echo started").flag(&flag).run().await;
    ended.assert_refused(77, "evidence-file-exists");
    assert_eq!(fs::read_to_string(&out).unwrap(), "untouched");
}
