//! `adytum explain` with the catalogue that is built in.

use crate::fixture::adytum;

#[test]
fn a_code_is_explained() {
    let said = adytum(["explain", "overloaded"]).succeeded();
    for part in ["overloaded\n", "\nmeaning    ", "\nnext step  ", "\nretry      yes", "adytum-serving"] {
        assert!(said.contains(part), "{part:?}: {said}");
    }
}

#[test]
fn an_unknown_code_fails_with_the_nearest() {
    let message = adytum(["explain", "overlaoded"]).failed_with(78);
    assert!(message.contains("the nearest are overloaded"), "{message}");
    // Neither a code nor --list.
    adytum(["explain"]).failed_with(2);
}

#[test]
fn the_list_is_json_for_programs() {
    let list = adytum(["explain", "--list", "--json"]).succeeded();
    let list: Vec<serde_json::Value> = serde_json::from_str(&list).unwrap();
    for field in ["code", "meaning", "next_step", "retry", "crate", "programs"] {
        assert!(list.iter().all(|entry| !entry[field].is_null()), "{field}");
    }
    assert_eq!(adytum(["explain", "--list"]).succeeded().lines().count(), list.len());
    let one = adytum(["explain", "stopping", "--json"]).succeeded();
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert!(list.contains(&one), "{one}");
}
