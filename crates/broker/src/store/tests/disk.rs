//! A disk in memory that fills up, fails, and loses power.

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard},
};

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::{genesis::GenesisDigest, recovery::root_key::RootKey};
use redb::{Database, DatabaseError, StorageBackend};
use zeroize::Zeroizing;

use crate::store::{
    LoadedState, LockedStore, Store, StoreError,
    locked::write_header,
    storage::{Storage, database},
};

pub(crate) fn genesis() -> GenesisDigest {
    GenesisDigest(Sha256Digest([1; 32]))
}

pub(crate) fn root() -> RootKey {
    RootKey(Zeroizing::new([1; 32]))
}

/// An operation on a disk.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Write { offset: usize, data: Vec<u8> },
    SetLength(usize),
    Sync,
}

impl Operation {
    /// Does it to these bytes.
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                // A lost change of the length: the write made the file longer.
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::SetLength(length) => bytes.resize(*length, 0),
            Self::Sync => {}
        }
    }
}

#[derive(Default)]
struct State {
    bytes: Vec<u8>,
    log: Option<Vec<Operation>>,
    /// How many bytes may still be written.
    space: Option<usize>,
    syncs_fail: bool,
    opened: u64,
}

/// Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub(crate) fn with(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Takes away all space, or gives it back.
    pub(crate) fn fill(&self, full: bool) {
        self.limit(full.then_some(0));
    }

    /// The number of bytes that can still be written.
    pub(crate) fn limit(&self, space: Option<usize>) {
        self.state().space = space;
    }

    pub(crate) fn fail_syncs(&self, fail: bool) {
        self.state().syncs_fail = fail;
    }

    /// Puts another file in its place.
    pub(crate) fn exchange(&self, bytes: Vec<u8>) {
        self.state().bytes = bytes;
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.state().bytes.clone()
    }

    /// Begins to write down what is done.
    pub(crate) fn record(&self) {
        self.state().log = Some(Vec::new());
    }

    /// The operations so far.
    pub(crate) fn operations(&self) -> Vec<Operation> {
        self.state().log.clone().unwrap_or_default()
    }

    pub(crate) fn recorded(&self) -> usize {
        self.state().log.as_ref().map_or(0, Vec::len)
    }

    /// The store on it, made if the disk is empty.
    pub(crate) fn open(&self, genesis: GenesisDigest) -> (Store, LoadedState) {
        self.try_open(genesis).unwrap()
    }

    pub(crate) fn try_open(&self, genesis: GenesisDigest) -> Result<(Store, LoadedState), StoreError> {
        if self.state().bytes.is_empty() {
            let database = Storage::open(self).unwrap();
            assert!(write_header(&database, genesis).is_ok());
        }
        LockedStore::on(Arc::new(self.clone()), genesis, None)?.unlock(&root())
    }
}

impl Storage for Disk {
    fn path(&self) -> &Path {
        Path::new("disk")
    }

    fn durable(&self) -> bool {
        true
    }

    fn open(&self) -> Result<Database, DatabaseError> {
        let (opened, length) = {
            let mut state = self.state();
            state.opened += 1;
            (state.opened, state.bytes.len() as u64)
        };
        database(Backend { disk: self.clone(), opened }, length)
    }
}

struct Backend {
    disk: Disk,
    opened: u64,
}

impl std::fmt::Debug for Backend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend {
    fn change(&self, operation: Operation) -> io::Result<()> {
        let mut state = self.disk.state();
        if state.opened != self.opened {
            return Err(io::Error::other("superseded"));
        }
        let needed = match &operation {
            Operation::Write { data, .. } => data.len(),
            Operation::SetLength(length) => length.saturating_sub(state.bytes.len()),
            Operation::Sync if state.syncs_fail => return Err(io::Error::other("sync failed")),
            Operation::Sync => 0,
        };
        if let Some(space) = &mut state.space {
            *space = space.checked_sub(needed).ok_or(io::ErrorKind::StorageFull)?;
        }
        operation.apply(&mut state.bytes);
        if let Some(log) = &mut state.log {
            log.push(operation);
        }
        Ok(())
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let state = self.disk.state();
        let offset = usize::try_from(offset).unwrap();
        let found = state.bytes.get(offset..offset + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.change(Operation::SetLength(usize::try_from(length).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.change(Operation::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Operation::Write { offset: usize::try_from(offset).unwrap(), data: data.to_vec() })
    }
}
