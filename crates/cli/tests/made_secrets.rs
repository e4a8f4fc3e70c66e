//! The real binary: secrets and certificates that the broker makes, owners that
//! replace each other, auditors.

#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod hosted;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use adytum_governance::genesis::Genesis;
use adytum_signing::OwnerSigningKey;
use hosted::IDENTITY;

/// A broker in this process whose owner is `owner.pem`; `next.pem` and
/// `auditor.pem` are nobody yet.
struct Stage {
    home: tempfile::TempDir,
    address: String,
    genesis: Genesis,
}

impl Stage {
    async fn new() -> Self {
        let (home, address, genesis) = hosted::host(&["owner.pem"], 1).await;
        for name in ["next.pem", "auditor.pem"] {
            hosted::new_key(home.path(), name);
        }
        Self { home, address, genesis }
    }

    fn path(&self, name: &str) -> String {
        self.home.path().join(name).to_str().unwrap().to_owned()
    }

    fn public(&self, name: &str) -> String {
        OwnerSigningKey::from_pem(&fs::read_to_string(self.path(name)).unwrap())
            .unwrap()
            .public_key()
            .to_string()
    }

    /// Runs the tool with the flags that find this broker and hold it to what it must
    /// be; {words} that end in .pem or .toml are files.
    async fn run(&self, line: &str) -> Output {
        let file = |word: &str| word.ends_with(".pem") || word.ends_with(".toml");
        let words = line.split_whitespace();
        let mut arguments: Vec<String> =
            words.map(|word| if file(word) { self.path(word) } else { word.to_owned() }).collect();
        if matches!(line.split_whitespace().nth(1), Some("ca" | "status")) {
            arguments.insert(2, self.address.clone());
        } else {
            arguments.extend(["--broker".to_owned(), self.address.clone()]);
        }
        arguments.extend([
            "--genesis".to_owned(),
            self.path("genesis.toml"),
            "--broker-measurement".to_owned(),
            IDENTITY.to_string(),
            "--trust-simulation".to_owned(),
            self.path("platform/root.pem"),
            "--heads".to_owned(),
            self.path("heads.json"),
        ]);
        let child = move || {
            Command::new(env!("CARGO_BIN_EXE_adytum"))
                .args(arguments)
                .env_remove("PCCS_URL")
                .env_remove("ADYTUM_BROKER")
                .env_remove("RUST_LOG")
                .stdin(Stdio::null())
                .output()
                .unwrap()
        };
        tokio::task::spawn_blocking(child).await.unwrap()
    }

    async fn succeeds(&self, line: &str) -> String {
        let output = self.run(line).await;
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}: {stderr}");
        String::from_utf8(output.stdout).unwrap()
    }

    async fn fails(&self, line: &str) -> String {
        let output = self.run(line).await;
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{line}: {stderr}");
        assert!(!stderr.contains("panicked"), "{stderr}");
        stderr
    }

    fn manifest(&self, version: u64, more: &str) {
        let text = format!(
            "format = \"adytum manifest v1\"\ngenesis = \"{}\"\nversion = {version}\n\n[trust]\n\
             vendors = [\"simulation\"]\nsimulation_roots = [\"\"\"\n{}\"\"\"]\n\n\
             [[workload]]\nname = \"digits\"\n[workload.policy]\nvendors = [\"simulation\"]\ntee = [\"sgx\"]\n\
             identity = [\"{}\"]\n\n\
             [[secret]]\nname = \"seed\"\nkind = \"random\"\nworkloads = [\"digits\"]\nlease = \"10m\"\n\n\
             [[secret]]\nname = \"uploaded\"\nkind = \"opaque\"\nworkloads = [\"digits\"]\ngrace = \"5m\"\n\n{more}",
            self.genesis.digest(),
            fs::read_to_string(self.path("platform/root.pem")).unwrap(),
            "1f".repeat(32),
        );
        fs::write(self.path("manifest.toml"), text).unwrap();
    }

    fn owners(&self, key: &str) -> String {
        format!("[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", self.public(key))
    }
}

const CERTIFICATE: &str = "[[secret]]\nname = \"tls\"\nkind = \"tls-certificate\"\nworkloads = [\"digits\"]\n\
     [secret.certificate]\ndns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"24h\"\n";

/// The words of the row that begins with this one.
fn row<'a>(listed: &'a str, name: &str) -> Vec<&'a str> {
    let words = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    listed.lines().map(words).find(|row| row.first() == Some(&name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn made_secrets_are_listed_rotated_and_removed() {
    let stage = Stage::new().await;
    stage.manifest(1, CERTIFICATE);
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    let listed = stage.succeeds("secret list --owner owner.pem").await;
    assert_eq!(row(&listed, "seed"), ["seed", "random", "1", "10m", "0s", "digits"]);
    assert_eq!(row(&listed, "uploaded"), ["uploaded", "opaque", "unset", "1h", "5m", "digits"]);
    assert_eq!(row(&listed, "tls"), ["tls", "tls-certificate", "1", "1h", "0s", "digits"]);

    assert_eq!(stage.succeeds("secret rotate seed --owner owner.pem").await, "seed: version 2\n");
    assert_eq!(stage.succeeds("secret rotate tls --owner owner.pem").await, "tls: version 2\n");
    let message = stage.fails("secret rotate uploaded --owner owner.pem").await;
    assert!(message.contains("adytum secret put"), "{message}");
    let message = stage.fails("secret put seed --from-file genesis.toml --owner owner.pem").await;
    assert!(message.contains("adytum secret rotate"), "{message}");
    assert!(stage.fails("secret rotate nothing --owner owner.pem").await.contains("nothing"));

    stage.succeeds("secret rm seed --owner owner.pem").await;
    let listed = stage.succeeds("secret list --owner owner.pem").await;
    assert_eq!(row(&listed, "seed")[2], "removed");
    let json = stage.succeeds("secret list --json --owner owner.pem").await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["name"], "seed");
    assert_eq!((&json[0]["removed"], &json[0]["lease_seconds"]), (&true.into(), &600.into()));
    assert_eq!(stage.succeeds("secret rotate seed --owner owner.pem").await, "seed: version 3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_printed_after_the_broker_was_verified() {
    let stage = Stage::new().await;
    stage.manifest(1, "");
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    assert!(stage.fails("broker ca").await.contains("no certificate authority yet"));
    stage.manifest(2, CERTIFICATE);
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    let first = stage.succeeds("broker ca").await;
    let read = |text: &str| pem::parse_many(text).unwrap();
    assert_eq!(read(&first).len(), 1);
    assert_eq!(read(&first)[0].tag(), "CERTIFICATE");
    let said = stage.succeeds("broker ca --out server.pem").await;
    assert!(said.contains("1 certificate(s)"), "{said}");
    assert_eq!(fs::read_to_string(stage.path("server.pem")).unwrap(), first);
    assert!(stage.fails("broker ca --out server.pem").await.contains("never overwritten"));

    stage.succeeds("broker rotate-ca --owner owner.pem").await;
    let both = stage.succeeds("broker ca").await;
    assert_eq!(read(&both).len(), 2);
    assert!(both.ends_with(&first), "the former one follows");
    let listed = stage.succeeds("secret list --owner owner.pem").await;
    assert_eq!(row(&listed, "tls")[2], "2", "replicas fetch new certificates");
    // A peer that is not the expected broker is not asked.
    let other = Genesis::found(stage.genesis.owners().iter().copied(), 1).unwrap();
    fs::write(stage.path("genesis.toml"), other.to_toml()).unwrap();
    assert!(stage.fails("broker ca").await.contains("genesis-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_replaced_and_the_tool_follows() {
    let stage = Stage::new().await;
    stage.manifest(1, "");
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    stage.manifest(2, &stage.owners("next.pem"));
    let checked = Command::new(env!("CARGO_BIN_EXE_adytum"))
        .args(["manifest", "check", &stage.path("manifest.toml")])
        .output()
        .unwrap();
    let checked = String::from_utf8(checked.stdout).unwrap();
    assert!(checked.contains(&format!("from now on 1 of {}", stage.public("next.pem"))), "{checked}");
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    assert!(stage.fails("secret list --owner owner.pem").await.contains("not an owner"));
    assert!(stage.fails("secret rotate seed --owner owner.pem").await.contains("not an owner"));
    stage.succeeds("secret rotate seed --owner next.pem").await;
    // Signed by owners whom only the manifest before names.
    stage.manifest(3, "");
    stage.succeeds("manifest apply manifest.toml --owner next.pem").await;
    let text = stage.succeeds("manifest get --owner next.pem").await;
    assert_eq!(text, fs::read_to_string(stage.path("manifest.toml")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_and_changes_nothing() {
    let stage = Stage::new().await;
    stage.manifest(1, &format!("[owners]\nauditors = [\"{}\"]\n", stage.public("auditor.pem")));
    stage.succeeds("manifest apply manifest.toml --owner owner.pem").await;
    stage.succeeds("secret list --auditor auditor.pem").await;
    stage.succeeds("audit tail --auditor auditor.pem").await;
    stage.succeeds("manifest get --auditor auditor.pem").await;
    for line in [
        "secret rotate seed --auditor auditor.pem",
        "secret rm seed --owner auditor.pem",
        "secret rm seed --owner owner.pem --owner auditor.pem",
        "broker rotate-ca --auditor auditor.pem",
        "broker confirm --auditor auditor.pem",
    ] {
        let message = stage.fails(line).await;
        assert!(message.contains("is an auditor"), "{line}: {message}");
    }
    assert!(stage.fails("secret list --auditor next.pem").await.contains("not an owner"));
}
