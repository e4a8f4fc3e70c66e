//! A directory of models that the host arranged.

use std::{fs, path::Path};

use adytum_sealed::{
    directory::{MAXIMUM_VERSION_ENTRIES, PlainFormat, STATEMENT_FILE, scan},
    seal::seal_to_directory,
    select::{SelectedModel, select},
};

use crate::fixture::{Fixture, LIMIT, codes, options, versions};

#[test]
fn the_highest_genuine_version_is_selected_and_opens() {
    let fixture = Fixture::new();
    for version in [2, 9, 10] {
        fixture.publish("digits", version, format!("model {version}").as_bytes(), &fixture.owner);
    }
    let selection = fixture.select(0, false);
    assert_eq!(versions(&selection), [10, 9, 2]);
    assert_eq!(selection.refused, []);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let secret = model.open(std::slice::from_ref(&fixture.identity), LIMIT).unwrap();
    assert_eq!(secret.as_slice(), b"model 10");
}

#[test]
fn a_model_that_the_host_sealed_is_refused() {
    let fixture = Fixture::new();
    fixture.publish("digits", 1, b"genuine", &fixture.owner);
    fixture.publish("digits", 2, b"forged", &fixture.host);
    // Under the owner's name.
    let forged = fixture.publish("digits", 3, b"forged", &fixture.host);
    let text = fs::read_to_string(forged.join(STATEMENT_FILE)).unwrap();
    let (host, owner) = (fixture.host.public_key().to_string(), fixture.owner.public_key().to_string());
    fs::write(forged.join(STATEMENT_FILE), text.replace(&host, &owner)).unwrap();
    // With no statement at all.
    let unsigned = fixture.publish("digits", 4, b"forged", &fixture.host);
    fs::remove_file(unsigned.join(STATEMENT_FILE)).unwrap();

    let selection = fixture.select(0, false);
    assert_eq!(versions(&selection), [1]);
    assert_eq!(codes(&selection), ["model-statement-missing", "model-not-genuine", "model-not-genuine"]);
    let report = selection.refused.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert!(report.contains(&format!("signer: {host} is none of the 1 in signers of the rule")), "{report}");
    assert!(report.contains(&format!("signature: not valid for {owner}")), "{report}");
}

#[test]
fn without_a_rule_nothing_sealed_is_selected() {
    let fixture = Fixture::new();
    fixture.publish("digits", 1, b"model", &fixture.owner);
    let selection = select(scan(fixture.base.path()).unwrap(), None, true);
    assert_eq!(versions(&selection), [0; 0]);
    assert_eq!(codes(&selection), ["model-rule-missing"]);
}

#[test]
fn older_genuine_versions_below_the_floor_are_refused() {
    let fixture = Fixture::new();
    fixture.publish("digits", 4, b"old", &fixture.owner);
    assert_eq!(versions(&fixture.select(4, false)), [4]);
    let selection = fixture.select(5, false);
    assert_eq!(selection.highest(), None);
    assert!(selection.refused[0].to_string().contains("wanted at least 5, got 4"), "{selection:?}");
}

#[test]
fn renamed_version_directories_are_refused() {
    let fixture = Fixture::new();
    let old = fixture.publish("digits", 4, b"old", &fixture.owner);
    fixture.publish("digits", 6, b"new", &fixture.owner);
    fs::rename(old, fixture.base.path().join("7")).unwrap();
    let selection = fixture.select(5, false);
    assert_eq!(versions(&selection), [6]);
    assert_eq!(codes(&selection), ["model-version-renamed"]);
}

#[test]
fn statements_swapped_between_models_are_refused() {
    let fixture = Fixture::new();
    let ours = fixture.publish("digits", 1, b"digits model", &fixture.owner);
    let other = tempfile::tempdir().unwrap();
    let recipient = fixture.identity.recipient();
    let (theirs, _) = seal_to_directory(
        &b"another model"[..],
        other.path(),
        &recipient,
        &fixture.owner,
        &options("fraud", 1),
        &mut |_| {},
    )
    .unwrap();
    // The other model with its own statement, in our model's place.
    for file in [STATEMENT_FILE, "model.onnx.age"] {
        fs::copy(theirs.join(file), ours.join(file)).unwrap();
    }
    let selection = fixture.select(0, false);
    assert_eq!(versions(&selection), [0; 0]);
    assert!(selection.refused[0].to_string().contains("name: wanted digits, got fraud"), "{selection:?}");

    // Our statement with the other model's ciphertext.
    fs::remove_dir_all(&ours).unwrap();
    let ours = fixture.publish("digits", 1, b"digits model ", &fixture.owner);
    fs::copy(theirs.join("model.onnx.age"), ours.join("model.onnx.age")).unwrap();
    let selection = fixture.select(0, false);
    let SelectedModel::Sealed(model) = selection.highest().unwrap() else { panic!("{selection:?}") };
    let error = model.open(std::slice::from_ref(&fixture.identity), LIMIT).unwrap_err();
    assert_eq!(error.code(), "unseal-digest");
}

#[test]
fn plain_models_and_unlisted_files_are_refused_and_reported() {
    let fixture = Fixture::new();
    let genuine = fixture.publish("digits", 1, b"model", &fixture.owner);
    fs::write(genuine.join("model.onnx"), b"plain beside sealed").unwrap();
    fs::write(genuine.join("custom_ops.so"), b"\x7fELF").unwrap();
    let plain = fixture.base.path().join("2");
    fs::create_dir(&plain).unwrap();
    fs::write(plain.join("model.onnx"), b"plain").unwrap();
    fs::create_dir(fixture.base.path().join("3")).unwrap();
    fs::write(fixture.base.path().join("README"), b"hello").unwrap();

    let selection = fixture.select(0, false);
    assert_eq!(versions(&selection), [1]);
    let mut found = codes(&selection);
    found.sort();
    assert_eq!(
        found,
        [
            "model-directory-name",
            "model-file-unlisted",
            "model-file-unlisted",
            "model-missing",
            "model-plain"
        ]
    );
    let selection = fixture.select(0, true);
    assert_eq!(versions(&selection), [2, 1]);
    assert_eq!(
        selection.highest(),
        Some(&SelectedModel::Plain { version: 2, file: plain.join("model.onnx"), format: PlainFormat::Onnx })
    );
}

#[test]
fn odd_names_links_and_special_files_are_reported_and_never_opened() {
    use std::os::unix::{ffi::OsStrExt, fs::symlink};

    let fixture = Fixture::new();
    let base = fixture.base.path();
    let genuine = fixture.publish("digits", 1, b"model", &fixture.owner);
    for name in ["-1", "+2", "1.0", " 3", "9223372036854775808", "lost+found", "..data", "৩"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    fs::create_dir(base.join(std::ffi::OsStr::from_bytes(b"\xff\n7"))).unwrap();
    for name in ["1x", "020", "20"] {
        fs::create_dir(base.join(name)).unwrap();
    }
    fs::write(base.join("8"), b"a file").unwrap();
    symlink(&genuine, base.join("9")).unwrap();
    let fifo = base.join("10");
    fs::create_dir(&fifo).unwrap();
    make_fifo(&fifo.join(STATEMENT_FILE));
    make_fifo(&fifo.join("model.onnx"));
    let linked = base.join("11");
    fs::create_dir(&linked).unwrap();
    symlink(genuine.join(STATEMENT_FILE), linked.join(STATEMENT_FILE)).unwrap();
    symlink("/dev/zero", linked.join("model.onnx.age")).unwrap();

    // Out of the model directory: to another directory, and to a device.
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("model.onnx"), b"model").unwrap();
    symlink(outside.path(), base.join("12")).unwrap();
    fs::create_dir(base.join("13")).unwrap();
    symlink(outside.path().join("model.onnx"), base.join("13/model.onnx")).unwrap();
    symlink("nowhere", base.join("14")).unwrap();

    let selection = fixture.select(0, true);
    assert_eq!(versions(&selection), [1]);
    let count = |code| codes(&selection).iter().filter(|found| **found == code).count();
    assert_eq!(count("model-directory-name"), 10);
    assert_eq!(count("model-file-kind"), 3);
    assert_eq!(count("model-symbolic-link"), 3);
    assert_eq!(count("model-unreadable"), 1);
    // A link to the genuine version, and one to its statement: both are about version 1.
    assert_eq!(count("model-version-renamed"), 2);
    assert_eq!(count("model-version-twice"), 1);
    assert!(selection.refused.iter().all(|refused| !refused.to_string().contains('\n')));
}

fn make_fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn directories_that_overflow_are_refused() {
    let fixture = Fixture::new();
    let directory = fixture.publish("digits", 1, b"model", &fixture.owner);
    for number in 0..MAXIMUM_VERSION_ENTRIES {
        fs::write(directory.join(format!("extra{number}")), b"").unwrap();
    }
    let selection = fixture.select(0, false);
    assert_eq!(codes(&selection), ["model-too-many-entries"]);
    for number in 0..1000 {
        fs::write(fixture.base.path().join(format!("extra{number}")), b"").unwrap();
    }
    assert_eq!(scan(fixture.base.path()).unwrap_err().code(), "model-directory-too-many-entries");
    let missing = fixture.base.path().join("nowhere");
    assert_eq!(scan(&missing).unwrap_err().code(), "model-directory-unreadable");
}

#[test]
fn broken_statements_in_a_directory_are_reported() {
    let fixture = Fixture::new();
    for (version, text) in [(1, String::new()), (2, "x".repeat(5000)), (3, "{\"format\": 1}".into())] {
        let directory = fixture.publish("digits", version, b"model", &fixture.owner);
        fs::write(directory.join(STATEMENT_FILE), text).unwrap();
    }
    let directory = fixture.publish("digits", 4, b"model", &fixture.owner);
    fs::remove_file(directory.join("model.onnx.age")).unwrap();
    let selection = fixture.select(0, false);
    assert_eq!(versions(&selection), [0; 0]);
    assert_eq!(
        codes(&selection),
        ["statement-malformed", "statement-too-long", "statement-malformed", "model-ciphertext-missing"]
    );
}

#[test]
fn volumes_as_kubernetes_and_git_sync_make_them_are_read() {
    use std::os::unix::fs::symlink;

    let fixture = Fixture::new();
    let base = fixture.base.path();
    // A ConfigMap, Secret or projected volume at BASE/1.
    let genuine = fixture.publish("digits", 1, b"model", &fixture.owner);
    let data = genuine.join("..2026_01_01_00_00_00.1");
    fs::create_dir(&data).unwrap();
    symlink("..2026_01_01_00_00_00.1", genuine.join("..data")).unwrap();
    for file in [STATEMENT_FILE, "model.onnx.age"] {
        fs::rename(genuine.join(file), data.join(file)).unwrap();
        symlink(Path::new("..data").join(file), genuine.join(file)).unwrap();
    }
    // A version that is a link, and one with zeros before its number.
    fs::create_dir_all(base.join(".store/three")).unwrap();
    fs::write(base.join(".store/three/model.onnx"), b"plain").unwrap();
    symlink(".store/three", base.join("3")).unwrap();
    let saved = base.join("00000123");
    fs::create_dir_all(saved.join("variables")).unwrap();
    fs::write(saved.join("saved_model.pb"), b"").unwrap();

    let selection = fixture.select(0, true);
    assert_eq!(versions(&selection), [123, 3, 1]);
    assert_eq!(codes(&selection), ["model-directory-name"], "{:?}", selection.refused);
    assert_eq!(
        selection.highest(),
        Some(&SelectedModel::Plain {
            version: 123,
            file: saved.join("saved_model.pb"),
            format: PlainFormat::SavedModel
        })
    );
    let SelectedModel::Sealed(model) = &selection.models[2] else { panic!("{selection:?}") };
    let secret = model.open(std::slice::from_ref(&fixture.identity), LIMIT).unwrap();
    assert_eq!(secret.as_slice(), b"model");
    // The base may be a link too.
    let elsewhere = tempfile::tempdir().unwrap();
    symlink(base, elsewhere.path().join("current")).unwrap();
    assert_eq!(scan(&elsewhere.path().join("current")).unwrap().candidates.len(), 3);
}
