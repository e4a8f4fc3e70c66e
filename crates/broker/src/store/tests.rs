use adytum_governance::{
    audit::record::record_hash,
    secrets::{SecretKind, SecretValue},
};
use adytum_signing::OwnerPublicKey;
use tempfile::TempDir;

use super::*;

mod backups;
mod damage;
pub(crate) mod disk;
mod kill;
mod power;

use disk::{Disk, genesis, root};

pub(super) fn secret(value: Option<&[u8]>, version: u64) -> StoredSecret {
    let value =
        value.map(|value| SecretValue::parse(SecretKind::Opaque, Zeroizing::new(value.to_vec())).unwrap());
    StoredSecret { kind: SecretKind::Opaque, value, version, changed_by: vec![OwnerPublicKey([7; 32])] }
}

pub(super) fn put(name: &str, value: &[u8], version: u64) -> Change {
    Change { secrets: vec![(name.parse().unwrap(), secret(Some(value), version))], ..Change::default() }
}

pub(super) fn manifest(version: u64) -> Change {
    let signed = SignedManifest::unsigned(format!("version = {version}"));
    Change { manifest: Some((version, signed)), ..Change::default() }
}

fn open(directory: &TempDir) -> (Store, LoadedState) {
    Store::open(directory.path(), genesis(), &root()).unwrap()
}

fn values(loaded: &LoadedState) -> Vec<(String, Option<Vec<u8>>, u64)> {
    let value = |secret: &StoredSecret| secret.value.as_ref().map(|value| value.expose().to_vec());
    let secrets = loaded.snapshot.secrets.iter();
    secrets.map(|(name, secret)| (name.to_string(), value(secret), secret.version)).collect()
}

#[tokio::test]
async fn what_was_committed_is_loaded_and_nothing_is_readable() {
    let directory = TempDir::new().unwrap();
    let (store, loaded) = open(&directory);
    assert!(loaded.first_start && loaded.planned && !loaded.unconfirmed);
    store.commit(manifest(1)).await.unwrap();
    store.commit(put("model_key", b"open sesame", 1)).await.unwrap();
    store.commit(put("model_key", b"more sesame", 2)).await.unwrap();
    let removed = Change { secrets: vec![("gone".parse().unwrap(), secret(None, 2))], ..Change::default() };
    store.commit(removed).await.unwrap();
    let item = Item(Zeroizing::new(b"authority".to_vec()));
    let item = Change { items: vec![("ca/key", Some(item))], ..Change::default() };
    store.commit(item).await.unwrap();
    let committed = store.commit(manifest(2)).await.unwrap();
    assert_eq!(committed.head, StateHead { epoch: 1, manifest_version: 2, audit_size: 0, audit_hash: None });
    store.close().await.unwrap();
    assert_eq!(store.commit(manifest(3)).await.unwrap_err().code(), "store-closed");
    drop(store);

    let (store, loaded) = open(&directory);
    assert!(!loaded.first_start && loaded.planned && !loaded.unconfirmed);
    assert_eq!((loaded.snapshot.epoch, store.head().epoch), (2, 2));
    assert_eq!(loaded.snapshot.manifest, Some(SignedManifest::unsigned("version = 2")));
    assert_eq!(
        values(&loaded),
        [("gone".to_owned(), None, 2), ("model_key".to_owned(), Some(b"more sesame".to_vec()), 2)]
    );
    assert_eq!(store.manifest_versions().unwrap(), [1, 2]);
    assert_eq!(store.manifest(1).unwrap(), Some(SignedManifest::unsigned("version = 1")));
    assert_eq!(store.manifest(3).unwrap(), None);
    assert_eq!(store.item("ca/key").unwrap().unwrap().as_slice(), b"authority");
    assert_eq!(store.item("other").unwrap(), None);
    let removed = Change { items: vec![("ca/key", None)], ..Change::default() };
    store.commit(removed).await.unwrap();
    assert_eq!(store.item("ca/key").unwrap(), None);
    drop(store);
    open(&directory);

    let bytes = std::fs::read(directory.path().join(FILE)).unwrap();
    for text in ["sesame", "model_key", "gone", "authority", "ca/key", "version ="] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
}

#[tokio::test]
async fn a_start_after_none_or_a_clean_shutdown_is_planned_any_other_is_not() {
    let directory = TempDir::new().unwrap();
    drop(open(&directory));
    let (store, loaded) = open(&directory);
    assert!(!loaded.planned && loaded.unconfirmed);
    // It stays unconfirmed, however clean the next shutdown is.
    store.close().await.unwrap();
    drop(store);
    let (store, loaded) = open(&directory);
    assert!(loaded.planned && loaded.unconfirmed);
    store.commit(Change { confirmed: true, ..Change::default() }).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let (store, loaded) = open(&directory);
    assert!(loaded.planned && !loaded.unconfirmed);
    assert_eq!(store.head().epoch, 4);
}

#[tokio::test]
async fn audit_records_are_numbered_and_linked() {
    let directory = TempDir::new().unwrap();
    let (store, _) = open(&directory);
    let first = store.append_audit(vec![b"one".to_vec(), b"two".to_vec()]).await.unwrap();
    assert_eq!((first.first_record, first.head.audit_size), (Some(1), 2));
    let mut both = put("model_key", b"x", 1);
    both.audit.push(b"three".to_vec());
    let second = store.commit(both).await.unwrap();
    assert_eq!((second.first_record, second.head.audit_size), (Some(3), 3));
    drop(store);
    let (store, _) = open(&directory);
    assert_eq!((store.head().audit_size, store.head().audit_hash), (3, second.head.audit_hash));
    let records = store.records(1, 10).unwrap();
    let mut previous = None;
    for (record, (number, bytes)) in records.iter().zip([(1, "one"), (2, "two"), (3, "three")]) {
        assert_eq!((record.number, record.bytes.as_slice()), (number, bytes.as_bytes()));
        assert_eq!(
            (record.previous, record.hash),
            (previous, record_hash(number, previous, bytes.as_bytes()))
        );
        previous = Some(record.hash);
    }
    assert_eq!(previous, store.head().audit_hash);
    assert_eq!(store.records(2, 1).unwrap().len(), 1);
    assert_eq!(store.record_hash(2).unwrap(), Some(records[1].hash));
    assert_eq!(store.record_hash(4).unwrap(), None);
}

#[tokio::test]
async fn many_at_once_are_all_kept_and_each_has_its_own_answer() {
    let disk = Disk::default();
    let (store, _) = disk.open(genesis());
    disk.record();
    let tasks: Vec<_> = (0..200u64)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut change = put(&format!("secret-{n}"), &n.to_be_bytes(), 1);
                change.audit.push(n.to_be_bytes().to_vec());
                (n, store.commit(change).await.unwrap())
            })
        })
        .collect();
    let mut numbers = std::collections::BTreeSet::new();
    for task in tasks {
        let (n, committed) = task.await.unwrap();
        let number = committed.first_record.unwrap();
        assert!(numbers.insert(number));
        assert_eq!(committed.head.audit_size, number);
        let record = store.records(number, 1).unwrap().remove(0);
        assert_eq!((record.bytes, Some(record.hash)), (n.to_be_bytes().to_vec(), committed.head.audit_hash));
    }
    let syncs = disk.operations().iter().filter(|op| matches!(op, disk::Operation::Sync)).count();
    assert!(syncs < 100, "200 changes were committed together, in {syncs} syncs");
    drop(store);
    assert_eq!(values(&disk.open(genesis()).1).len(), 200);
}

#[tokio::test]
async fn the_clocks_floor_only_rises() {
    use adytum_evidence::clock::UnixSeconds;
    let disk = Disk::default();
    let (store, loaded) = disk.open(genesis());
    assert_eq!(loaded.clock_floor, None);
    for floor in [2000, 1000] {
        let change = Change { clock_floor: Some(UnixSeconds(floor)), ..Change::default() };
        store.commit(change).await.unwrap();
    }
    drop(store);
    assert_eq!(disk.open(genesis()).1.clock_floor, Some(UnixSeconds(2000)));
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_last_records() {
    let (store, loaded) = Store::in_memory(genesis()).unwrap();
    assert!(loaded.first_start && !store.durable());
    for _ in 0..5 {
        store.append_audit(vec![vec![1; 10]; 1000]).await.unwrap();
    }
    // Those who share a row with the oldest stay with it.
    let kept = store.records(1, 10_000).unwrap();
    assert!((4096..4096 + 1000).contains(&kept.len()), "{}", kept.len());
    assert_eq!(kept.last().map(|record| record.number), Some(5000));
    assert_eq!(store.head().audit_size, 5000);
    for _ in 0..5000 {
        store.append_audit(vec![vec![1; 10]]).await.unwrap();
    }
    assert_eq!(store.records(1, 10_000).unwrap().len(), 4096);
}

#[tokio::test]
async fn any_piece_of_the_audit_log_can_be_read() {
    let disk = Disk::default();
    let (store, _) = disk.open(genesis());
    // Alone, in one row together, in several rows, and one that fills more than a row.
    for lengths in [vec![5], vec![7; 40], vec![900; 50], vec![100, 20_000, 100], vec![0, 0]] {
        store.append_audit(lengths.into_iter().map(|length| vec![1; length]).collect()).await.unwrap();
    }
    let all = store.records(1, 1000).unwrap();
    assert_eq!(all.len(), 96);
    for first in 0..=98 {
        for count in [0, 1, 2, 17, 96, usize::MAX] {
            let wanted: Vec<_> =
                all.iter().filter(|record| record.number >= first).take(count).cloned().collect();
            assert_eq!(store.records(first, count).unwrap(), wanted, "{count} from {first}");
        }
        let hash = all.iter().find(|record| record.number == first).map(|record| record.hash);
        assert_eq!(store.record_hash(first).unwrap(), hash);
    }
    drop(store);
    assert_eq!(disk.open(genesis()).0.records(1, 1000).unwrap(), all);
}

#[tokio::test]
async fn a_change_has_a_length_limit() {
    let (store, _) = Store::in_memory(genesis()).unwrap();
    let error = store.append_audit(vec![vec![0; MAXIMUM_CHANGE_LENGTH]]).await.unwrap_err();
    assert_eq!(error.code(), "store-too-large");
    store.append_audit(vec![b"small".to_vec()]).await.unwrap();
}

#[test]
fn a_directory_has_one_broker_and_one_genesis_and_one_key() {
    let directory = TempDir::new().unwrap();
    let first = open(&directory);
    let code =
        |result: Result<(Store, LoadedState), StoreError>| result.map(drop).map_err(|error| error.code());
    let open = |genesis, root: RootKey| code(Store::open(directory.path(), genesis, &root));
    assert_eq!(open(genesis(), root()), Err("store-in-use"));
    drop(first);
    let other = GenesisDigest(Sha256Digest([2; 32]));
    assert_eq!(open(other, root()), Err("store-other-genesis"));
    assert_eq!(open(genesis(), RootKey(Zeroizing::new([2; 32]))), Err("store-unsealing"));
    assert_eq!(open(genesis(), root()), Ok(()));
}

#[test]
fn what_is_no_store_is_refused_and_left_alone() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join(FILE);
    for contents in [&b""[..], b"x", &[0; 10_000], &[0xff; 10_000]] {
        std::fs::write(&path, contents).unwrap();
        let error = Store::open(directory.path(), genesis(), &root()).unwrap_err();
        assert_eq!(error.code(), "store-not-state", "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), contents);
    }
    // A database of another program.
    std::fs::remove_file(&path).unwrap();
    let database = Database::create(&path).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction.open_table(redb::TableDefinition::<u64, u64>::new("numbers")).unwrap();
    transaction.commit().unwrap();
    drop(database);
    let error = Store::open(directory.path(), genesis(), &root()).unwrap_err();
    assert_eq!(error.code(), "store-not-state", "{error}");
    // The form of the first brokers.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(directory.path().join("state"), "adytum broker state v1\n").unwrap();
    let error = Store::open(directory.path(), genesis(), &root()).unwrap_err();
    assert_eq!(error.code(), "store-earlier-format");
    assert!(!path.exists());
}

#[test]
fn the_envelope_is_readable_before_the_key_is_there() {
    let directory = TempDir::new().unwrap();
    let locked = LockedStore::open(directory.path(), genesis()).unwrap();
    assert!(locked.is_new().unwrap());
    assert_eq!(locked.envelope("root-key").unwrap(), None);
    locked.set_envelope("root-key", b"wrapped").unwrap();
    let (store, _) = locked.unlock(&root()).unwrap();
    store.set_envelope("other", b"also").unwrap();
    drop(store);
    let locked = LockedStore::open(directory.path(), genesis()).unwrap();
    assert!(!locked.is_new().unwrap());
    assert_eq!(locked.envelope("root-key").unwrap().unwrap(), b"wrapped");
    assert_eq!(locked.envelope("other").unwrap().unwrap(), b"also");
}
