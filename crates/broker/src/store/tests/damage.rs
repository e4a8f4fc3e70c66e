//! A host that changes the file: bits, rows, and whole records of other times.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use redb::{ReadableTable, TableDefinition};

use super::{
    disk::{Disk, genesis},
    *,
};
use crate::store::{
    storage::Storage,
    tables::{MANIFESTS, SECRETS, STATE},
};

/// A store with some of everything, shut down in good order.
async fn filled() -> Vec<u8> {
    let disk = Disk::default();
    let (store, _) = disk.open(genesis());
    store.commit(manifest(1)).await.unwrap();
    for n in 0..20 {
        store.commit(put(&format!("secret-{n}"), &[n; 500], 1)).await.unwrap();
    }
    store.append_audit((0..50).map(|n| vec![n; 100]).collect()).await.unwrap();
    let item = Item(Zeroizing::new(vec![1; 100]));
    store.commit(Change { items: vec![("ca/key", Some(item))], ..Change::default() }).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    disk.bytes()
}

type Contents = (Vec<(String, Option<Vec<u8>>, u64)>, Option<SignedManifest>, StateHead, Vec<StoredRecord>);

fn contents(store: &Store, loaded: &LoadedState) -> Result<Contents, StoreError> {
    let records = store.records(1, 1000)?;
    let head = StateHead { epoch: 0, ..store.head() };
    Ok((values(loaded), loaded.snapshot.manifest.clone(), head, records))
}

#[tokio::test]
async fn flipped_bits_are_detected_or_without_effect_and_never_a_panic() {
    let good = filled().await;
    let (store, loaded) = Disk::with(good.clone()).open(genesis());
    let wanted = contents(&store, &loaded).unwrap();
    let seed = 7;
    let mut random = StdRng::seed_from_u64(seed);
    let mut detected = std::collections::BTreeMap::new();
    for round in 0..600 {
        let mut bad = good.clone();
        match round % 10 {
            0..8 => {
                let at = random.random_range(0..bad.len());
                bad[at] ^= 1 << random.random_range(0..8);
            }
            8 => {
                let at = random.random_range(0..bad.len());
                let end = bad.len().min(at + random.random_range(1..5000));
                random.fill(&mut bad[at..end]);
            }
            _ => bad.truncate(random.random_range(1..bad.len())),
        }
        let disk = Disk::with(bad);
        let found = disk.try_open(genesis()).and_then(|(store, loaded)| {
            let found = contents(&store, &loaded)?;
            Ok((store, found))
        });
        let code = match found {
            Ok((store, found)) => {
                assert_eq!(found, wanted, "seed {seed}, round {round}");
                store.commit(put("secret-3", b"next", 2)).await.unwrap();
                "harmless"
            }
            Err(error) => {
                let named = error.to_string();
                assert!(named.contains("disk"), "{named}");
                error.code()
            }
        };
        *detected.entry(code).or_insert(0) += 1;
    }
    let of = |code| detected.get(code).copied().unwrap_or_default();
    assert!(of("store-damaged") > 100, "{detected:?}");
    assert_eq!(of("store-io") + of("store-unsealing") + of("store-mixed"), 0, "{detected:?}");
}

/// The host writes with the database's own tools, so that its checksums fit.
fn edit(
    bytes: &[u8],
    change: impl FnOnce(&redb::WriteTransaction),
) -> Result<(Store, LoadedState), StoreError> {
    let disk = Disk::with(bytes.to_vec());
    let database = Storage::open(&disk).unwrap();
    let transaction = database.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
    drop(database);
    disk.try_open(genesis())
}

type Rows = Vec<(Vec<u8>, Vec<u8>)>;

fn rows(bytes: &[u8], table: TableDefinition<'static, &'static [u8], &'static [u8]>) -> Rows {
    let database = Storage::open(&Disk::with(bytes.to_vec())).unwrap();
    let transaction = database.begin_read().unwrap();
    let table = transaction.open_table(table).unwrap();
    let rows = table.iter().unwrap().map(|row| row.unwrap());
    rows.map(|(key, value)| (key.value().to_vec(), value.value().to_vec())).collect()
}

#[tokio::test]
async fn a_damaged_record_is_named() {
    let good = filled().await;
    let all = rows(&good, SECRETS);
    let mut names = std::collections::BTreeSet::new();
    for (key, row) in &all {
        let mut bad = row.clone();
        *bad.last_mut().unwrap() ^= 1;
        let error = edit(&good, |transaction| {
            transaction.open_table(SECRETS).unwrap().insert(key.as_slice(), bad.as_slice()).unwrap();
        })
        .unwrap_err();
        let StoreError::Damaged { record, .. } = &error else { panic!("{error}") };
        names.insert(record.clone());
    }
    assert_eq!(names, (0..20).map(|n| format!("the secret secret-{n}")).collect());

    // Where the name itself is damaged, its place is named.
    let (key, row) = &all[0];
    let mut bad = row.clone();
    bad[30] ^= 1;
    let error = edit(&good, |transaction| {
        transaction.open_table(SECRETS).unwrap().insert(key.as_slice(), bad.as_slice()).unwrap();
    })
    .unwrap_err();
    assert!(error.to_string().contains(&hex::encode(key)), "{error}");

    let error = edit(&good, |transaction| {
        transaction.open_table(MANIFESTS).unwrap().insert(1, &b"version = 1"[..]).unwrap();
    })
    .unwrap_err();
    assert!(error.to_string().contains("the manifest version 1"), "{error}");
    for (number, at_start) in [(50, true), (7, false)] {
        let opened = edit(&good, |transaction| {
            transaction.open_table(AUDIT).unwrap().insert(number, &[0; 100][..]).unwrap();
        });
        let error = match opened {
            Err(error) => error,
            Ok((store, _)) => {
                assert!(!at_start);
                store.records(1, 100).unwrap_err()
            }
        };
        assert!(error.to_string().contains(&format!("the audit record {number}")), "{error}");
    }
}

#[tokio::test]
async fn single_records_of_another_time_or_place_are_refused() {
    let disk = Disk::default();
    let (store, _) = disk.open(genesis());
    store.commit(manifest(1)).await.unwrap();
    store.commit(put("model_key", b"leaked", 1)).await.unwrap();
    store.append_audit(vec![b"first".to_vec()]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let before = disk.bytes();
    let (store, _) = disk.open(genesis());
    store.commit(put("model_key", b"rotated", 2)).await.unwrap();
    store.commit(put("other", b"value", 1)).await.unwrap();
    store.commit(manifest(2)).await.unwrap();
    store.append_audit(vec![b"second".to_vec()]).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    let after = disk.bytes();

    // The value from before the rotation comes back, together with the new one or
    // instead of it.
    let (old_key, old_row) = rows(&before, SECRETS).remove(0);
    for instead in [false, true] {
        let error = edit(&after, |transaction| {
            let mut table = transaction.open_table(SECRETS).unwrap();
            if instead {
                let new: Vec<_> = table.iter().unwrap().map(|row| row.unwrap().0.value().to_vec()).collect();
                for key in new.iter().filter(|key| key[..32] == old_key[..32]) {
                    table.remove(key.as_slice()).unwrap();
                }
            }
            table.insert(old_key.as_slice(), old_row.as_slice()).unwrap();
        })
        .unwrap_err();
        assert_eq!(error.code(), "store-mixed", "{error}");
    }
    // One vanishes.
    let vanished = edit(&after, |transaction| {
        transaction.open_table(SECRETS).unwrap().pop_first().unwrap();
    });
    assert_eq!(vanished.unwrap_err().code(), "store-mixed");
    // Two change places.
    let [(one, first), (two, second)] = &rows(&after, SECRETS)[..] else { panic!() };
    let swapped = edit(&after, |transaction| {
        let mut table = transaction.open_table(SECRETS).unwrap();
        table.insert(one.as_slice(), second.as_slice()).unwrap();
        table.insert(two.as_slice(), first.as_slice()).unwrap();
    });
    assert_eq!(swapped.unwrap_err().code(), "store-damaged");
    // The manifest goes, or the state row of yesterday comes, or none is left.
    let vanished = edit(&after, |transaction| {
        transaction.open_table(MANIFESTS).unwrap().remove(2).unwrap();
    });
    assert_eq!(vanished.unwrap_err().code(), "store-mixed");
    let state = {
        let database = Storage::open(&Disk::with(before.clone())).unwrap();
        let table = database.begin_read().unwrap().open_table(STATE).unwrap();
        table.get("state").unwrap().unwrap().value().to_vec()
    };
    let error = edit(&after, |transaction| {
        transaction.open_table(STATE).unwrap().insert("state", state.as_slice()).unwrap();
    });
    assert_eq!(error.unwrap_err().code(), "store-mixed");
    let none = edit(&after, |transaction| {
        transaction.open_table(STATE).unwrap().remove("state").unwrap();
    });
    assert_eq!(none.unwrap_err().code(), "store-damaged");
    // The end of the audit log is cut off, or something is added.
    for change in [None, Some(3)] {
        let error = edit(&after, |transaction| {
            let mut table = transaction.open_table(AUDIT).unwrap();
            match change {
                None => drop(table.remove(2).unwrap()),
                Some(number) => drop(table.insert(number, &[0; 80][..]).unwrap()),
            }
        })
        .unwrap_err();
        assert!(error.to_string().contains("audit record"), "{error}");
    }
    // A row of the log comes where other records are, or is not there.
    let error = edit(&filled().await, |transaction| {
        let mut table = transaction.open_table(AUDIT).unwrap();
        let row = table.first().unwrap().unwrap().1.value().to_vec();
        table.insert(20, row.as_slice()).unwrap();
    });
    assert!(error.unwrap_err().to_string().contains("the audit record 20"));
    // Untouched, it opens.
    let (store, loaded) = edit(&after, |_| {}).unwrap();
    assert_eq!((store.head().manifest_version, values(&loaded).len()), (2, 2));
}

#[tokio::test]
async fn a_file_exchanged_while_the_broker_runs_is_noticed_when_it_is_opened_again() {
    let disk = Disk::default();
    let (store, _) = disk.open(genesis());
    store.commit(put("model_key", b"leaked", 1)).await.unwrap();
    disk.fill(true);
    store.commit(put("model_key", b"rotated", 2)).await.unwrap_err();
    disk.exchange(filled().await);
    disk.fill(false);
    assert_eq!(store.commit(put("model_key", b"rotated", 2)).await.unwrap_err().code(), "store-mixed");
}
