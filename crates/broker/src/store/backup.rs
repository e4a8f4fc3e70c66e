//! Backup and restore: rows are copied as they are, encrypted, so neither needs
//! the root key. A backup is a store's file.

use std::path::Path;

use adytum_governance::genesis::GenesisDigest;
use redb::{Database, Key, ReadTransaction, ReadableDatabase, ReadableTable, TableDefinition, Value};

use super::{
    LockedStore, Store, StoreError,
    directory_lock::lock,
    engine::RESTORED,
    locked::{FILE, appear, exists, genesis_of, not_empty},
    storage::{Storage, StoreFile},
    tables::{AUDIT, ENVELOPE, Fault, HEADER, ITEMS, MANIFESTS, SECRETS, STATE, guarded},
};

/// The most rows that are copied in one transaction: memory stays bounded.
const BATCH: usize = 4096;

impl Store {
    /// Copies the store as it is at this moment into a new file, while it goes on
    /// serving. Blocks on the disk.
    pub fn backup(&self, to: &Path) -> Result<(), StoreError> {
        copy(&*self.open_database()?, self.0.storage.path(), to, false)
    }
}

/// Copies the store of a broker that does not run into a new file. Says whose it
/// is. Blocks on the disk.
pub fn backup(directory: &Path, to: &Path) -> Result<GenesisDigest, StoreError> {
    let path = directory.join(FILE);
    if !exists(&path)? {
        return Err(StoreError::NoState { path: directory.to_owned() });
    }
    let lock = lock(directory)?;
    let (store, genesis) = open_any(&path)?;
    let store = LockedStore::on(store, genesis, Some(lock))?;
    copy(store.database(), &path, to, false)?;
    Ok(genesis)
}

/// Puts a backup into a state directory that has no store. The broker takes the
/// next start for an unplanned one. Says whose store it is. Blocks on the disk.
pub fn restore(backup: &Path, directory: &Path) -> Result<GenesisDigest, StoreError> {
    if !exists(backup)? {
        return Err(StoreError::NoState { path: backup.to_owned() });
    }
    let _lock = lock(directory)?;
    // The backup itself stays as it is: opening a database may write to it.
    let copied = directory.join("restore.redb");
    appear(&copied, |new| {
        std::fs::copy(backup, new)
            .map(drop)
            .map_err(|source| super::tables::io_error(backup, "copying", source))
    })?;
    let restored = open_any(&copied).and_then(|(store, genesis)| {
        let database = guarded(&copied, "opening", || Ok(store.open()?))?;
        copy(&database, backup, &directory.join(FILE), true)?;
        Ok(genesis)
    });
    let _ = std::fs::remove_file(&copied);
    // Errors name the file that was given, not its copy.
    restored.map_err(|error| renamed(error, &copied, backup))
}

fn renamed(error: StoreError, from: &Path, to: &Path) -> StoreError {
    match error {
        StoreError::NotState { path, found } if path == from => {
            StoreError::NotState { path: to.to_owned(), found }
        }
        StoreError::Damaged { path, record } if path == from => {
            StoreError::Damaged { path: to.to_owned(), record }
        }
        error => error,
    }
}

/// Any broker's store.
fn open_any(path: &Path) -> Result<(std::sync::Arc<dyn Storage>, GenesisDigest), StoreError> {
    not_empty(path)?;
    let storage = StoreFile::new(path.to_owned());
    let genesis = guarded(path, "opening", || {
        let database = storage.open()?;
        genesis_of(path, &database)
    })?;
    Ok((std::sync::Arc::new(storage), genesis))
}

fn copy(database: &Database, path: &Path, to: &Path, restored: bool) -> Result<(), StoreError> {
    if exists(to)? {
        return Err(StoreError::Exists { path: to.to_owned() });
    }
    appear(to, |new| {
        guarded(path, "copying", || {
            let from = database.begin_read()?;
            let target = StoreFile::new(new.to_owned()).open()?;
            copy_table(&from, &target, HEADER)?;
            copy_table(&from, &target, ENVELOPE)?;
            copy_table(&from, &target, STATE)?;
            copy_table(&from, &target, MANIFESTS)?;
            copy_table(&from, &target, SECRETS)?;
            copy_table(&from, &target, ITEMS)?;
            copy_table(&from, &target, AUDIT)?;
            if restored {
                let transaction = target.begin_write()?;
                transaction.open_table(HEADER)?.insert(RESTORED, &b"1"[..])?;
                transaction.commit()?;
            }
            Ok(())
        })
    })
}

fn copy_table<K: Key + 'static, V: Value + 'static>(
    from: &ReadTransaction,
    to: &Database,
    definition: TableDefinition<'_, K, V>,
) -> Result<(), Fault> {
    let source = match from.open_table(definition) {
        Ok(source) => source,
        // A store that was never started.
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut rows = source.iter()?.peekable();
    loop {
        let transaction = to.begin_write()?;
        {
            let mut target = transaction.open_table(definition)?;
            for entry in rows.by_ref().take(BATCH) {
                let (key, value) = entry?;
                target.insert(key.value(), value.value())?;
            }
        }
        transaction.commit()?;
        if rows.peek().is_none() {
            return Ok(());
        }
    }
}
