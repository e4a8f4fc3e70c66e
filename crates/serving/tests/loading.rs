//! Which version is served, and why the others are not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod support;

use std::{fs, path::Path};

use adytum_engine::static_engine::StaticEngine;
use adytum_sealed::{
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_serving::{
    loading::{LoadingError, ModelSource, load_highest},
    models::{Models, VersionChoice, VersionState},
};
use adytum_signing::OwnerSigningKey;
use support::onnx;

struct Owner {
    signing: OwnerSigningKey,
    identity: ModelIdentity,
}

impl Owner {
    fn new() -> Self {
        Self { signing: OwnerSigningKey::generate().unwrap(), identity: ModelIdentity::generate() }
    }

    fn seal(&self, base: &Path, version: u64, signer: &OwnerSigningKey, file: &[u8]) {
        let options = SealOptions { model: "m".parse().unwrap(), version, file_name: FileName::model_onnx() };
        seal_to_directory(file, base, &self.identity.recipient(), signer, &options, &mut |_| {}).unwrap();
    }

    fn source(&self, base: &Path, minimum_version: u64) -> ModelSource {
        let rule = ModelRule {
            name: "m".parse().unwrap(),
            signers: [self.signing.public_key()].into(),
            minimum_version,
            digests: Default::default(),
        };
        ModelSource { rule: Some(rule), identities: vec![self.identity.clone()], ..plain_source(base, false) }
    }
}

fn plain_source(base: &Path, allow_plain: bool) -> ModelSource {
    ModelSource {
        name: "m".to_owned(),
        base: base.to_owned(),
        rule: None,
        identities: Vec::new(),
        allow_plain,
        size_limit: 1 << 20,
        resources: support::resources(),
    }
}

fn write_plain(base: &Path, version: u64, file: &[u8]) {
    let directory = base.join(version.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("model.onnx"), file).unwrap();
}

fn load(source: &ModelSource) -> (Models, Result<i64, LoadingError>) {
    let models = Models::default();
    let loaded = load_highest(source, &StaticEngine, &models);
    (models, loaded)
}

fn end_reason(models: &Models, version: i64) -> String {
    match &models.status("m", &VersionChoice::Number(version)).unwrap()[0].state {
        VersionState::End(Some(reason)) => reason.clone(),
        _ => panic!("version {version} has not ended with a reason"),
    }
}

#[test]
fn the_highest_genuine_version_is_served_and_the_others_are_reported() {
    let base = tempfile::tempdir().unwrap();
    let owner = Owner::new();
    let file = onnx::arithmetic();
    for version in [3, 5] {
        owner.seal(base.path(), version, &owner.signing, &file);
    }
    // The host's: sealed to the right recipient but signed by itself; plain.
    owner.seal(base.path(), 9, &OwnerSigningKey::generate().unwrap(), &file);
    write_plain(base.path(), 99, &file);
    let (models, loaded) = load(&owner.source(base.path(), 4));
    assert_eq!(loaded.unwrap(), 5);
    assert_eq!(models.servable("m", &VersionChoice::Latest).unwrap().version(), 5);
    assert!(end_reason(&models, 99).contains("plain"), "{}", end_reason(&models, 99));
    assert!(end_reason(&models, 9).contains("signer"), "{}", end_reason(&models, 9));
    assert!(end_reason(&models, 3).contains("version"), "below the floor: {}", end_reason(&models, 3));
}

#[test]
fn a_damaged_version_gives_way_to_the_next_genuine_one() {
    let base = tempfile::tempdir().unwrap();
    let owner = Owner::new();
    owner.seal(base.path(), 1, &owner.signing, &onnx::arithmetic());
    owner.seal(base.path(), 2, &owner.signing, &onnx::arithmetic());
    owner.seal(base.path(), 3, &owner.signing, b"genuine, but no model");
    let ciphertext = base.path().join("2/model.onnx.age");
    let mut bytes = fs::read(&ciphertext).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&ciphertext, bytes).unwrap();
    let (models, loaded) = load(&owner.source(base.path(), 0));
    assert_eq!(loaded.unwrap(), 1);
    assert!(end_reason(&models, 3).contains("ONNX"), "{}", end_reason(&models, 3));
    assert!(end_reason(&models, 2).contains("altered"), "{}", end_reason(&models, 2));
}

#[test]
fn nothing_is_served_without_a_rule_a_key_or_a_model() {
    let base = tempfile::tempdir().unwrap();
    let message = |source: &ModelSource| {
        let (models, loaded) = load(source);
        assert!(models.servable("m", &VersionChoice::Latest).is_err());
        loaded.unwrap_err().to_string()
    };
    let owner = Owner::new();
    assert!(message(&owner.source(base.path(), 0)).contains("model.seal"));
    owner.seal(base.path(), 1, &owner.signing, &onnx::arithmetic());
    write_plain(base.path(), 2, &onnx::arithmetic());
    let mut without_rule = owner.source(base.path(), 0);
    without_rule.rule = None;
    assert!(message(&without_rule).contains("no rule"));
    let mut other_key = owner.source(base.path(), 0);
    other_key.identities = vec![ModelIdentity::generate()];
    assert!(message(&other_key).contains("not sealed to this key"));
    let mut small = owner.source(base.path(), 0);
    small.size_limit = 100;
    assert!(message(&small).contains("limit is 100"));
    assert!(message(&plain_source(&base.path().join("none"), true)).contains("--model_base_path"));
}

#[test]
fn while_the_key_changes_models_of_both_keys_are_loaded() {
    let base = tempfile::tempdir().unwrap();
    let (old, new) = (Owner::new(), Owner::new());
    let mut source = old.source(base.path(), 0);
    source.identities.push(new.identity.clone());
    old.seal(base.path(), 1, &old.signing, &onnx::arithmetic());
    assert_eq!(load(&source).1.unwrap(), 1);
    // The same owner's, sealed to the new key.
    new.seal(base.path(), 2, &old.signing, &onnx::arithmetic());
    assert_eq!(load(&source).1.unwrap(), 2);
}

#[test]
fn plain_models_are_served_where_they_are_allowed() {
    let base = tempfile::tempdir().unwrap();
    for version in [2, 10, 9] {
        write_plain(base.path(), version, &onnx::arithmetic());
    }
    let (models, loaded) = load(&plain_source(base.path(), true));
    assert_eq!(loaded.unwrap(), 10);
    assert_eq!(models.status("m", &VersionChoice::Latest).unwrap().len(), 1);
    let (_, refused) = load(&plain_source(base.path(), false));
    assert!(refused.unwrap_err().to_string().contains("plain"));
}
