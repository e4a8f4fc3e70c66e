//! Measures the store: commits in groups beside what `redb` itself does with the
//! same rows, and how long a start takes, empty and full.
//!
//! `cargo run --release -p adytum-broker --example store_rate [DIRECTORY]`

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a program to measure with")]

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adytum_broker::{
    manifest::SignedManifest,
    secrets::{SecretKind, SecretValue, StoredSecret},
    store::{Change, RootKey, Store},
};
use adytum_evidence::measurement::Sha256Digest;
use adytum_ratls::claims::GenesisDigest;
use redb::{Database, ReadableDatabase, TableDefinition};
use zeroize::Zeroizing;

const RECORDS: TableDefinition<u64, &[u8]> = TableDefinition::new("records");
const TIME: Duration = Duration::from_secs(3);
const RECORD: usize = 400;

fn genesis() -> GenesisDigest {
    GenesisDigest(Sha256Digest([1; 32]))
}

fn root() -> RootKey {
    RootKey(Zeroizing::new([1; 32]))
}

fn fresh(home: &Path, name: &str) -> PathBuf {
    let directory = home.join(name);
    let _ = std::fs::remove_dir_all(&directory);
    directory
}

/// Records a second through the database itself, so many in a transaction.
fn raw(home: &Path, batch: u64) -> f64 {
    let directory = fresh(home, "raw");
    std::fs::create_dir_all(&directory).unwrap();
    let database = Database::create(directory.join("raw.redb")).unwrap();
    let record = vec![7; RECORD];
    let mut number = 0;
    let began = Instant::now();
    while began.elapsed() < TIME {
        let transaction = database.begin_write().unwrap();
        {
            let mut table = transaction.open_table(RECORDS).unwrap();
            for _ in 0..batch {
                number += 1;
                table.insert(number, record.as_slice()).unwrap();
            }
        }
        transaction.commit().unwrap();
    }
    assert!(database.begin_read().is_ok());
    number as f64 / began.elapsed().as_secs_f64()
}

/// Records a second through the store, from so many callers at once.
async fn grouped(home: &Path, callers: u64) -> f64 {
    let (store, _) = Store::open(&fresh(home, "grouped"), genesis(), &root()).unwrap();
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < TIME {
                    store.append_audit(vec![vec![7; RECORD]]).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.unwrap();
    }
    f64::from(done) / began.elapsed().as_secs_f64()
}

/// Ten thousand secrets and a manifest of a thousand workloads.
async fn fill(directory: &Path) {
    let (store, _) = Store::open(directory, genesis(), &root()).unwrap();
    let workload = "[[workload]]\nname = \"w\"\n[workload.policy]\nmr_enclave = [\"00\"]\n".repeat(4);
    let text = workload.repeat(1000);
    store
        .commit(Change { manifest: Some((1, SignedManifest::unsigned(text))), ..Change::default() })
        .await
        .unwrap();
    for chunk in 0..100 {
        let secrets = (0..100).map(|n| {
            let value = SecretValue::parse(SecretKind::Opaque, Zeroizing::new(vec![1; 64])).unwrap();
            let secret = StoredSecret {
                kind: SecretKind::Opaque,
                value: Some(value),
                version: 1,
                changed_by: Vec::new(),
            };
            (format!("secret-{chunk}-{n}").parse().unwrap(), secret)
        });
        store.commit(Change { secrets: secrets.collect(), ..Change::default() }).await.unwrap();
    }
    store.close().await.unwrap();
}

fn start(directory: &Path) -> Vec<Duration> {
    let mut times: Vec<_> = (0..21)
        .map(|_| {
            let began = Instant::now();
            let opened = Store::open(directory, genesis(), &root()).unwrap();
            let took = began.elapsed();
            drop(opened);
            took
        })
        .collect();
    times.sort();
    times
}

#[tokio::main]
async fn main() {
    let home = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from).join("store-rate");
    for callers in [1, 4, 16, 64, 256] {
        // Turn about, and the best of each: others use the disk too.
        let (mut own, mut its) = (0f64, 0f64);
        for _ in 0..2 {
            its = its.max(raw(&home, callers));
            own = own.max(grouped(&home, callers).await);
        }
        println!("{callers:4} at once: store {own:8.0}/s, redb {its:8.0}/s, ratio {:.2}", own / its);
    }
    let empty = fresh(&home, "empty");
    let began = Instant::now();
    drop(Store::open(&empty, genesis(), &root()).unwrap());
    println!("first start, directory made: {:?}", began.elapsed());
    let times = start(&empty);
    println!("start, empty: median {:?}, worst {:?}", times[10], times[20]);
    let full = fresh(&home, "full");
    fill(&full).await;
    let times = start(&full);
    println!("start, 10000 secrets: median {:?}, worst {:?}", times[10], times[20]);
    let _ = std::fs::remove_dir_all(&home);
}
