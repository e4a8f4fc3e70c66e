//! `adytum audit`, the real binary: a broker's log, kept and verified.

#![cfg(feature = "simulation")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "these are tests")]

mod hosted;

use std::{
    fs,
    process::{Command, Output, Stdio},
};

use adytum_signing::OwnerSigningKey;
use hosted::IDENTITY;

struct Stage {
    directory: tempfile::TempDir,
    address: String,
}

impl Stage {
    async fn new() -> Self {
        let (directory, address, _) = hosted::host(&["owner.pem"], 1).await;
        Self { directory, address }
    }

    fn path(&self, name: &str) -> String {
        self.directory.path().join(name).to_str().unwrap().to_owned()
    }

    /// Over an attested session, in the owner's name.
    async fn ask(&self, words: &[&str]) -> Output {
        let mut arguments: Vec<String> = words.iter().map(ToString::to_string).collect();
        arguments.extend(["--broker".into(), self.address.clone()]);
        arguments.extend(["--owner".into(), self.path("owner.pem")]);
        arguments.extend(["--genesis".into(), self.path("genesis.toml")]);
        arguments.extend(["--broker-measurement".into(), IDENTITY.to_string()]);
        arguments.extend(["--trust-simulation".into(), self.path("platform/root.pem")]);
        self.run(arguments).await
    }

    async fn run(&self, arguments: Vec<String>) -> Output {
        let home = self.directory.path().to_owned();
        tokio::task::spawn_blocking(move || {
            Command::new(env!("CARGO_BIN_EXE_adytum"))
                .args(arguments)
                .env_remove("PCCS_URL")
                .env_remove("ADYTUM_BROKER")
                .env_remove("RUST_LOG")
                .env("HOME", &home)
                .env("XDG_STATE_HOME", &home)
                .stdin(Stdio::null())
                .output()
                .unwrap()
        })
        .await
        .unwrap()
    }

    async fn verify(&self, file: &str, flags: &[&str]) -> Output {
        let mut arguments = vec!["audit".to_owned(), "verify".to_owned(), file.to_owned()];
        arguments.extend(flags.iter().map(ToString::to_string));
        self.run(arguments).await
    }
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The value of a line that begins with this name.
fn value(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shown_exported_and_verified_and_tampering_is_named() {
    let stage = Stage::new().await;
    for _ in 0..3 {
        said(&stage.ask(&["secret", "list"]).await);
    }
    let tail = said(&stage.ask(&["audit", "tail", "--number", "2"]).await);
    assert_eq!(tail.lines().count(), 2, "{tail}");
    assert!(tail.contains("command=list-secrets") && tail.contains("command=read-audit"), "{tail}");
    let json = said(&stage.ask(&["audit", "tail", "--json"]).await);
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["number"], &first["event"]["kind"]), (&1.into(), &"start".into()));

    let file = stage.path("log.jsonl");
    let exported = said(&stage.ask(&["audit", "export", "--out", &file]).await);
    let (head, key) = (value(&exported, "head"), value(&exported, "checkpoint key"));
    // Never overwritten.
    assert!(complaint(&stage.ask(&["audit", "export", "--out", &file]).await).contains("can't be created"));
    let genesis = stage.path("genesis.toml");
    let whole =
        said(&stage.verify(&file, &["--head", &head, "--checkpoint-key", &key, "--genesis", &genesis]).await);
    assert!(whole.contains("are whole") && !whole.contains("WARNING"), "{whole}");
    let alone = said(&stage.verify(&file, &[]).await);
    assert!(alone.contains("WARNING"), "{alone}");

    let text = fs::read_to_string(&file).unwrap();
    let tampered = stage.path("tampered.jsonl");
    let lines: Vec<&str> = text.lines().collect();
    let mut missing = lines.clone();
    missing.remove(3);
    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    for (contents, code, record) in [
        (text.replacen("list-secrets", "list-secretz", 1), "audit-record-altered", 2),
        (missing.join("\n") + "\n", "audit-record-missing", 3),
        (swapped.join("\n") + "\n", "audit-record-reordered", 2),
        (lines[..4].join("\n") + "\n", "audit-truncated", 4),
    ] {
        fs::write(&tampered, contents).unwrap();
        let output = stage.verify(&tampered, &["--json"]).await;
        let complaint = complaint(&output);
        assert!(complaint.contains(&format!("record {record}")), "{complaint}");
        assert_eq!(complaint.lines().count(), 1, "{complaint}");
        let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((&found["code"], &found["record"]), (&code.into(), &record.into()));
    }
    // A later head: this file is not all there is by now.
    said(&stage.ask(&["secret", "list"]).await);
    let later = stage.path("later.jsonl");
    let later = value(&said(&stage.ask(&["audit", "export", "--out", &later]).await), "head");
    let complaint = complaint(&stage.verify(&file, &["--head", &later]).await);
    assert!(complaint.contains("cut off"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_file() {
    let stage = Stage::new().await;
    let file = stage.path("log.jsonl");
    let output = stage.ask(&["audit", "export", "--out", &file, "--from", "1000"]).await;
    assert!(complaint(&output).contains("no record 1000"));
    assert!(!std::path::Path::new(&file).exists());
    fs::remove_file(stage.path("owner.pem")).unwrap();
    let key = OwnerSigningKey::generate().unwrap();
    fs::write(stage.path("owner.pem"), key.to_pem().unwrap().as_bytes()).unwrap();
    complaint(&stage.ask(&["audit", "tail"]).await);
}
