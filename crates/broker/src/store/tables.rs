//! The tables, and how a fault of the database becomes an error of the store.

use std::{
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
};

use redb::TableDefinition;

use super::StoreError;

pub(super) type Named = TableDefinition<'static, &'static str, &'static [u8]>;
pub(super) type Numbered = TableDefinition<'static, u64, &'static [u8]>;
pub(super) type Keyed = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// In clear: format, genesis, and what tells the right key.
pub(super) const HEADER: Named = TableDefinition::new("header");
/// In clear: the items that must be readable before the root key is there.
pub(super) const ENVELOPE: Named = TableDefinition::new("envelope");
/// One row: the state of all others.
pub(super) const STATE: Named = TableDefinition::new("state");
/// Every manifest, by version.
pub(super) const MANIFESTS: Numbered = TableDefinition::new("manifests");
/// Secrets, by the keyed hash of the name and the version.
pub(super) const SECRETS: Keyed = TableDefinition::new("secrets");
/// Other values, by the keyed hash of the name.
pub(super) const ITEMS: Keyed = TableDefinition::new("items");
/// Audit records, by the number of the first in a row, from 1.
pub(super) const AUDIT: Numbered = TableDefinition::new("audit");

/// A failure inside a transaction.
pub(super) enum Fault {
    Database(Box<redb::Error>),
    Store(StoreError),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

macro_rules! database_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for Fault {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

database_errors!(DatabaseError, StorageError, TableError, TransactionError, CommitError);

impl Fault {
    fn at(self, path: &Path, operation: &'static str) -> StoreError {
        let error = match self {
            Self::Store(error) => return error,
            Self::Database(error) => *error,
        };
        let path = path.to_owned();
        match error {
            redb::Error::Io(source) => io_error(&path, operation, source),
            redb::Error::PreviousIo => io_error(&path, operation, io::Error::other("it failed before")),
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse { path },
            redb::Error::UpgradeRequired(version) => {
                StoreError::NotState { path, found: format!("a database of the other version {version}") }
            }
            redb::Error::TableDoesNotExist(table) => {
                StoreError::NotState { path, found: format!("a database without the table {table:?}") }
            }
            error @ (redb::Error::TableTypeMismatch { .. } | redb::Error::TableIsMultimap(_)) => {
                StoreError::NotState { path, found: format!("a database of another form ({error})") }
            }
            error => StoreError::Damaged { path, record: format!("the file's structure ({error})") },
        }
    }
}

/// A failure of the file system.
pub(super) fn io_error(path: &Path, operation: &'static str, source: io::Error) -> StoreError {
    let path = path.to_owned();
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge => {
            StoreError::Full { path }
        }
        io::ErrorKind::InvalidData => StoreError::NotState { path, found: source.to_string() },
        _ => StoreError::Io { path, operation, source: Arc::new(source) },
    }
}

/// Runs one piece of work on the database. The database trusts its file and may
/// panic on one that was changed outside; here that is an error.
pub(super) fn guarded<T>(
    path: &Path,
    operation: &'static str,
    work: impl FnOnce() -> Result<T, Fault>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(result) => result.map_err(|fault| fault.at(path, operation)),
        Err(_) => {
            Err(StoreError::Damaged { path: path.to_owned(), record: "the file's structure".to_owned() })
        }
    }
}
