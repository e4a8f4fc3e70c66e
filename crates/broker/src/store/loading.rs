//! What a broker takes up when it starts, each row checked, and all of them
//! together.

use std::{collections::BTreeMap, path::Path};

use adytum_api::names::SecretName;
use adytum_evidence::clock::UnixSeconds;
use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable};

use super::{
    Snapshot, StoreError, audit_rows,
    encoding::{StateRow, decode_manifest, decode_secret},
    engine::{ITEM, SECRET, manifest_place, read_state},
    row::{Element, OpeningFailure, Place, RowCipher, toggle},
    tables::{AUDIT, Fault, ITEMS, Keyed, MANIFESTS, SECRETS, guarded},
};

/// What a store held when it was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadedState {
    /// Manifest and secrets; the epoch already counts this start.
    pub snapshot: Snapshot,
    /// Nothing was ever kept in it.
    pub first_start: bool,
    /// The broker that had it before was shut down in good order (or there was
    /// none).
    pub planned: bool,
    /// An owner has to confirm the state, if the manifest demands that: the
    /// restart is unplanned, or a former one was and nobody has confirmed since.
    pub unconfirmed: bool,
    /// The floor under the clock, if a date was seen.
    pub clock_floor: Option<UnixSeconds>,
}

/// Reads and checks all rows but former manifests and audit records.
pub(super) fn load(
    path: &Path,
    cipher: &RowCipher,
    database: &Database,
) -> Result<(StateRow, LoadedState), StoreError> {
    let Some(state) = read_state(path, cipher, database)? else {
        let loaded = LoadedState {
            snapshot: Snapshot::default(),
            first_start: true,
            planned: true,
            unconfirmed: false,
            clock_floor: None,
        };
        return empty(path, database).map(|()| (StateRow::default(), loaded));
    };
    let loading = Loading { path, cipher, state: &state };
    let snapshot = guarded(path, "reading", || loading.snapshot(&database.begin_read()?))?;
    let loaded = LoadedState {
        snapshot,
        first_start: false,
        planned: state.clean,
        unconfirmed: state.unconfirmed,
        clock_floor: state.floor(),
    };
    Ok((state, loaded))
}

/// Without the state row there must be nothing else: somebody may have taken it
/// out.
fn empty(path: &Path, database: &Database) -> Result<(), StoreError> {
    guarded(path, "reading", || {
        let transaction = database.begin_read()?;
        match transaction.open_table(SECRETS) {
            Err(redb::TableError::TableDoesNotExist(_)) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) => {
                let record = "the state row, which is missing".to_owned();
                Err(StoreError::Damaged { path: path.to_owned(), record }.into())
            }
        }
    })
}

struct Loading<'a> {
    path: &'a Path,
    cipher: &'a RowCipher,
    state: &'a StateRow,
}

impl Loading<'_> {
    fn snapshot(&self, transaction: &ReadTransaction) -> Result<Snapshot, Fault> {
        let mut rows = Element::default();
        let mut secrets: BTreeMap<SecretName, _> = BTreeMap::new();
        self.each(transaction, SECRETS, SECRET, &mut rows, |name, key, value| {
            let name: SecretName = name.parse().map_err(|error| self.contents(error))?;
            let secret = decode_secret(&name, value).map_err(|reason| self.contents(reason))?;
            if key.get(32..) != Some(&secret.version.to_be_bytes()[..]) {
                return Err(self.damaged(format!("the secret {name}")));
            }
            secrets.insert(name, secret);
            Ok(())
        })?;
        self.each(transaction, ITEMS, ITEM, &mut rows, |_, _, _| Ok(()))?;
        let manifest = self.manifest(transaction, &mut rows)?;
        if rows != self.state.rows {
            let reason = "manifest, secrets and other values are not those of its last change".to_owned();
            return Err(StoreError::Mixed { path: self.path.to_owned(), reason }.into());
        }
        audit_rows::check_last(self.path, self.cipher, &transaction.open_table(AUDIT)?, self.state)?;
        Ok(Snapshot { epoch: self.state.epoch, manifest, secrets })
    }

    fn each(
        &self,
        transaction: &ReadTransaction,
        table: Keyed,
        name: &'static str,
        rows: &mut Element,
        mut take: impl FnMut(&str, &[u8], &[u8]) -> Result<(), StoreError>,
    ) -> Result<(), Fault> {
        for entry in transaction.open_table(table)?.iter()? {
            let (key, row) = entry?;
            let (key, row) = (key.value(), row.value());
            let place = Place { table: name, key };
            let opened = self.cipher.open(place, true, row).map_err(|OpeningFailure { name: known }| {
                let one = name.trim_end_matches('s');
                self.damaged(match known {
                    Some(known) => format!("the {one} {known}"),
                    None => format!("the {one} under the key {}", hex::encode(key)),
                })
            })?;
            toggle(rows, &self.cipher.element(place, row));
            take(&opened.name, key, &opened.value)?;
        }
        Ok(())
    }

    fn manifest(
        &self,
        transaction: &ReadTransaction,
        rows: &mut Element,
    ) -> Result<Option<adytum_governance::manifest::SignedManifest>, Fault> {
        let version = self.state.manifest_version;
        let Some(row) = transaction.open_table(MANIFESTS)?.get(version)? else {
            // The digest of the rows tells whether there should be one.
            return Ok(None);
        };
        let key = version.to_be_bytes();
        toggle(rows, &self.cipher.element(manifest_place(&key), row.value()));
        let opened = self
            .cipher
            .open(manifest_place(&key), false, row.value())
            .map_err(|_| self.damaged(format!("the manifest version {version}")))?;
        Ok(Some(decode_manifest(&opened.value).map_err(|reason| self.contents(reason))?))
    }

    fn damaged(&self, record: String) -> StoreError {
        StoreError::Damaged { path: self.path.to_owned(), record }
    }

    fn contents(&self, reason: impl ToString) -> StoreError {
        StoreError::Contents { path: self.path.to_owned(), reason: reason.to_string() }
    }
}
