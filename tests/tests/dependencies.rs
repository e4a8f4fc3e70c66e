//! What a program must not link: the command line is a client, and the rules that decide
//! can be read alone.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, process::Command};

/// The crates that are linked into this package with these features, transitively.
fn linked(package: &str, features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", package])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

/// In each build, this package links the first crates and none of the others.
fn check(package: &str, expected: &[&str], forbidden: &[&str]) {
    for features in [&[][..], &["--no-default-features"]] {
        let linked = linked(package, features);
        assert!(expected.iter().all(|name| linked.contains(*name)), "{linked:?}");
        for name in forbidden.iter().chain(&["adytum-testkit"]) {
            assert!(!linked.contains(*name), "{package} {features:?} links {name}");
        }
    }
}

#[test]
fn the_command_line_links_no_store_and_no_server() {
    let forbidden = ["redb", "axum", "prometheus-client", "adytum-broker"];
    check("adytum", &["adytum-governance", "tonic"], &forbidden);
}

/// Sealed bytes need no trusted fetcher, so none is measured with the server.
#[test]
fn the_model_server_links_no_client_of_an_object_store() {
    let forbidden = ["object_store", "reqwest", "hyper-rustls", "adytum-fetch"];
    check("adytum-serving", &["adytum-sealed", "tonic"], &forbidden);
    // The command has one, with the one TLS stack of all programs; or none.
    let linked_with = linked("adytum", &[]);
    assert!(linked_with.contains("object_store") && linked_with.contains("aws-lc-rs"), "{linked_with:?}");
    assert!(
        ["openssl", "native-tls", "ring"].iter().all(|name| !linked_with.contains(*name)),
        "{linked_with:?}"
    );
    assert!(!linked("adytum", &["--no-default-features"]).contains("object_store"));
}

#[test]
fn governance_links_no_runtime_no_tls_and_no_session() {
    let forbidden = ["tokio", "rustls", "hyper", "tonic", "redb", "axum", "adytum-ratls", "adytum-broker"];
    check("adytum-governance", &["adytum-evidence", "adytum-sealed"], &forbidden);
}
