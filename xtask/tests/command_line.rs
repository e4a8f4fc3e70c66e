//! The command line refuses what it can't do.

use std::process::Command;

#[test]
fn a_model_without_a_place_is_refused_with_the_flag_that_is_missing() {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(["model", "resnet50"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("--out"), "{said}");
}
