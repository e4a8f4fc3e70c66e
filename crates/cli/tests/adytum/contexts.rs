//! Contexts: a broker and what it must prove, by one name.

use adytum_testkit::{manifest::simulated_policy, program::Outcome};

use crate::fixture::*;

/// Runs it with the contexts that lie in the fixture's directory.
fn with_contexts(fixture: &Fixture, words: &[&str]) -> Outcome {
    let mut command = command(words);
    command.env("XDG_CONFIG_HOME", fixture.path("config"));
    run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_context_stands_for_all_pins() {
    let fixture = Fixture::new(1, 1).await;
    let path = |name: &str| fixture.path(name);
    fixture.write("policy.toml", simulated_policy(IDENTITY));
    let manifest = fixture.write("manifest.toml", fixture.manifest(1));
    let address = fixture.address();
    let (genesis, policy, root) = (path("genesis.toml"), path("policy.toml"), path("platform/root.pem"));
    let (heads, owner) = (path("heads.json"), path("owner0.pem"));
    let add = [
        "context",
        "add",
        "here",
        "--broker",
        &address,
        "--genesis",
        &genesis,
        "--broker-policy",
        &policy,
        "--trust-simulation",
        &root,
        "--heads",
        &heads,
        "--owner",
        &owner,
    ];
    with_contexts(&fixture, &add).succeeded();
    // Without a flag, wherever the address is given.
    with_contexts(&fixture, &["broker", "status"]).succeeded();
    with_contexts(&fixture, &["manifest", "apply", &manifest]).succeeded();
    let listed = with_contexts(&fixture, &["secret", "list"]).succeeded();
    assert!(listed.contains("model_key"), "{listed}");

    // A flag is stronger, and so is the environment.
    let wrong = "b1".repeat(32);
    let said = message(77, &with_contexts(&fixture, &["broker", "status", "--broker-measurement", &wrong]));
    assert!(said.contains("refused"), "{said}");
    let mut elsewhere = command(["secret", "list"]);
    elsewhere.env("XDG_CONFIG_HOME", path("config")).env("ADYTUM_BROKER", "127.0.0.1:1");
    message(69, &run(elsewhere));
    // A program is measured from its file, whatever broker is in use.
    let measured =
        with_contexts(&fixture, &["measure", "--broker", env!("CARGO_BIN_EXE_adytum")]).succeeded();
    assert_eq!(measured.trim().len(), 64, "{measured}");

    with_contexts(&fixture, &["context", "add", "other", "--broker", "127.0.0.1:1"]).succeeded();
    let list = with_contexts(&fixture, &["context", "list"]).succeeded();
    assert_eq!(list, format!("* here  {address}\n  other  127.0.0.1:1\n"));
    with_contexts(&fixture, &["--context", "here", "secret", "list"]).succeeded();
    // The other one names no genesis: that is the command line's to give, as without a context.
    with_contexts(&fixture, &["secret", "list", "--context=other"]).failed_with(2);
    let mut by_environment = command(["secret", "list"]);
    by_environment.env("XDG_CONFIG_HOME", path("config")).env("ADYTUM_CONTEXT", "other");
    run(by_environment).failed_with(2);
    let shown = with_contexts(&fixture, &["context", "show", "--json"]).succeeded();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["genesis"], genesis);

    with_contexts(&fixture, &["context", "use", "other"]).succeeded();
    with_contexts(&fixture, &["context", "remove", "other"]).succeeded();
    let said = message(78, &with_contexts(&fixture, &["context", "show"]));
    assert!(said.contains("no context is in use"), "{said}");
    let said = message(78, &with_contexts(&fixture, &["broker", "status", "--context", "gone"]));
    assert!(said.contains("there is here"), "{said}");
    let said = message(78, &with_contexts(&fixture, &["context", "add", "a b"]));
    assert!(said.contains("no name of a context"), "{said}");
    let said = message(78, &with_contexts(&fixture, &["context", "add", "c", "--genesis", "missing.toml"]));
    assert!(said.contains("missing.toml is not there; give"), "{said}");
    // A damaged file is named by all.
    fixture.write("config/adytum/contexts.toml", "nonsense");
    let said = message(78, &with_contexts(&fixture, &["broker", "status"]));
    assert!(said.contains("contexts.toml"), "{said}");
}
