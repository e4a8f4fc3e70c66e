//! `adytum-init` under Gramine, whose `/dev/attestation` is emulated by files in a mount
//! namespace of its own. Quotes are a simulated platform's, made for what the program asks.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use adytum_evidence::measurement::{ReportData, WorkloadIdentity};
use adytum_init::configuration::measure;
use adytum_sim::{Platform, Program};
use nix::{sys::stat::Mode, unistd::mkfifo};
use tokio::process::Command;

use crate::fixture::{Ended, Fixture, RunningBroker, Shell, Workload, ended, init_binary};

/// The enclave: LibOS, init and all that Gramine measures.
const ENCLAVE: WorkloadIdentity = WorkloadIdentity([0x6e; 32]);

/// May this test make a mount namespace?
fn namespaces() -> bool {
    let mounted = std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", "mount -t tmpfs none /dev"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    let may = mounted.is_ok_and(|status| status.success());
    if !may {
        println!("SKIPPED: no user and mount namespaces here (unshare)");
    }
    may
}

/// The files below `/dev/attestation`. `quote` is a pipe: each reader gets a quote over
/// what was written to `user_report_data` last.
fn attestation(directory: &Path, platform: &Arc<Platform>) -> PathBuf {
    let files = directory.join("attestation");
    fs::create_dir_all(files.join("keys")).unwrap();
    fs::write(files.join("attestation_type"), "dcap").unwrap();
    fs::write(files.join("user_report_data"), [0; 64]).unwrap();
    fs::write(files.join("keys/_sgx_mrenclave"), [3; 16]).unwrap();
    let pipe = files.join("quote");
    mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    let (platform, asked) = (platform.clone(), files.join("user_report_data"));
    // Ends with the test's process: nobody reads from the pipe any more.
    std::thread::spawn(move || {
        let mut last = vec![0; 64];
        loop {
            // A reader that has its quote may still be there: each asks for another one.
            let wanted = fs::read(&asked).unwrap_or_default();
            if wanted == last || wanted.len() != 64 {
                std::thread::sleep(Duration::from_millis(2));
                continue;
            }
            let report_data = ReportData::try_from(wanted.as_slice()).unwrap();
            let quote = platform.quote(&Program::of(ENCLAVE), report_data).unwrap();
            if let Ok(mut pipe) = fs::OpenOptions::new().write(true).open(&pipe) {
                let _ = pipe.write_all(&quote);
            }
            last = wanted;
        }
    });
    files
}

/// `adytum-init` in an image with this configuration, whatever its flags say.
async fn run(fixture: &Fixture, image: &Path, broker: &RunningBroker, flags: &[String]) -> Ended {
    let files = attestation(&fixture.directory.path().join(uuid()), fixture.platform());
    let mount = "mount -t tmpfs none /dev && mkdir /dev/attestation && mount --bind \"$1\" /dev/attestation && \
                 mount -t tmpfs none /etc && mkdir /etc/adytum && cp \"$2\" /etc/adytum/workload.toml && shift 2 && \
                 exec \"$@\"";
    let mut command = Command::new("unshare");
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", mount, "sh"])
        .arg(files)
        .arg(image)
        .arg(init_binary())
        .args(["--tee=gramine", "--fetch-timeout=30s"])
        .arg(format!("--broker={}", broker.address))
        .arg(format!("--collateral={}", fixture.platform().collateral_path().unwrap().display()))
        .args(flags)
        .args(["--", Shell::PATH, "-c", "cat <&5; echo"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    ended(command.spawn().unwrap()).await
}

/// A name that no other run of this test has.
fn uuid() -> String {
    static NUMBER: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    format!("run-{}", NUMBER.fetch_add(1, std::sync::atomic::Ordering::SeqCst))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attackers_configuration_gets_nothing_from_a_genuine_enclave() {
    let Some(mut fixture) = Fixture::new() else { return };
    if !namespaces() {
        return;
    }
    // As owners write it for SGX hardware: the enclave, and what it announces.
    fixture.provision.policy = format!("mr_enclave = [\"{ENCLAVE}\"]\n");
    let owners = Workload {
        secrets: "[[secret]]\nname = \"model_key\"\npath = \"fd:5\"\n".to_owned(),
        ..Workload::default()
    };
    let image = fixture.configuration("image", &owners);
    let identity = measure(&image, init_binary(), Path::new(Shell::PATH)).unwrap().identity;
    let broker = fixture.broker_for(identity).await;
    let served = run(&fixture, &image, &broker, &[]).await;
    assert_eq!(served.code(), 0, "{served:?}");
    assert_eq!(served.stdout.trim(), "mellon", "{served:?}");

    // The attacker's writes the key where they read it.
    let attackers = Workload {
        tables: "allow_plain_models = true\n".to_owned(),
        secrets: format!(
            "[[secret]]\nname = \"model_key\"\npath = \"{}\"\n",
            fixture.directory.path().join("stolen").display()
        ),
    };
    let foreign = fixture.configuration("foreign", &attackers);
    // Named by a flag, it is not even read.
    let flag = format!("--configuration={}", foreign.display());
    let refused = run(&fixture, &image, &broker, &[flag]).await;
    refused.assert_refused(78, "configuration-not-in-image");
    // In the place of the image's, as under a LibOS that does not measure the file, it is
    // announced for what it is, and the broker refuses.
    let announced = Workload { tables: attackers.tables, ..owners };
    let replaced = fixture.configuration("replaced", &announced);
    let refused = run(&fixture, &replaced, &broker, &[]).await;
    refused.assert_refused(77, "policy-refused");
    assert!(refused.stderr.contains("which announces"), "{refused:?}");
    assert!(refused.stdout.is_empty(), "{refused:?}");
    assert!(!fixture.directory.path().join("stolen").exists());
}
