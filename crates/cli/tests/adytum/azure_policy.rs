//! A workload's policy as the release policy of a key at Azure.

use adytum_testkit::{
    directory::Directory,
    manifest::{Manifest, enclave_policy},
};
use serde_json::Value;

use crate::fixture::{fails, succeeds};

#[test]
fn a_workloads_policy_is_printed_as_a_release_policy() {
    let directory = Directory::new();
    let genesis = "1".repeat(64);
    let text =
        Manifest::intel(&genesis, 1).unrecoverable().workload("digits", &enclave_policy(0x1f), &[]).text();
    let manifest = directory.write("manifest.toml", text);
    let run = |workload: &str, authority: &str, more: &[&str]| {
        let words = ["manifest", "azure-policy", &manifest, "--workload", workload, "--authority", authority];
        [&words, more].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let authority = "https://sharedneu.neu.attest.azure.net";
    let policy: Value = serde_json::from_str(&succeeds(run("digits", authority, &[]))).unwrap();
    assert_eq!(policy["anyOf"][0]["authority"], authority);
    assert_eq!(policy["anyOf"][0]["allOf"][1]["equals"], "1f".repeat(32));
    let json: Value = serde_json::from_str(&succeeds(run("digits", authority, &["--json"]))).unwrap();
    assert_eq!((&json["policy"], &json["not_checked"][0]), (&policy, &Value::from("tcb_status")));

    assert!(fails(78, run("digits", "http://evil.example", &[])).contains("--authority"));
    assert!(fails(78, run("nobody", authority, &[])).contains("no workload nobody"));
}
