//! A state directory that this process holds, before its root key is there.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::{Arc, RwLock},
};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{genesis::GenesisDigest, head::StateHead, recovery::root_key::RootKey};
use redb::{Database, ReadableDatabase};
use zeroize::Zeroizing;

use super::{
    LoadedState, Store, StoreError,
    directory_lock::{DirectoryLock, lock},
    engine::{Engine, RESTORED, read_item},
    loading::load,
    row::{FORMAT, RowCipher},
    storage::{Memory, Storage, StoreFile},
    tables::{ENVELOPE, Fault, HEADER, guarded, io_error},
    writer,
};

/// The store's file in a state directory.
pub const FILE: &str = "store.redb";
/// State of the broker before this form.
const EARLIER: &str = "state";
const FORMAT_KEY: &str = "format";
const GENESIS_KEY: &str = "genesis";
const CHECK_KEY: &str = "check";
/// The most bytes of one value of the envelope.
pub const MAXIMUM_ENVELOPE_LENGTH: usize = 1024 * 1024;

/// What a store holds, its head, and some of its items.
type Peeked<const N: usize> = (LoadedState, StateHead, [Option<Zeroizing<Vec<u8>>>; N]);

/// A store that is this broker's and whose root key is not there yet. Its
/// envelope can be read and written; the rest opens with [`Self::unlock`].
pub struct LockedStore {
    storage: Arc<dyn Storage>,
    database: Database,
    genesis: GenesisDigest,
    // Held as long as the store lives: two brokers on one file would each undo
    // the other's changes.
    lock: Option<DirectoryLock>,
}

impl std::fmt::Debug for LockedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockedStore").field("path", &self.storage.path()).finish_non_exhaustive()
    }
}

impl LockedStore {
    /// Opens the store in `directory`, which is made (mode 0700) if it is not
    /// there. Blocks on the disk.
    pub fn open(directory: &Path, genesis: GenesisDigest) -> Result<Self, StoreError> {
        let lock = lock(directory)?;
        let path = directory.join(FILE);
        if !exists(&path)? {
            let earlier = directory.join(EARLIER);
            if exists(&earlier)? {
                return Err(StoreError::EarlierFormat { path: earlier });
            }
            create(&path, genesis)?;
        }
        not_empty(&path)?;
        let storage = Arc::new(StoreFile::new(path));
        Self::on(storage, genesis, Some(lock))
    }

    /// Opens the store in `directory`, which must be there. Blocks on the disk.
    pub fn open_existing(directory: &Path, genesis: GenesisDigest) -> Result<Self, StoreError> {
        if !exists(&directory.join(FILE))? {
            return Err(StoreError::NoState { path: directory.to_owned() });
        }
        Self::open(directory, genesis)
    }

    /// A store in memory, which ends with the process.
    pub fn in_memory(genesis: GenesisDigest) -> Result<Self, StoreError> {
        let storage = Arc::new(Memory);
        let database = guarded(storage.path(), "opening", || {
            let database = storage.open()?;
            write_header(&database, genesis)?;
            Ok(database)
        })?;
        Ok(Self { storage, database, genesis, lock: None })
    }

    /// Opens what lies on this storage.
    pub(super) fn on(
        storage: Arc<dyn Storage>,
        genesis: GenesisDigest,
        lock: Option<DirectoryLock>,
    ) -> Result<Self, StoreError> {
        let path = storage.path().to_owned();
        let database = guarded(&path, "opening", || {
            let database = storage.open()?;
            let found = genesis_of(&path, &database)?;
            if found != genesis {
                let expected = genesis;
                return Err(StoreError::OtherGenesis { path: path.clone(), expected, found }.into());
            }
            Ok(database)
        })?;
        Ok(Self { storage, database, genesis, lock })
    }

    /// Does it outlive the process?
    pub fn durable(&self) -> bool {
        self.storage.durable()
    }

    /// Whose it is.
    pub fn genesis(&self) -> GenesisDigest {
        self.genesis
    }

    /// Is it this root key that it was begun with?
    pub(crate) fn opens_with(&self, root: &RootKey) -> Result<bool, StoreError> {
        let cipher = RowCipher::new(root, self.genesis)?;
        Ok(self.header(CHECK_KEY)?.is_some_and(|check| cipher.checks(&check)))
    }

    /// Checks all rows and reads items, without counting a start.
    pub(crate) fn peek<const N: usize>(
        &self,
        root: &RootKey,
        items: [&str; N],
    ) -> Result<Peeked<N>, StoreError> {
        let cipher = RowCipher::new(root, self.genesis)?;
        let (state, loaded) = load(self.storage.path(), &cipher, &self.database)?;
        let mut values = [const { None }; N];
        for (value, name) in values.iter_mut().zip(items) {
            *value = read_item(self.storage.path(), &self.database, &cipher, name)?;
        }
        Ok((loaded, state.head(), values))
    }

    /// Has the next start taken for one from a backup: unplanned.
    pub(crate) fn mark_restored(&self) -> Result<(), StoreError> {
        guarded(self.storage.path(), "committing", || {
            let transaction = self.database.begin_write()?;
            transaction.open_table(HEADER)?.insert(RESTORED, &b"1"[..])?;
            transaction.commit()?;
            Ok(())
        })
    }

    /// The error of a store whose key can't be had.
    pub(crate) fn unsealing(&self) -> StoreError {
        StoreError::Unsealing { path: self.storage.path().to_owned() }
    }

    /// The error of a store that is genuine and can't be read.
    pub(crate) fn contents(&self, reason: String) -> StoreError {
        StoreError::Contents { path: self.storage.path().to_owned(), reason }
    }

    /// Has a root key never been used with it?
    pub fn is_new(&self) -> Result<bool, StoreError> {
        Ok(self.header(CHECK_KEY)?.is_none())
    }

    /// Reads a value of the envelope: bytes that need no root key, and that the
    /// host can read and change. For what carries its own protection, such as the
    /// root key encrypted to those who may recover it.
    pub fn envelope(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        read_envelope(self.storage.path(), &self.database, name)
    }

    /// Puts a value into the envelope, durably.
    pub fn set_envelope(&self, name: &str, value: &[u8]) -> Result<(), StoreError> {
        write_envelope(self.storage.path(), &self.database, name, value)
    }

    /// Opens the store with its root key, or begins one, and counts this start in
    /// the epoch, durably. Blocks on the disk.
    pub fn unlock(self, root: &RootKey) -> Result<(Store, LoadedState), StoreError> {
        let path = self.storage.path().to_owned();
        let cipher = Arc::new(RowCipher::new(root, self.genesis)?);
        match self.header(CHECK_KEY)? {
            Some(check) if !cipher.checks(&check) => return Err(StoreError::Unsealing { path }),
            Some(_) => {}
            None => guarded(&path, "committing", || {
                let transaction = self.database.begin_write()?;
                transaction.open_table(HEADER)?.insert(CHECK_KEY, &cipher.check()[..])?;
                transaction.commit()?;
                Ok(())
            })?,
        }
        let (current, mut loaded) = load(&path, &cipher, &self.database)?;
        if !loaded.first_start && self.header(RESTORED)?.is_some() {
            loaded.planned = false;
        }
        loaded.unconfirmed |= !loaded.planned;
        let slot = Arc::new(RwLock::new(Some(Arc::new(self.database))));
        let mut engine = Engine::new(self.storage.clone(), cipher.clone(), slot.clone(), current);
        engine.start(loaded.unconfirmed)?;
        loaded.snapshot.epoch = engine.current().epoch;
        let keys = (root.clone(), cipher);
        let store = writer::start(engine, self.storage, keys, slot, self.lock)?;
        Ok((store, loaded))
    }

    fn header(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        guarded(self.storage.path(), "reading", || {
            let transaction = self.database.begin_read()?;
            Ok(transaction.open_table(HEADER)?.get(name)?.map(|value| value.value().to_vec()))
        })
    }

    /// The database, for copying.
    pub(super) fn database(&self) -> &Database {
        &self.database
    }
}

pub(super) fn read_envelope(
    path: &Path,
    database: &Database,
    name: &str,
) -> Result<Option<Vec<u8>>, StoreError> {
    guarded(path, "reading", || {
        let transaction = database.begin_read()?;
        Ok(transaction.open_table(ENVELOPE)?.get(name)?.map(|value| value.value().to_vec()))
    })
}

pub(super) fn write_envelope(
    path: &Path,
    database: &Database,
    name: &str,
    value: &[u8],
) -> Result<(), StoreError> {
    if value.len() > MAXIMUM_ENVELOPE_LENGTH {
        return Err(StoreError::TooLarge { found: value.len(), limit: MAXIMUM_ENVELOPE_LENGTH });
    }
    guarded(path, "committing", || {
        let transaction = database.begin_write()?;
        transaction.open_table(ENVELOPE)?.insert(name, value)?;
        transaction.commit()?;
        Ok(())
    })
}

pub(super) fn exists(path: &Path) -> Result<bool, StoreError> {
    path.try_exists().map_err(|source| io_error(path, "looking for it", source))
}

/// An empty file is what a careless copy leaves behind; the database would take
/// it for a new one.
pub(super) fn not_empty(path: &Path) -> Result<(), StoreError> {
    let length = fs::metadata(path).map_err(|source| io_error(path, "reading", source))?.len();
    if length == 0 {
        return Err(StoreError::NotState { path: path.to_owned(), found: "it is empty".to_owned() });
    }
    Ok(())
}

/// Makes a store with a header only. It appears whole or not at all.
fn create(path: &Path, genesis: GenesisDigest) -> Result<(), StoreError> {
    appear(path, |new| {
        guarded(path, "creating", || {
            let database = StoreFile::new(new.to_owned()).open()?;
            write_header(&database, genesis)
        })
    })
}

/// Lets `write` make a file in the directory of `path`, then gives it its name, durably.
pub(super) fn appear(
    path: &Path,
    write: impl FnOnce(&Path) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let removed = |new: &Path| match fs::remove_file(new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error(new, "removing", error)),
        _ => Ok(()),
    };
    removed(&new)?;
    let done = write(&new).and_then(|()| {
        File::open(&new)
            .and_then(|file| file.sync_all())
            .map_err(|source| io_error(&new, "syncing", source))?;
        fs::rename(&new, path).map_err(|source| io_error(path, "renaming to", source))?;
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        File::open(&directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io_error(&directory, "syncing", source))
    });
    if done.is_err() {
        // The rest would only take space.
        let _ = removed(&new);
    }
    done
}

pub(super) fn write_header(database: &Database, genesis: GenesisDigest) -> Result<(), Fault> {
    let transaction = database.begin_write()?;
    {
        let mut header = transaction.open_table(HEADER)?;
        header.insert(FORMAT_KEY, FORMAT)?;
        header.insert(GENESIS_KEY, &genesis.0.0[..])?;
        transaction.open_table(ENVELOPE)?;
    }
    transaction.commit()?;
    Ok(())
}

/// Which broker's store it is, if it is one at all.
pub(super) fn genesis_of(path: &Path, database: &Database) -> Result<GenesisDigest, Fault> {
    let not_state = |found: String| StoreError::NotState { path: path.to_owned(), found };
    let transaction = database.begin_read()?;
    let header = transaction.open_table(HEADER)?;
    match header.get(FORMAT_KEY)? {
        Some(format) if format.value() == FORMAT => {}
        Some(format) => {
            let found = String::from_utf8_lossy(format.value()).chars().take(64).collect::<String>();
            return Err(not_state(format!("it has the form {found:?}")).into());
        }
        None => return Err(not_state("it does not say which form it has".to_owned()).into()),
    }
    let genesis = header.get(GENESIS_KEY)?.map(|genesis| genesis.value().to_vec()).unwrap_or_default();
    let digest = Sha256Digest::try_from(genesis.as_slice()).map_err(|error| not_state(error.to_string()))?;
    Ok(GenesisDigest(digest))
}
