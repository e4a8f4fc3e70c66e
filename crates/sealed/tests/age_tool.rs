//! The standard `age` tool opens what we seal, and we open what it encrypts.

use std::{
    fs,
    process::{Command, Stdio},
};

use adytum_sealed::{
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
    unseal::open_in_memory,
};
use adytum_signing::OwnerSigningKey;

#[test]
fn the_standard_tool_and_we_read_each_other() {
    let present = Command::new("age").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if present.is_err() {
        println!("SKIPPED: the age tool is not installed");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let identity = ModelIdentity::generate();
    let owner = OwnerSigningKey::generate().unwrap();
    let key_file = directory.path().join("key.txt");
    fs::write(&key_file, identity.to_text().as_bytes()).unwrap();
    let model: Vec<u8> = (0..200_000_u32).map(|position| (position % 253) as u8).collect();

    let options =
        SealOptions { model: "digits".parse().unwrap(), version: 1, file_name: FileName::model_onnx() };
    let recipient = identity.recipient();
    let base = directory.path().join("models");
    let (sealed, statement) =
        seal_to_directory(&model[..], &base, &recipient, &owner, &options, &mut |_| {}).unwrap();
    let output = Command::new("age")
        .args(["--decrypt", "--identity"])
        .arg(&key_file)
        .arg(sealed.join("model.onnx.age"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == model, "age decrypted something else");

    // The same plaintext, encrypted by age: the statement is about the
    // plaintext, so it holds.
    let plain = directory.path().join("plain");
    fs::write(&plain, &model).unwrap();
    let output = Command::new("age")
        .args(["--encrypt", "--recipient", &recipient.to_string()])
        .arg(&plain)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rule = ModelRule {
        name: "digits".parse().unwrap(),
        signers: [owner.public_key()].into(),
        minimum_version: 0,
        digests: [].into(),
    };
    let genuine = rule.judge(&statement).unwrap();
    let secret = open_in_memory(&output.stdout[..], &genuine, &[identity], 1 << 20).unwrap();
    assert!(secret.as_slice() == model);
}
