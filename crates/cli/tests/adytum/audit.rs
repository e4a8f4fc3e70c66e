//! `adytum audit`, the real binary: a broker's log, kept and verified.

use std::fs;

use adytum_testkit::{owners::write_owner, program::Outcome};

use crate::fixture::{Fixture, adytum, message};

/// Over an attested session, in the owner's name.
fn ask(fixture: &Fixture, words: &[&str]) -> Outcome {
    let owner = fixture.path("owner0.pem");
    adytum(fixture.pinned(&[words, &["--owner", &owner]].concat()))
}

fn verify(file: &str, flags: &[&str]) -> Outcome {
    adytum([&["audit", "verify", file], flags].concat())
}

/// The value of a line that begins with this name.
fn value(text: &str, name: &str) -> String {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.trim().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_shown_exported_and_verified_and_tampering_is_named() {
    let fixture = Fixture::new(1, 1).await;
    for _ in 0..3 {
        ask(&fixture, &["secret", "list"]).succeeded();
    }
    let tail = ask(&fixture, &["audit", "tail", "--count", "2"]).succeeded();
    assert_eq!(tail.lines().count(), 2, "{tail}");
    assert!(tail.contains("command=list-secrets") && tail.contains("command=read-audit"), "{tail}");
    let json = ask(&fixture, &["audit", "tail", "--json"]).succeeded();
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["number"], &first["event"]["kind"]), (&1.into(), &"start".into()));

    let file = fixture.path("log.jsonl");
    let exported = ask(&fixture, &["audit", "export", "--out", &file]).succeeded();
    let (head, key) = (value(&exported, "head"), value(&exported, "checkpoint key"));
    // Never overwritten.
    assert!(ask(&fixture, &["audit", "export", "--out", &file]).failed_with(78).contains("can't be created"));
    let genesis = fixture.path("genesis.toml");
    let whole =
        verify(&file, &["--head", &head, "--checkpoint-key", &key, "--genesis", &genesis]).succeeded();
    assert!(whole.contains("are whole") && !whole.contains("WARNING"), "{whole}");
    let alone = verify(&file, &[]).succeeded();
    assert!(alone.contains("WARNING"), "{alone}");

    let text = fs::read_to_string(&file).unwrap();
    let tampered = fixture.path("tampered.jsonl");
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
        let output = verify(&tampered, &["--json"]);
        let complaint = message(77, &output);
        assert!(complaint.contains(&format!("record {record}")), "{complaint}");
        let found: serde_json::Value = serde_json::from_slice(&output.0.stdout).unwrap();
        assert_eq!((&found["code"], &found["record"]), (&code.into(), &record.into()));
    }
    // A later head: this file is not all there is by now.
    ask(&fixture, &["secret", "list"]).succeeded();
    let later = fixture.path("later.jsonl");
    let later = value(&ask(&fixture, &["audit", "export", "--out", &later]).succeeded(), "head");
    let complaint = verify(&file, &["--head", &later]).failed_with(77);
    assert!(complaint.contains("cut off"), "{complaint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_file() {
    let fixture = Fixture::new(1, 1).await;
    let file = fixture.path("log.jsonl");
    let output = ask(&fixture, &["audit", "export", "--out", &file, "--from", "1000"]);
    assert!(output.failed_with(78).contains("no record 1000"));
    assert!(!std::path::Path::new(&file).exists());
    fs::remove_file(fixture.path("owner0.pem")).unwrap();
    write_owner(&fixture, "owner0.pem");
    ask(&fixture, &["audit", "tail"]).failed_with(77);
}
