//! Sealed secrets of Confidential Containers: what the real init opens for a program, and what it
//! refuses before it asks for anything.

use std::{fs, path::Path};

use adytum_api::broker::{RotateSecret, command::Command};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::json;

use crate::fixture::{Fixture, Init, Workload, ended, eventually, memory_directory, read_until};

const KID: &str = "kbs:///default/signer/key";

fn content(resource: &str) -> String {
    let json = json!({
        "version": "0.1.0", "type": "vault", "provider": "kbs", "name": format!("kbs:///{resource}"),
        "provider_settings": {}, "annotations": {}
    });
    URL_SAFE_NO_PAD.encode(json.to_string())
}

fn unsigned(resource: &str) -> String {
    format!("sealed.fakejwsheader.{}.fakesignature", content(resource))
}

/// The owner who signs pointers.
struct Signer(EcdsaKeyPair);

impl Signer {
    fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn toml(&self) -> String {
        let (x, y) = self.0.public_key().as_ref()[1..].split_at(32);
        let (x, y) = (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y));
        format!("signers = {{ \"{KID}\" = {{ x = \"{x}\", y = \"{y}\" }} }}\n")
    }

    fn sign(&self, resource: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(json!({ "alg": "ES256", "kid": KID }).to_string());
        let signed = format!("{header}.{}", content(resource));
        let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
        format!("sealed.{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// `PASSWORD` may point to one secret without a signature, `TOKEN` and a file to two with one.
fn workload(signer: &Signer, memory: &Path) -> Workload {
    let (host, program) = (memory.join("host"), memory.join("token"));
    let resources =
        "resources = { \"default/model/key\" = \"model_key\", \"default/random/key\" = \"random_key\" }\n";
    let signers = signer.toml();
    Workload {
        tables: format!(
            "[environment]\nallow = [\"PATH\"]\n\
             [[sealed]]\nvariable = \"PASSWORD\"\nresources = {{ \"default/password/test\" = \"ssl_config\" }}\n\
             [[sealed]]\nvariable = \"TOKEN\"\n{resources}{signers}\
             [[sealed]]\nfile = \"{}\"\npath = \"{}\"\nreload_signal = \"HUP\"\n{resources}{signers}",
            host.display(),
            program.display()
        ),
        secrets: ["ssl_config", "model_key", "random_key"]
            .map(|name| format!("[[secret]]\nname = \"{name}\"\n"))
            .concat(),
    }
}

struct Host {
    password: String,
    token: String,
    file: String,
}

impl Host {
    fn honest(signer: &Signer) -> Self {
        Self {
            password: unsigned("default/password/test"),
            token: signer.sign("default/model/key"),
            file: signer.sign("default/random/key") + "\n",
        }
    }

    fn give(&self, init: Init, memory: &Path) -> Init {
        fs::write(memory.join("host"), &self.file).unwrap();
        init.environment("PASSWORD", &self.password).environment("TOKEN", &self.token)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_program_finds_the_values_in_place_of_the_pointers() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let (signer, memory) = (Signer::new(), memory.path());
    let configuration = fixture.configuration("workload", &workload(&signer, memory));
    let broker = fixture.broker(&configuration).await;
    let program_file = memory.join("token");
    let script = "trap 'echo hup.' HUP; echo \"$PASSWORD $TOKEN\"; echo ready.; while :; do sleep 0.02; done";
    let init = fixture.init(&configuration, broker.address, script).environment("PATH", "/usr/bin:/bin");
    let mut child = Host::honest(&signer).give(init, memory).start();
    let said = read_until(&mut child, "ready.").await;
    assert!(said.contains("sesame mellon"), "{said}");
    let first = fs::read(&program_file).unwrap();
    assert_eq!(first.len(), 32, "32 random bytes");
    fixture.order(&broker, Command::RotateSecret(RotateSecret { name: "random_key".to_owned() })).await;
    read_until(&mut child, "hup.").await;
    eventually("the new value", || fs::read(&program_file).is_ok_and(|now| now != first)).await;
    let pid = i32::try_from(child.id().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    let ended = ended(child).await;
    assert!(!ended.stderr.contains("sesame") && !ended.stderr.contains("mellon"), "{ended:?}");
    assert!(!program_file.exists(), "it outlives the program");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pointer_that_the_owner_did_not_mean_is_refused() {
    let (Some(fixture), Some(memory)) = (Fixture::new(), memory_directory()) else { return };
    let (signer, stranger, memory) = (Signer::new(), Signer::new(), memory.path());
    let configuration = fixture.configuration("workload", &workload(&signer, memory));
    let nobody = "127.0.0.1:9".parse().unwrap();
    let refused = async |change: &dyn Fn(&mut Host), code: &str| {
        let mut host = Host::honest(&signer);
        change(&mut host);
        let init = host.give(fixture.init(&configuration, nobody, "echo started"), memory).run().await;
        init.assert_refused(78, code);
        assert!(init.stdout.is_empty() && !init.stderr.contains("eyJ"), "{init:?}");
    };
    // The host's own value.
    refused(&|host| host.password = "changeme".to_owned(), "sealed-secret-malformed").await;
    // Another resource than the place is for; a genuine pointer from another place.
    refused(&|host| host.password = unsigned("default/model/key"), "sealed-secret-resource").await;
    refused(&|host| host.token = signer.sign("default/password/test"), "sealed-secret-resource").await;
    // Nobody has signed, or somebody else; the owner has signed another content.
    refused(&|host| host.token = unsigned("default/model/key"), "sealed-secret-signature").await;
    refused(&|host| host.file = stranger.sign("default/model/key"), "sealed-secret-signature").await;
    let altered = |host: &mut Host| {
        let parts: Vec<&str> = host.file.trim().split('.').collect();
        host.file = [parts[0], parts[1], &content("default/model/key"), parts[3]].join(".");
    };
    refused(&altered, "sealed-secret-signature").await;
    refused(&|host| host.file = "sealed.".repeat(20_000), "sealed-secret-malformed").await;
    let envelope =
        json!({ "version": "0.1.0", "type": "envelope", "provider": "aliyun", "name": "" }).to_string();
    let envelope = format!("sealed.a.{}.c", URL_SAFE_NO_PAD.encode(envelope));
    refused(&|host| host.password.clone_from(&envelope), "sealed-secret-unsupported").await;

    let init = fixture.init(&configuration, nobody, "echo started").run().await;
    init.assert_refused(78, "sealed-secret-missing");
    let init = Host::honest(&signer).give(fixture.init(&configuration, nobody, "echo started"), memory);
    fs::remove_file(memory.join("host")).unwrap();
    init.run().await.assert_refused(78, "sealed-secret-missing");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_no_variable_can_have_is_refused() {
    let Some(mut fixture) = Fixture::new() else { return };
    fixture.provision.secrets = vec![("binary", "opaque", "a\0b".to_owned())];
    let workload = Workload {
        tables: "[[sealed]]\nvariable = \"PASSWORD\"\nresources = { \"a/b/c\" = \"binary\" }\n".to_owned(),
        secrets: "[[secret]]\nname = \"binary\"\n".to_owned(),
    };
    let configuration = fixture.configuration("workload", &workload);
    let broker = fixture.broker(&configuration).await;
    let init = fixture
        .init(&configuration, broker.address, "echo started")
        .environment("PASSWORD", &unsigned("a/b/c"));
    let ended = init.run().await;
    ended.assert_refused(78, "sealed-secret-value");
    assert!(ended.stdout.is_empty(), "{ended:?}");
}
