//! The real binary: secrets and certificates that the broker makes, owners that
//! replace each other, auditors.

use std::fs;

use adytum_governance::genesis::Genesis;
use adytum_testkit::{
    manifest::{secret_table, simulated_policy},
    owners::{read_owner, write_owner},
    program::Outcome,
};

use crate::fixture::{Fixture, adytum, succeeds};

/// A broker whose owner is `owner0.pem`. The keys `next.pem` and `auditor.pem` have no
/// role yet.
struct Ownership(Fixture);

impl Ownership {
    async fn new() -> Self {
        let fixture = Fixture::new(1, 1).await;
        for name in ["next.pem", "auditor.pem"] {
            write_owner(&fixture, name);
        }
        Self(fixture)
    }

    fn public(&self, name: &str) -> String {
        read_owner(&self.0, name).public_key().to_string()
    }

    /// Runs the tool with the flags that identify this broker. Words that end in .pem or
    /// .toml are files.
    fn run(&self, line: &str) -> Outcome {
        let file = |word: &str| word.ends_with(".pem") || word.ends_with(".toml");
        let words: Vec<String> = line
            .split_whitespace()
            .map(|word| if file(word) { self.0.path(word) } else { word.to_owned() })
            .collect();
        adytum(self.0.pinned(&words.iter().map(String::as_str).collect::<Vec<_>>()))
    }

    #[track_caller]
    fn succeeds(&self, line: &str) -> String {
        self.run(line).succeeded()
    }

    #[track_caller]
    fn fails(&self, code: i32, line: &str) -> String {
        self.run(line).failed_with(code)
    }

    fn manifest(&self, version: u64, more: &str) {
        let text = self
            .0
            .trusting(version)
            .workload("digits", &simulated_policy("1f".repeat(32)), &[])
            .table(secret_table("seed", "random", &["digits"]) + "lease = \"10m\"\n")
            .table(secret_table("uploaded", "opaque", &["digits"]) + "grace = \"5m\"\n")
            .table(more)
            .text();
        self.0.write("manifest.toml", text);
    }

    fn owners(&self, key: &str) -> String {
        format!("[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", self.public(key))
    }
}

pub(crate) const CERTIFICATE: &str = "[[secret]]\nname = \"tls\"\nkind = \"tls-certificate\"\nworkloads = [\"digits\"]\n\
     [secret.certificate]\ndns_names = [\"localhost\"]\nusages = [\"server\"]\nlifetime = \"24h\"\n";

/// The words of the row that begins with this one.
fn row<'a>(listed: &'a str, name: &str) -> Vec<&'a str> {
    let words = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    listed.lines().map(words).find(|row| row.first() == Some(&name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn made_secrets_are_listed_rotated_and_removed() {
    let ownership = Ownership::new().await;
    ownership.manifest(1, CERTIFICATE);
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    let listed = ownership.succeeds("secret list --owner owner0.pem");
    assert_eq!(row(&listed, "seed"), ["seed", "random", "1", "10m", "0s", "digits"]);
    assert_eq!(row(&listed, "uploaded"), ["uploaded", "opaque", "unset", "1h", "5m", "digits"]);
    assert_eq!(row(&listed, "tls"), ["tls", "tls-certificate", "1", "1h", "0s", "digits"]);

    assert_eq!(ownership.succeeds("secret rotate seed --owner owner0.pem"), "seed: version 2\n");
    assert_eq!(ownership.succeeds("secret rotate tls --owner owner0.pem"), "tls: version 2\n");
    let message = ownership.fails(78, "secret rotate uploaded --owner owner0.pem");
    assert!(message.contains("adytum secret put"), "{message}");
    let message = ownership.fails(78, "secret put seed --from-file genesis.toml --owner owner0.pem");
    assert!(message.contains("adytum secret rotate"), "{message}");
    assert!(ownership.fails(78, "secret rotate nothing --owner owner0.pem").contains("nothing"));

    ownership.succeeds("secret rm seed --owner owner0.pem");
    let listed = ownership.succeeds("secret list --owner owner0.pem");
    assert_eq!(row(&listed, "seed")[2], "removed");
    let json = ownership.succeeds("secret list --json --owner owner0.pem");
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["name"], "seed");
    assert_eq!((&json[0]["removed"], &json[0]["lease_seconds"]), (&true.into(), &600.into()));
    assert_eq!(ownership.succeeds("secret rotate seed --owner owner0.pem"), "seed: version 3\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_authority_is_printed_after_the_broker_was_verified() {
    let ownership = Ownership::new().await;
    ownership.manifest(1, "");
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    assert!(ownership.fails(78, "broker ca").contains("no certificate authority yet"));
    ownership.manifest(2, CERTIFICATE);
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    let first = ownership.succeeds("broker ca");
    let read = |text: &str| pem::parse_many(text).unwrap();
    assert_eq!(read(&first).len(), 1);
    assert_eq!(read(&first)[0].tag(), "CERTIFICATE");
    let said = ownership.succeeds("broker ca --out server.pem");
    assert!(said.contains("1 certificate(s)"), "{said}");
    assert_eq!(fs::read_to_string(ownership.0.path("server.pem")).unwrap(), first);
    assert!(ownership.fails(78, "broker ca --out server.pem").contains("never overwritten"));

    ownership.succeeds("broker rotate-ca --owner owner0.pem");
    let both = ownership.succeeds("broker ca");
    assert_eq!(read(&both).len(), 2);
    assert!(both.ends_with(&first), "the previous one follows");
    let listed = ownership.succeeds("secret list --owner owner0.pem");
    assert_eq!(row(&listed, "tls")[2], "2", "replicas fetch new certificates");
    // A peer that is not the expected broker is not asked.
    let other = Genesis::create(ownership.0.genesis.owners().iter().copied(), 1).unwrap();
    fs::write(ownership.0.path("genesis.toml"), other.to_toml()).unwrap();
    assert!(ownership.fails(77, "broker ca").contains("genesis-mismatch"));
}

#[tokio::test(flavor = "multi_thread")]
async fn owners_are_replaced_and_the_tool_follows() {
    let ownership = Ownership::new().await;
    ownership.manifest(1, "");
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    ownership.manifest(2, &ownership.owners("next.pem"));
    let checked = succeeds(["manifest", "check", &ownership.0.path("manifest.toml")]);
    assert!(checked.contains(&format!("from now on 1 of {}", ownership.public("next.pem"))), "{checked}");
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    assert!(ownership.fails(77, "secret list --owner owner0.pem").contains("not an owner"));
    assert!(ownership.fails(77, "secret rotate seed --owner owner0.pem").contains("not an owner"));
    ownership.succeeds("secret rotate seed --owner next.pem");
    // Signed by owners whom only the manifest before names.
    ownership.manifest(3, "");
    ownership.succeeds("manifest apply manifest.toml --owner next.pem");
    let text = ownership.succeeds("manifest get --owner next.pem");
    assert_eq!(text, fs::read_to_string(ownership.0.path("manifest.toml")).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_reads_and_changes_nothing() {
    let ownership = Ownership::new().await;
    ownership.manifest(1, &format!("[owners]\nauditors = [\"{}\"]\n", ownership.public("auditor.pem")));
    ownership.succeeds("manifest apply manifest.toml --owner owner0.pem");
    ownership.succeeds("secret list --auditor auditor.pem");
    ownership.succeeds("audit tail --auditor auditor.pem");
    ownership.succeeds("manifest get --auditor auditor.pem");
    for line in [
        "secret rotate seed --auditor auditor.pem",
        "secret rm seed --owner auditor.pem",
        "secret rm seed --owner owner0.pem --owner auditor.pem",
        "broker rotate-ca --auditor auditor.pem",
        "broker confirm --auditor auditor.pem",
    ] {
        let message = ownership.fails(77, line);
        assert!(message.contains("is an auditor"), "{line}: {message}");
    }
    assert!(ownership.fails(77, "secret list --auditor next.pem").contains("not an owner"));
}
