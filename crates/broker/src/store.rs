//! Where a broker's state outlives the process: a `redb` database whose every
//! value is encrypted under the root key and bound to its place (`row`).
//!
//! 1. [`LockedStore::open`] takes the state directory and finds out whose it is.
//!    Its envelope, bytes that need no root key, can be read and written then.
//! 2. [`LockedStore::unlock`] checks every row that a broker takes up, counts the
//!    start in the epoch, and gives a [`Store`] and what it [`LoadedState`].
//! 3. [`Store::commit`] keeps a [`Change`], or only audit records with
//!    [`Store::append_audit`]; it answers when the change survives a loss of
//!    power. Many at once are committed together.
//! 4. [`Store::close`] marks the shutdown as planned.
//!
//! What no encryption on this machine can do is notice that the host has put the
//! whole file of yesterday back: for that, [`CommittedChange::head`] is remembered
//! elsewhere. Single rows of yesterday are noticed.

mod audit_rows;
mod backup;
mod change;
mod directory_lock;
mod encoding;
mod engine;
mod error;
mod loading;
mod locked;
mod row;
mod storage;
mod tables;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, PoisonError},
};

use adytum_api::names::SecretName;
use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{
    audit::record::StoredRecord, genesis::GenesisDigest, head::StateHead, manifest::SignedManifest,
    recovery::root_key::RootKey, secrets::StoredSecret,
};
use redb::{Database, ReadableDatabase, ReadableTable};
use zeroize::Zeroizing;

pub use self::{
    backup::{backup, restore},
    change::{Change, CommittedChange, Item, MAXIMUM_CHANGE_LENGTH},
    error::StoreError,
    loading::LoadedState,
    locked::{FILE, LockedStore, MAXIMUM_ENVELOPE_LENGTH},
};
use self::{
    encoding::decode_manifest,
    engine::{manifest_place, read_item},
    tables::{AUDIT, Fault, MANIFESTS, guarded, io_error},
    writer::Shared,
};
use crate::telemetry::metrics::StoreActivity;

/// The state that is taken up at a start. Its manifest is unverified: see
/// [`crate::broker::state::State::restore`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Counts the broker's starts.
    pub epoch: u64,
    /// The manifest in force.
    pub manifest: Option<SignedManifest>,
    pub secrets: BTreeMap<SecretName, StoredSecret>,
}

/// An open store. Clones are the same store; it closes with the last of them.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("path", &self.0.storage.path()).finish_non_exhaustive()
    }
}

impl Store {
    /// Opens a store on the disk: [`LockedStore::open`], then
    /// [`LockedStore::unlock`].
    pub fn open(
        directory: &Path,
        genesis: GenesisDigest,
        root: &RootKey,
    ) -> Result<(Self, LoadedState), StoreError> {
        LockedStore::open(directory, genesis)?.unlock(root)
    }

    /// A new store in memory, for platforms without a sealing key. It keeps the
    /// last few thousand audit records.
    pub fn in_memory(genesis: GenesisDigest) -> Result<(Self, LoadedState), StoreError> {
        LockedStore::in_memory(genesis)?.unlock(&RootKey::generate()?)
    }

    /// Does anything survive the process?
    pub fn durable(&self) -> bool {
        self.0.storage.durable()
    }

    /// Keeps a change, wholly or not at all. When it returns `Ok`, the change
    /// survives a loss of power; after an error it is not in force. Changes that
    /// depend on each other must wait for each other.
    ///
    /// A caller that stops waiting does not take its change back.
    pub async fn commit(&self, change: Change) -> Result<CommittedChange, StoreError> {
        self.0.commit(change).await
    }

    /// Keeps a change after which there is none: later ones are refused, in the
    /// order in which they came. The shutdown counts as planned. After an error the
    /// store goes on.
    pub(crate) async fn commit_last(&self, change: Change) -> Result<CommittedChange, StoreError> {
        self.0.commit_last(change).await
    }

    /// Keeps audit records, in order, all or none. The store numbers and links
    /// them: see [`record_hash`](adytum_governance::audit::record::record_hash).
    pub async fn append_audit(&self, records: Vec<Vec<u8>>) -> Result<CommittedChange, StoreError> {
        self.commit(Change::audit(records)).await
    }

    /// Marks the shutdown as planned. Changes that come later are refused.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.0.close().await
    }

    /// Was the last change kept? After a failure [`Self::probe`] finds out whether
    /// it has passed.
    pub fn works(&self) -> bool {
        self.0.activity.works() && self.0.listens()
    }

    /// Keeps an empty change, to see whether the store works.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.commit(Change::default()).await.map(drop)
    }

    pub(crate) fn activity(&self) -> &StoreActivity {
        &self.0.activity
    }

    /// [`Self::close`], and gives file and directory free for another broker while
    /// handles are left. Nothing is read any more either.
    pub(crate) async fn release(&self) -> Result<(), StoreError> {
        self.close().await?;
        let shared = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || shared.release()).await.map_err(|_| StoreError::Closed)?
    }

    /// The key under which all of it is encrypted.
    pub(crate) fn root_key(&self) -> &RootKey {
        &self.0.root
    }

    /// The head of all that was committed.
    pub fn head(&self) -> StateHead {
        self.0.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// At most `count` audit records from number `first` on, in order. Each is
    /// authentic; whether they follow each other, their hashes tell. Blocks on the
    /// disk.
    pub fn records(&self, first: u64, count: usize) -> Result<Vec<StoredRecord>, StoreError> {
        self.read(|database, path| {
            let transaction = database.begin_read()?;
            audit_rows::read(path, &self.0.cipher, &transaction.open_table(AUDIT)?, first, count)
        })
    }

    /// The hash of an audit record; `None` if there is none of this number.
    /// Blocks on the disk.
    pub fn record_hash(&self, number: u64) -> Result<Option<Sha256Digest>, StoreError> {
        let found = self.records(number, 1)?;
        Ok(found.first().filter(|record| record.number == number).map(|record| record.hash))
    }

    /// The versions of all manifests there ever were, in order. Blocks on the
    /// disk.
    pub fn manifest_versions(&self) -> Result<Vec<u64>, StoreError> {
        self.read(|database, _| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(MANIFESTS)?;
            let versions = table.iter()?.map(|entry| entry.map(|(version, _)| version.value()));
            Ok(versions.collect::<Result<_, _>>()?)
        })
    }

    /// A manifest that is or was in force. Blocks on the disk.
    pub fn manifest(&self, version: u64) -> Result<Option<SignedManifest>, StoreError> {
        self.read(|database, path| {
            let transaction = database.begin_read()?;
            let Some(row) = transaction.open_table(MANIFESTS)?.get(version)? else { return Ok(None) };
            let key = version.to_be_bytes();
            let damaged = |_| StoreError::Damaged {
                path: path.to_owned(),
                record: format!("the manifest version {version}"),
            };
            let opened = self.0.cipher.open(manifest_place(&key), false, row.value()).map_err(damaged)?;
            let contents = |reason| StoreError::Contents { path: path.to_owned(), reason };
            Ok(Some(decode_manifest(&opened.value).map_err(contents)?))
        })
    }

    /// A value of [`Change::items`]. Blocks on the disk.
    pub fn item(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
        read_item(self.0.storage.path(), &*self.open_database()?, &self.0.cipher, name)
    }

    /// Reads a value of the envelope: see [`LockedStore::envelope`]. Blocks on the
    /// disk.
    pub fn envelope(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        locked::read_envelope(self.0.storage.path(), &*self.open_database()?, name)
    }

    /// Puts a value into the envelope, durably. Blocks on the disk, and on a
    /// commit in progress.
    pub fn set_envelope(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        locked::write_envelope(self.0.storage.path(), &*self.open_database()?, name, value)
    }

    fn read<T>(&self, work: impl FnOnce(&Database, &Path) -> Result<T, Fault>) -> Result<T, StoreError> {
        let database = self.open_database()?;
        let path = self.0.storage.path();
        guarded(path, "reading", || work(&database, path))
    }

    fn open_database(&self) -> Result<Arc<Database>, StoreError> {
        let failed = || io_error(self.0.storage.path(), "reading", std::io::Error::other("it failed before"));
        self.0.slot.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(failed)
    }
}

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
pub(crate) use tests::disk::Disk;
