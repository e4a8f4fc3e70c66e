//! `adytum explain` with the catalogue that is built in.

#![expect(clippy::unwrap_used, reason = "tests")]

use std::process::{Command, Output};

fn explain(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_adytum")).arg("explain").args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn a_code_is_explained() {
    let output = explain(&["overloaded"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    for part in ["overloaded\n", "\nmeaning    ", "\nnext step  ", "\nretry      yes", "adytum-serving"] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
}

#[test]
fn an_unknown_code_fails_with_the_nearest() {
    let output = explain(&["overlaoded"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("the nearest are overloaded"), "{}", text(&output.stderr));
    // Neither a code nor --list.
    assert_eq!(explain(&[]).status.code(), Some(2));
}

#[test]
fn the_list_is_json_for_programs() {
    let output = explain(&["--list", "--json"]);
    let list: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    for field in ["code", "meaning", "next_step", "retry", "crate", "programs"] {
        assert!(list.iter().all(|entry| !entry[field].is_null()), "{field}");
    }
    let lines = text(&explain(&["--list"]).stdout).lines().count();
    assert_eq!(lines, list.len());
    let one: serde_json::Value = serde_json::from_slice(&explain(&["stopping", "--json"]).stdout).unwrap();
    assert!(list.contains(&one), "{one}");
}
