//! The command line is a client: no server and no store is in it.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, process::Command};

/// The crates that are linked into this package with these features, transitively.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "adytum"])
        .args(["--edges", "normal", "--prefix", "none", "--format", "{p}"])
        .args(features)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let text = String::from_utf8(tree.stdout).unwrap();
    text.lines().filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
}

#[test]
fn the_command_line_links_no_store_and_no_server() {
    for features in [&[][..], &["--no-default-features"]] {
        let linked = linked(features);
        assert!(linked.contains("adytum-governance") && linked.contains("tonic"), "{linked:?}");
        for other in ["redb", "axum", "prometheus-client", "adytum-broker"] {
            assert!(!linked.contains(other), "adytum {features:?} links {other}");
        }
    }
}
