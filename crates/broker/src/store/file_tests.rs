use std::collections::BTreeMap;

use adytum_sealed::signing::OwnerPublicKey;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    manifest::SignedManifest,
    secrets::{SecretKind, SecretValue, StoredSecret},
};

fn genesis(byte: u8) -> GenesisDigest {
    GenesisDigest(Sha256Digest([byte; 32]))
}

fn key(byte: u8) -> SealingKey {
    SealingKey(Zeroizing::new([byte; 32]))
}

fn open(directory: &TempDir) -> SealedFile {
    SealedFile::open(directory.path(), genesis(1), key(1)).unwrap()
}

fn snapshot(epoch: u64) -> Snapshot {
    let secret = |value: Option<&[u8]>, version| StoredSecret {
        kind: SecretKind::Opaque,
        value: value
            .map(|value| SecretValue::parse(SecretKind::Opaque, Zeroizing::new(value.to_vec())).unwrap()),
        version,
        changed_by: vec![OwnerPublicKey([7; 32])],
    };
    Snapshot {
        epoch,
        manifest: Some(SignedManifest::unsigned("format = ...")),
        secrets: BTreeMap::from([
            ("model_key".parse().unwrap(), secret(Some(b"open sesame"), 3)),
            ("gone".parse().unwrap(), secret(None, 2)),
        ]),
    }
}

#[test]
fn the_last_commit_is_loaded_and_nothing_is_readable() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    assert_eq!(store.load().unwrap(), None);
    store.commit(&snapshot(1)).unwrap();
    store.commit(&snapshot(2)).unwrap();
    drop(store);
    assert_eq!(open(&directory).load().unwrap(), Some(snapshot(2)));
    let bytes = fs::read(directory.path().join("state")).unwrap();
    for text in [&b"sesame"[..], b"model_key"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text));
    }
    assert!(!directory.path().join("state.new").exists());
}

#[test]
fn equal_states_are_encrypted_differently() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    let commit = || {
        store.commit(&snapshot(1)).unwrap();
        fs::read(directory.path().join("state")).unwrap()
    };
    let (first, second) = (commit(), commit());
    assert_ne!(first[HEADER - DIGEST..], second[HEADER - DIGEST..]);
}

#[test]
fn every_flipped_byte_and_every_cut_is_detected() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    store.commit(&snapshot(1)).unwrap();
    let path = directory.path().join("state");
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let expected = match at {
            0..23 => "store-not-state",
            23..55 => "store-other-genesis",
            _ => "store-unsealing",
        };
        assert_eq!(store.load().unwrap_err().code(), expected, "byte {at}");
    }
    for length in [0, HEADER - 1, HEADER, good.len() - 1] {
        fs::write(&path, &good[..length]).unwrap();
        assert!(store.load().is_err(), "cut to {length}");
    }
    fs::write(&path, [&good[..], b"x"].concat()).unwrap();
    assert_eq!(store.load().unwrap_err().code(), "store-unsealing");
    fs::write(&path, &good).unwrap();
    assert_eq!(store.load().unwrap(), Some(snapshot(1)));
}

#[test]
fn the_state_of_another_broker_code_or_cpu_is_refused() {
    let directory = TempDir::new().unwrap();
    open(&directory).commit(&snapshot(1)).unwrap();
    let load =
        |genesis, key| SealedFile::open(directory.path(), genesis, key).unwrap().load().unwrap_err().code();
    assert_eq!(load(genesis(2), key(1)), "store-other-genesis");
    assert_eq!(load(genesis(1), key(2)), "store-unsealing");
    // A host that writes the expected genesis into the header.
    let path = directory.path().join("state");
    let mut bytes = fs::read(&path).unwrap();
    bytes[MAGIC.len()..][..DIGEST].copy_from_slice(&genesis(2).0.0);
    fs::write(&path, bytes).unwrap();
    assert_eq!(load(genesis(2), key(1)), "store-unsealing");
}

#[test]
fn a_directory_has_one_broker() {
    let directory = TempDir::new().unwrap();
    let first = open(&directory);
    let second = SealedFile::open(directory.path(), genesis(1), key(1));
    assert_eq!(second.err().map(|error| error.code()), Some("store-in-use"));
    drop(first);
    open(&directory);
}

#[test]
fn a_failed_commit_leaves_the_former_state() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory);
    store.commit(&snapshot(1)).unwrap();
    // The temporary file can't be made: a directory stands in its place.
    let obstacle = directory.path().join("state.new");
    fs::create_dir(&obstacle).unwrap();
    assert_eq!(store.commit(&snapshot(2)).unwrap_err().code(), "store-io");
    fs::remove_dir(&obstacle).unwrap();
    assert_eq!(store.load().unwrap(), Some(snapshot(1)));
}

proptest! {
    #[test]
    fn any_bytes_decode_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }
}
