//! The store: commits in groups, compared with `redb` itself with the same rows in
//! transactions of the same size, and how long it takes to open.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use adytum_broker::store::Store;
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{genesis::GenesisDigest, recovery::root_key::RootKey};
use anyhow::Result;
use redb::{Database, TableDefinition};
use zeroize::Zeroizing;

use crate::report::{Report, median};

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

/// Records a second through the database itself, `batch` in a transaction.
fn raw(home: &Path, batch: u64) -> Result<f64> {
    let directory = fresh(home, "raw");
    std::fs::create_dir_all(&directory)?;
    let database = Database::create(directory.join("raw.redb"))?;
    let record = vec![7; RECORD];
    let mut number = 0;
    let began = Instant::now();
    while began.elapsed() < TIME {
        let transaction = database.begin_write()?;
        {
            let mut table = transaction.open_table(RECORDS)?;
            for _ in 0..batch {
                number += 1;
                table.insert(number, record.as_slice())?;
            }
        }
        transaction.commit()?;
    }
    Ok(number as f64 / began.elapsed().as_secs_f64())
}

/// Records a second through the store, from `callers` callers at once.
async fn grouped(home: &Path, callers: u64) -> Result<f64> {
    let (store, _) = Store::open(&fresh(home, "grouped"), genesis(), &root())?;
    let began = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut done = 0;
                while began.elapsed() < TIME {
                    store.append_audit(vec![vec![7; RECORD]]).await?;
                    done += 1;
                }
                Ok::<u32, anyhow::Error>(done)
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await??;
    }
    Ok(f64::from(done) / began.elapsed().as_secs_f64())
}

/// `store.*`.
pub(super) async fn run(report: &mut Report, home: &Path) -> Result<()> {
    for callers in [1, 4, 16, 64, 256] {
        // Turn about, and the best of each: others use the disk too.
        let (mut own, mut its) = (0f64, 0f64);
        for _ in 0..3 {
            its = its.max(raw(home, callers)?);
            own = own.max(grouped(home, callers).await?);
        }
        let remark = format!("{callers} callers at once; redb with as many records a transaction; bar: 0.9");
        report.compared(&format!("store.commits_per_s.callers{callers}"), own, "1/s", its, &remark);
    }
    let directory = fresh(home, "empty");
    drop(Store::open(&directory, genesis(), &root())?);
    let mut times = Vec::new();
    for _ in 0..21 {
        let began = Instant::now();
        drop(Store::open(&directory, genesis(), &root())?);
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    report.figure("store.open", median(&mut times), "ms", "empty, with the count of the start made durable");
    Ok(())
}
