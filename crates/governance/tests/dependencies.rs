//! The rules that decide link no runtime, no TLS and no session: they can be read alone.

#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::{collections::BTreeSet, process::Command};

/// The crates that are linked into this package with these features, transitively.
fn linked(features: &[&str]) -> BTreeSet<String> {
    let tree = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "adytum-governance"])
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
fn governance_links_no_runtime_no_tls_and_no_session() {
    for features in [&[][..], &["--no-default-features"]] {
        let linked = linked(features);
        assert!(linked.contains("adytum-evidence") && linked.contains("adytum-sealed"), "{linked:?}");
        for other in ["tokio", "rustls", "hyper", "tonic", "redb", "axum", "adytum-ratls", "adytum-broker"] {
            assert!(!linked.contains(other), "adytum-governance {features:?} links {other}");
        }
    }
}
