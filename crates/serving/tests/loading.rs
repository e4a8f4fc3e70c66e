//! Which version is served, and why the others are not.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod fixture;

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_engine::static_engine::StaticEngine;
use adytum_sealed::{
    keys::ModelIdentity,
    rule::ModelRule,
    seal::{SealOptions, seal_to_directory},
    statement::FileName,
};
use adytum_serving::{
    loading::{
        Keys, LoadOptions, Manager, MemoryBudget, ModelConfig, ModelServerConfig, VersionPolicy,
        WarmUpOptions, WhenShort, latest_versions,
    },
    models::{Models, VersionChoice, VersionState},
};
use adytum_signing::OwnerSigningKey;
use fixture::onnx;

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

    fn keys(&self, minimum_version: u64) -> Keys {
        let rule = ModelRule {
            name: "m".parse().unwrap(),
            signers: [self.signing.public_key()].into(),
            minimum_version,
            digests: Default::default(),
        };
        Keys { rules: vec![rule], identities: vec![self.identity.clone()] }
    }
}

fn options(allow_plain: bool) -> LoadOptions {
    LoadOptions {
        allow_plain,
        size_limit: 1 << 20,
        resources: fixture::resources(),
        root: None,
        retries: 0,
        retry_pause: Duration::from_secs(60),
        labels_of_unavailable: false,
        budget: MemoryBudget { limit: None, alone: None, when_short: WhenShort::Refuse },
        warm_up: WarmUpOptions { records: true, iterations: 1 },
        batching: false,
    }
}

fn one(base: &Path) -> ModelServerConfig {
    ModelServerConfig::new(vec![ModelConfig::latest("m", base)]).unwrap()
}

fn manager(options: LoadOptions, keys: Keys, configuration: ModelServerConfig) -> (Models, Manager) {
    let models = Models::default();
    let manager = Manager::new(models.clone(), Arc::new(StaticEngine), options, keys, configuration);
    (models, manager)
}

fn plain(base: &Path) -> (Models, Manager) {
    manager(options(true), Keys::default(), one(base))
}

fn write_plain(base: &Path, version: impl ToString, file: &[u8]) {
    let directory = base.join(version.to_string());
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("model.onnx"), file).unwrap();
}

/// After one round: the models, and the highest version that answers or why none does.
fn load(base: &Path, options: LoadOptions, keys: Keys) -> (Models, Result<i64, String>) {
    let (models, mut manager) = manager(options, keys, one(base));
    let round = manager.round(Instant::now());
    let loaded = match models.servable("m", &VersionChoice::Latest) {
        Ok(servable) => Ok(servable.version()),
        Err(_) => Err(round
            .hopeless
            .map_or_else(|| format!("waits: {:?}", round.missing), |error| error.to_string())),
    };
    (models, loaded)
}

fn latest(models: &Models) -> Option<i64> {
    models.servable("m", &VersionChoice::Latest).ok().map(|servable| servable.version())
}

fn available(models: &Models, name: &str) -> Vec<i64> {
    let all = models.status(name, &VersionChoice::Latest).unwrap_or_default();
    let available = all.iter().filter(|status| matches!(status.state, VersionState::Available(_)));
    available.map(|status| status.version).collect()
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
    let (models, loaded) = load(base.path(), options(false), owner.keys(4));
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
    let (models, loaded) = load(base.path(), options(false), owner.keys(0));
    assert_eq!(loaded.unwrap(), 1);
    assert!(end_reason(&models, 3).contains("ONNX"), "{}", end_reason(&models, 3));
    assert!(end_reason(&models, 2).contains("altered"), "{}", end_reason(&models, 2));
}

#[test]
fn nothing_is_served_without_a_rule_a_key_or_a_model() {
    let base = tempfile::tempdir().unwrap();
    let message = |options: LoadOptions, keys: Keys| {
        let (models, loaded) = load(base.path(), options, keys);
        assert!(models.servable("m", &VersionChoice::Latest).is_err());
        loaded.unwrap_err()
    };
    let owner = Owner::new();
    assert!(message(options(false), owner.keys(0)).contains("model.seal"));
    owner.seal(base.path(), 1, &owner.signing, &onnx::arithmetic());
    write_plain(base.path(), 2, &onnx::arithmetic());
    let without_rule = Keys { rules: Vec::new(), ..owner.keys(0) };
    assert!(message(options(false), without_rule).contains("no rule"));
    let other_key = Keys { identities: vec![ModelIdentity::generate()], ..owner.keys(0) };
    assert!(message(options(false), other_key).contains("not sealed to this key"));
    let small = LoadOptions { size_limit: 100, ..options(false) };
    assert!(message(small, owner.keys(0)).contains("limit is 100"));
}

#[test]
fn while_the_key_changes_models_of_both_keys_are_loaded() {
    let base = tempfile::tempdir().unwrap();
    let (old, new) = (Owner::new(), Owner::new());
    old.seal(base.path(), 1, &old.signing, &onnx::arithmetic());
    let (models, mut manager) = manager(options(false), old.keys(0), one(base.path()));
    assert!(!manager.round(Instant::now()).wants_keys);
    assert_eq!(latest(&models), Some(1));
    // The same owner's, sealed to the new key: the broker is asked for it, once.
    new.seal(base.path(), 2, &old.signing, &onnx::arithmetic());
    assert!(manager.round(Instant::now()).wants_keys);
    assert!(!manager.round(Instant::now()).wants_keys);
    assert_eq!(latest(&models), Some(1), "the old one goes on");
    let mut keys = old.keys(0);
    keys.identities.push(new.identity.clone());
    manager.set_keys(keys);
    manager.round(Instant::now());
    assert_eq!(latest(&models), Some(2));
}

#[test]
fn a_version_that_the_broker_no_longer_allows_goes() {
    let base = tempfile::tempdir().unwrap();
    let owner = Owner::new();
    owner.seal(base.path(), 1, &owner.signing, &onnx::arithmetic());
    let (models, mut manager) = manager(options(false), owner.keys(0), one(base.path()));
    manager.round(Instant::now());
    assert_eq!(latest(&models), Some(1));
    manager.set_keys(owner.keys(2));
    assert_eq!(latest(&models), None, "at once");
    assert!(manager.round(Instant::now()).wants_keys);
    assert!(!models.all_ready());
    owner.seal(base.path(), 2, &owner.signing, &onnx::arithmetic());
    manager.round(Instant::now());
    assert_eq!(latest(&models), Some(2));
    assert!(models.all_ready());
}

#[test]
fn plain_models_are_served_where_they_are_allowed() {
    let base = tempfile::tempdir().unwrap();
    for version in [2, 10, 9] {
        write_plain(base.path(), version, &onnx::arithmetic());
    }
    let (models, loaded) = load(base.path(), options(true), Keys::default());
    assert_eq!(loaded.unwrap(), 10);
    assert_eq!(models.status("m", &VersionChoice::Latest).unwrap().len(), 1);
    let (_, refused) = load(base.path(), options(false), Keys::default());
    assert!(refused.unwrap_err().contains("plain"));
}

#[test]
fn new_versions_come_and_old_ones_go_while_requests_run() {
    let base = tempfile::tempdir().unwrap();
    let (models, mut manager) = plain(base.path());
    let round = manager.round(Instant::now());
    assert_eq!((round.hopeless, models.all_ready()), (None, false), "it waits for a first version");
    assert!(round.missing[0].1.contains("no versions of servable m found"), "{:?}", round.missing);
    write_plain(base.path(), "00000123", &onnx::arithmetic());
    manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [123]);
    assert!(models.all_ready());
    // A request that holds the old version.
    let running = models.servable("m", &VersionChoice::Latest).unwrap();
    write_plain(base.path(), 124, &onnx::arithmetic());
    let round = manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [124]);
    assert!(round.again.is_some(), "there is one to wait for");
    let state = |version| models.status("m", &VersionChoice::Number(version)).unwrap()[0].state.clone();
    assert!(matches!(state(123), VersionState::Unloading));
    assert_eq!(running.version(), 123);
    drop(running);
    manager.round(Instant::now());
    assert!(matches!(state(123), VersionState::End(None)));
    assert_eq!(models.memory().len(), 1);
    // When a version is removed, the one before it answers again.
    fs::remove_dir_all(base.path().join("124")).unwrap();
    manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [123]);
    // A volume that is away for a moment is no order; an empty one is.
    fs::rename(base.path().join("00000123"), base.path().join("stash")).unwrap();
    manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [0; 0]);
    assert!(!models.all_ready());
}

#[test]
fn a_base_that_is_away_keeps_what_is_loaded() {
    let parent = tempfile::tempdir().unwrap();
    let base = parent.path().join("m");
    write_plain(&base, 1, &onnx::arithmetic());
    let (models, mut manager) = plain(&base);
    manager.round(Instant::now());
    fs::rename(&base, parent.path().join("away")).unwrap();
    manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [1]);
}

#[test]
fn a_bad_version_never_takes_down_a_good_one_and_is_tried_again_when_it_changes() {
    let base = tempfile::tempdir().unwrap();
    write_plain(base.path(), 1, &onnx::arithmetic());
    let (models, mut manager) = plain(base.path());
    manager.round(Instant::now());
    // Half of it is copied.
    let file = onnx::arithmetic();
    write_plain(base.path(), 2, &file[..file.len() / 2]);
    for _ in 0..3 {
        manager.round(Instant::now());
        assert_eq!(available(&models, "m"), [1]);
    }
    assert!(end_reason(&models, 2).contains("ONNX"), "{}", end_reason(&models, 2));
    write_plain(base.path(), 2, &file);
    manager.round(Instant::now());
    assert_eq!(available(&models, "m"), [2]);
}

#[test]
fn what_the_system_does_not_let_be_read_is_tried_again_in_time() {
    let base = tempfile::tempdir().unwrap();
    let saved = base.path().join("1");
    fs::create_dir_all(saved.join("variables")).unwrap();
    fs::write(saved.join("saved_model.pb"), b"").unwrap();
    // A directory where a file should be: reading it fails, and not by its bytes.
    fs::create_dir(saved.join("assets.extra")).unwrap();
    fs::create_dir(saved.join("assets.extra/tf_serving_warmup_requests")).unwrap();
    let (_, mut manager) = plain(base.path());
    let round = manager.round(Instant::now());
    assert!(round.hopeless.is_some_and(|error| error.to_string().contains("saved_model.pb")));
}

#[test]
fn policies_say_which_versions_are_served() {
    let base = tempfile::tempdir().unwrap();
    for version in 1..=4 {
        write_plain(base.path(), version, &onnx::arithmetic());
    }
    let (models, mut manager) = plain(base.path());
    for (policy, expected) in [
        (latest_versions(2), vec![4, 3]),
        (VersionPolicy::All, vec![4, 3, 2, 1]),
        (VersionPolicy::Specific([1, 3].into()), vec![3, 1]),
        // A version that is missing is no reason to stop others.
        (VersionPolicy::Specific([9].into()), vec![3, 1]),
        (latest_versions(1), vec![4]),
    ] {
        let model = ModelConfig { policy: policy.clone(), ..ModelConfig::latest("m", base.path()) };
        manager.configure(ModelServerConfig::new(vec![model]).unwrap());
        manager.round(Instant::now());
        assert_eq!(available(&models, "m"), expected, "{policy:?}");
    }
    let old = models.servable("m", &VersionChoice::Number(3)).err().unwrap();
    assert_eq!(old.code(), "servable-not-found");
}

#[test]
fn labels_follow_versions_that_are_available() {
    let base = tempfile::tempdir().unwrap();
    for version in 1..=2 {
        write_plain(base.path(), version, &onnx::arithmetic());
    }
    let model = |labels: &[(&str, i64)]| {
        let labels = labels.iter().map(|(label, version)| ((*label).to_owned(), *version)).collect();
        let model =
            ModelConfig { policy: VersionPolicy::All, labels, ..ModelConfig::latest("m", base.path()) };
        ModelServerConfig::new(vec![model]).unwrap()
    };
    let by_label = |models: &Models, label: &str| {
        models.servable("m", &VersionChoice::Label(label.to_owned())).ok().map(|servable| servable.version())
    };
    let (models, mut manager) =
        manager(options(true), Keys::default(), model(&[("stable", 1), ("canary", 2)]));
    manager.round(Instant::now());
    assert_eq!((by_label(&models, "stable"), by_label(&models, "canary")), (Some(1), Some(2)));
    // One that can't be moved stays where it is, and one that is gone is gone.
    manager.configure(model(&[("stable", 7)]));
    manager.round(Instant::now());
    assert_eq!((by_label(&models, "stable"), by_label(&models, "canary")), (Some(1), None));
    assert_eq!(manager.unassigned_labels().len(), 1);
    manager.configure(model(&[("stable", 2), ("next", 9)]));
    manager.round(Instant::now());
    assert_eq!((by_label(&models, "stable"), by_label(&models, "next")), (Some(2), None));
    assert!(manager.unassigned_labels()[0].contains("label next to version 9 of model m"));
}

#[test]
fn several_models_are_one_anothers_strangers() {
    let base = tempfile::tempdir().unwrap();
    let config = |names: &[&str]| {
        let models = names.iter().map(|name| ModelConfig::latest(name, &base.path().join(name))).collect();
        ModelServerConfig::new(models).unwrap()
    };
    write_plain(&base.path().join("good"), 1, &onnx::arithmetic());
    write_plain(&base.path().join("bad"), 1, b"no model");
    let (models, mut manager) = manager(options(true), Keys::default(), config(&["bad", "good"]));
    let round = manager.round(Instant::now());
    assert_eq!(models.names(), ["bad", "good"]);
    assert_eq!((available(&models, "good"), available(&models, "bad")), (vec![1], vec![]));
    assert_eq!((round.hopeless, round.missing.len()), (None, 1));
    assert!(!models.all_ready(), "one of the models does not answer");
    // Without the bad one it is ready; one that is added and is bad changes nothing.
    manager.configure(config(&["good"]));
    manager.round(Instant::now());
    assert!(models.all_ready());
    manager.configure(config(&["good", "bad"]));
    manager.round(Instant::now());
    assert!(models.all_ready());
    manager.configure(config(&["other"]));
    manager.round(Instant::now());
    assert!(models.servable("good", &VersionChoice::Latest).is_err(), "it is no longer configured");
    assert!(models.memory().is_empty());
}

#[test]
fn memory_that_is_short_is_refused_or_released() {
    let base = tempfile::tempdir().unwrap();
    write_plain(base.path(), 1, &onnx::arithmetic());
    // Room for the peak of one small model, not next to another one.
    let limit = Some((33 << 20) - (1 << 18));
    let budget = |when_short| MemoryBudget { limit, alone: limit, when_short };
    for when_short in [WhenShort::Refuse, WhenShort::Release] {
        let options = LoadOptions { budget: budget(when_short), ..options(true) };
        let (models, mut manager) = manager(options, Keys::default(), one(base.path()));
        manager.round(Instant::now());
        assert_eq!(available(&models, "m"), [1]);
        write_plain(base.path(), 2, &onnx::arithmetic());
        let running = models.servable("m", &VersionChoice::Latest).unwrap();
        manager.round(Instant::now());
        if when_short == WhenShort::Refuse {
            assert_eq!(available(&models, "m"), [1]);
            assert!(end_reason(&models, 2).contains("--model_memory_bytes"), "{}", end_reason(&models, 2));
        } else {
            assert_eq!(available(&models, "m"), [0; 0], "the old one still has its memory");
            drop(running);
            manager.round(Instant::now());
            assert_eq!(available(&models, "m"), [2]);
            // A bad one: the good one comes back.
            write_plain(base.path(), 3, b"no model");
            manager.round(Instant::now());
            manager.round(Instant::now());
            assert_eq!(available(&models, "m"), [2]);
        }
        fs::remove_dir_all(base.path().join("2")).unwrap();
    }
}

#[test]
fn a_base_that_is_one_level_off_is_named() {
    let base = tempfile::tempdir().unwrap();
    write_plain(&base.path().join("resnet"), 1, &onnx::arithmetic());
    let missing = |base: &Path| {
        let (_, mut manager) = plain(base);
        manager.round(Instant::now()).missing.remove(0).1
    };
    let above = missing(base.path());
    assert!(above.contains(&base.path().join("resnet").display().to_string()), "{above}");
    let below = missing(&base.path().join("resnet/1"));
    assert!(below.contains("holds model.onnx itself"), "{below}");
}

#[test]
fn many_reloads_leave_nothing_behind() {
    let base = tempfile::tempdir().unwrap();
    let (models, mut manager) = plain(base.path());
    for version in 1..=100 {
        write_plain(base.path(), version, &onnx::arithmetic());
        manager.round(Instant::now());
        assert_eq!(available(&models, "m"), [version]);
        if version > 1 {
            fs::remove_dir_all(base.path().join((version - 1).to_string())).unwrap();
        }
    }
    assert!(models.status("m", &VersionChoice::Latest).unwrap().len() <= 64, "statuses don't pile up");
    assert_eq!(models.memory().len(), 1);
}
