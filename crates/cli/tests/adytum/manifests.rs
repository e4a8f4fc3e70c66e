//! Manifests: agreed on, sent, listed, compared.

use std::{fs, path::Path};

use adytum_governance::genesis::Genesis;

use crate::fixture::*;

#[tokio::test(flavor = "multi_thread")]
async fn owners_must_agree() {
    let fixture = Fixture::new(3, 2).await;
    let owners = [0, 1, 2].map(|number| fixture.path(&format!("owner{number}.pem")));
    let manifest = fixture.write("manifest.toml", fixture.manifest(1));
    let message = fails(77, fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owners[0]]));
    assert!(message.contains('2'), "{message}");

    // Signatures collected one after the other, in a file next to the manifest.
    for owner in &owners[..2] {
        let sign = ["manifest", "sign", &manifest, "--owner", owner].map(str::to_owned);
        succeeds(sign.to_vec());
    }
    let signatures = fs::read_to_string(format!("{manifest}.sig")).unwrap();
    assert_eq!(signatures.matches("ed25519:").count(), 2);
    assert!(!Path::new(&format!("{manifest}.sig.sig")).exists());
    let apply =
        fixture.pinned(&["manifest", "apply", &manifest, "--owner", &owners[1], "--owner", &owners[2]]);
    succeeds(apply);

    // A manifest that names no owners keeps them: another is compared with those.
    let key = succeeds(vec!["owner".into(), "show".into(), owners[0].clone()]);
    let alone = format!("{}\n[owners]\nthreshold = 1\nkeys = [\"{}\"]\n", fixture.manifest(2), key.trim());
    let alone = fixture.write("alone.toml", &alone);
    let said = succeeds(fixture.pinned(&["manifest", "diff", &alone, "--owner", &owners[0]]));
    assert!(said.contains("WEAKER   the number of owners who must agree falls from 2 to 1\n"), "{said}");

    // A stranger's signature counts for nothing.
    let stranger = fixture.path("stranger.pem");
    let new = ["owner", "new", "--out", &stranger].map(str::to_owned);
    succeeds(new.to_vec());
    let message = fails(77, fixture.pinned(&["secret", "list", "--owner", &stranger]));
    assert!(message.contains("not an owner of this broker"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_for_another_broker_is_not_sent() {
    let fixture = Fixture::new(1, 1).await;
    let other = Genesis::create(fixture.genesis.owners().iter().copied(), 1).unwrap();
    let text =
        fixture.manifest(1).replace(&fixture.genesis.digest().to_string(), &other.digest().to_string());
    let manifest = fixture.write("manifest.toml", &text);
    let message =
        fails(78, fixture.pinned(&["manifest", "apply", &manifest, "--owner", &fixture.path("owner0.pem")]));
    assert!(message.contains("is for the broker of genesis"), "{message}");
    let changed = fixture.write("changed.toml", fixture.manifest(1).replace("version = 1", "version = one"));
    let message = fails(78, vec!["manifest".into(), "check".into(), changed]);
    assert!(message.contains("changed.toml") && message.contains("line 3"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_are_listed_compared_and_shown_again() {
    let fixture = Fixture::new(1, 1).await;
    let owned = |words: &[&str]| {
        let mut arguments = fixture.pinned(words);
        arguments.extend(["--owner".into(), fixture.path("owner0.pem")]);
        arguments
    };
    let none = succeeds(owned(&["manifest", "history"]));
    assert!(none.contains("no manifest yet"), "{none}");
    let first = fixture.write("first.toml", fixture.manifest(1));
    assert!(fails(78, owned(&["manifest", "diff", &first])).contains("no manifest yet"));
    succeeds(owned(&["manifest", "apply", &first]));

    let who = "workloads = [\"digits\"]";
    let leased = fixture.manifest(2).replacen(who, &format!("{who}\nlease = \"10m\""), 1);
    let second = fixture.write("second.toml", &leased);
    let said = succeeds(owned(&["manifest", "diff", &second]));
    assert!(said.starts_with("version  1 -> 2\n~ secret ssl_config\n    lease: + 10m\n"), "{said}");
    assert!(fails(78, owned(&["manifest", "diff", &first, &second])).contains("one manifest with --broker"));
    succeeds(owned(&["manifest", "apply", &second]));

    let key = succeeds(vec!["owner".into(), "show".into(), fixture.path("owner0.pem")]);
    let history = succeeds(owned(&["manifest", "history"]));
    let lines: Vec<&str> = history.lines().collect();
    assert!(lines[0].starts_with("version 2 ") && lines[1].starts_with("version 1 "), "{history}");
    assert!(lines.iter().all(|line| line.ends_with(&format!("signed by {}", key.trim()))), "{history}");
    let json = succeeds(owned(&["manifest", "history", "--count", "1", "--json"]));
    let parsed: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((parsed.as_array().unwrap().len(), &parsed[0]["version"]), (1, &serde_json::json!(2)));
    assert_eq!(succeeds(owned(&["manifest", "get", "--version", "1"])), fixture.manifest(1));
    assert_eq!(succeeds(owned(&["manifest", "get"])), leased);
    assert!(fails(78, owned(&["manifest", "get", "--version", "9"])).contains("refused"));
}
