//! A workload whose keys come from a KBS of Confidential Containers: the real `adytum-init`,
//! against a server that was written apart from the client, and against our own broker's port for
//! that protocol.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use adytum_api::broker::{PutSecret, RemoveSecret, command::Command};
use adytum_broker::ServerLimits;
use adytum_emulators::{
    kbs::{Lie, NAME, Options, Running},
    tls_proxy::TlsProxy,
};
use adytum_evidence::measurement::MrEnclave;
use adytum_init::configuration::measure;
use adytum_testkit::{kbs::KbsPort, manifest::secret_table};

use crate::fixture::{
    Fixture, RunningBroker, Shell, ended, eventually, init_binary, memory_directory, read_until,
};

/// A workload that gets `default/key/model` of a KBS under this root.
fn configuration(fixture: &Fixture, memory: &Path, root: &str, tables: &str) -> PathBuf {
    let at = memory.display();
    let text = format!(
        "format = \"adytum workload v1\"\n[program]\npath = \"{}\"\nsha256 = \"{}\"\n\
         required_arguments = [[\"-c\", \"*\"]]\n{}[kbs]\nurl = \"https://{NAME}:8080\"\nroots = \"\"\"\n{root}\"\"\"\n\
         [[secret]]\nname = \"key\"\nlocation = \"key/model\"\npath = \"{at}/key\"\nreload_signal = \"HUP\"\n\
         [environment]\nallow = [\"PATH\"]\n{tables}",
        Shell::PATH,
        fixture.shell.sha256,
        fixture.shell.toml(),
    );
    let path = fixture.directory.path().join("kbs.toml");
    fs::write(&path, text).unwrap();
    path
}

async fn server(fixture: &Fixture, lie: Lie) -> Running {
    Running::start(Options {
        platform: fixture.platform().clone(),
        client: MrEnclave([0; 32]),
        resources: BTreeMap::from([("default/key/model".to_owned(), b"sesame".to_vec())]),
        hash: Some("sha512"),
        lie,
    })
    .await
}

fn release_to(server: &Running, configuration: &Path) {
    let identity = measure(configuration, init_binary(), Shell::PATH.as_ref()).unwrap().identity;
    server.release_to(MrEnclave(identity.0));
}

/// Says "hup." at each new value, until it is stopped.
const SCRIPT: &str =
    "trap 'echo hup.' HUP; trap 'echo term.; exit 0' TERM; echo ready.; while :; do sleep 0.02; done";

#[tokio::test]
async fn a_program_gets_its_key_from_a_kbs_and_from_no_liar() {
    for (lie, exit, code) in [
        (Lie::None, 0, ""),
        (Lie::OtherRoot, 69, "kbs-source-unreachable"),
        (Lie::OtherName, 69, "kbs-source-unreachable"),
        (Lie::AlteredContent, 77, "kbs-source-resource-closed"),
        (Lie::OtherRecipient, 77, "kbs-source-resource-closed"),
    ] {
        let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
        let server = server(&fixture, lie).await;
        let configuration = configuration(&fixture, memory.path(), server.root(), "");
        release_to(&server, &configuration);
        let ended = fixture
            .init_without_address(&configuration, &format!("cat {}/key", memory.path().display()))
            .flag(&format!("--broker={}", server.address()))
            .flag("--fetch-timeout=3s")
            .run()
            .await;
        if exit == 0 {
            assert_eq!((ended.code(), ended.stdout.as_str()), (0, "sesame"), "{ended:?}");
        } else {
            ended.assert_refused(exit, code);
        }
        assert!(!ended.stderr.contains("sesame"), "{ended:?}");
    }
}

/// A KBS lends nothing, so the measured configuration says how long a key may be used.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_changes_at_a_kbs_reaches_the_program_and_a_revocation_ends_it() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let server = server(&fixture, Lie::None).await;
    let configuration = configuration(
        &fixture,
        memory.path(),
        server.root(),
        "[lease]\nduration = \"10s\"\ngrace = \"1s\"\n",
    );
    release_to(&server, &configuration);
    let mut child = fixture
        .init_without_address(&configuration, SCRIPT)
        .environment("PATH", "/usr/bin:/bin")
        .flag(&format!("--broker={}", server.address()))
        .start();
    read_until(&mut child, "ready.").await;
    let file = memory.path().join("key");
    assert_eq!(fs::read(&file).unwrap(), b"sesame");
    server.put("default/key/model", b"mellon");
    read_until(&mut child, "hup.").await;
    assert_eq!(fs::read(&file).unwrap(), b"mellon");
    server.release_to(MrEnclave([1; 32]));
    let ended = ended(child).await;
    ended.assert_refused(69, "lease-expired");
    assert!(ended.stdout.contains("term.") && ended.stderr.contains("this enclave"), "{ended:?}");
    assert!(!file.exists(), "no secret outlives the program");
}

/// A broker whose manifest gives this workload `default/key/model`, and its port for the protocol.
async fn broker_with_port(fixture: &Fixture, configuration: &Path) -> (RunningBroker, KbsPort) {
    let broker = fixture.broker(configuration).await;
    put(fixture, &broker, b"open sesame").await;
    let port = KbsPort::open(&broker.broker, ServerLimits::default()).await;
    (broker, port)
}

async fn put(fixture: &Fixture, broker: &RunningBroker, value: &[u8]) {
    let put = PutSecret { name: "kbs_key".to_owned(), value: value.to_vec() };
    fixture.order(broker, Command::PutSecret(put)).await;
}

fn fixture_with_resource() -> Option<Fixture> {
    let mut fixture = Fixture::new()?;
    let table = secret_table("kbs_key", "opaque", &["shell"]);
    fixture.provision.tables = format!("{table}kbs_resource = \"default/key/model\"\n");
    Some(fixture)
}

/// Behind a proxy that ends TLS, as the port itself is plain HTTP. The broker lends there, too.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn our_own_brokers_port_gives_and_lends_and_takes_back() {
    let (Some(fixture), Some(memory)) = (fixture_with_resource(), memory_directory()) else { return };
    let proxy = TlsProxy::start(NAME).await;
    let configuration = configuration(&fixture, memory.path(), proxy.root(), "");
    let (broker, port) = broker_with_port(&fixture, &configuration).await;
    proxy.forward_to(port.address);
    let mut child = fixture
        .init_without_address(&configuration, SCRIPT)
        .environment("PATH", "/usr/bin:/bin")
        .flag(&format!("--broker={}", proxy.address()))
        .start();
    read_until(&mut child, "ready.").await;
    let file = memory.path().join("key");
    assert_eq!(fs::read(&file).unwrap(), b"open sesame");
    put(&fixture, &broker, b"mellon").await;
    read_until(&mut child, "hup.").await;
    eventually("the new value is there", || fs::read(&file).is_ok_and(|value| value == b"mellon")).await;
    let remove = RemoveSecret { name: "kbs_key".to_owned() };
    fixture.order(&broker, Command::RemoveSecret(remove)).await;
    let ended = ended(child).await;
    ended.assert_refused(69, "lease-expired");
    assert!(!ended.stderr.contains("mellon") && !file.exists(), "{ended:?}");
}

/// A server without a certificate under the measured roots is not the KBS, even if it forwards to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_man_in_the_middle_and_another_workload_get_nothing_of_our_own_port() {
    let (Some(fixture), Some(memory)) = (fixture_with_resource(), memory_directory()) else { return };
    let (proxy, middle) = (TlsProxy::start(NAME).await, TlsProxy::start(NAME).await);
    let named = configuration(&fixture, memory.path(), proxy.root(), "");
    let (_broker, port) = broker_with_port(&fixture, &named).await;
    proxy.forward_to(port.address);
    middle.forward_to(port.address);
    let run = async |configuration: &Path, through: &TlsProxy| {
        fixture
            .init_without_address(configuration, "echo started")
            .flag(&format!("--broker={}", through.address()))
            .flag("--fetch-timeout=1s")
            .run()
            .await
    };
    let ended = run(&named, &middle).await;
    ended.assert_refused(69, "kbs-source-unreachable");
    assert!(ended.stderr.contains("certificate"), "{ended:?}");
    // One that nobody named: the broker explains itself.
    let other = configuration(&fixture, memory.path(), proxy.root(), "[lease]\nduration = \"10s\"\n");
    let ended = run(&other, &proxy).await;
    ended.assert_refused(77, "kbs-source-refused");
    assert!(
        ended.stderr.contains("policy-refused") && ended.stderr.contains("identity (wanted"),
        "{ended:?}"
    );
    assert!(ended.stdout.is_empty(), "{ended:?}");
}
