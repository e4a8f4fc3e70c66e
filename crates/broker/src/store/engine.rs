//! Transactions: many changes in one, applied to the database and to the row
//! that says how it stands.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use redb::{Database, Key, ReadableDatabase, ReadableTable, Table, TableDefinition, Value, WriteTransaction};
use zeroize::Zeroizing;

use super::{
    Change, Committed, StoreError, audit_rows,
    encoding::{StateRow, encode_manifest, encode_secret},
    row::{Element, Place, RowCipher, toggle},
    storage::Storage,
    tables::{AUDIT, ENVELOPE, Fault, HEADER, ITEMS, MANIFESTS, SECRETS, STATE, guarded},
};

pub(super) const STATE_KEY: &str = "state";
/// In the header of a store that was restored from a backup and not started since.
pub(super) const RESTORED: &str = "restored";

/// The database, while it is open.
pub(super) type Slot = RwLock<Option<Arc<Database>>>;

/// Applies changes. One thread has it.
pub(super) struct Engine {
    storage: Arc<dyn Storage>,
    cipher: Arc<RowCipher>,
    slot: Arc<Slot>,
    current: StateRow,
    /// The last transaction failed and may be on the disk all the same.
    uncertain: Option<Uncertain>,
    diverged: bool,
}

#[derive(Clone, Copy)]
struct Uncertain {
    touches_state: bool,
}

impl Engine {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        cipher: Arc<RowCipher>,
        slot: Arc<Slot>,
        current: StateRow,
    ) -> Self {
        Self { storage, cipher, slot, current, uncertain: None, diverged: false }
    }

    pub(super) fn current(&self) -> &StateRow {
        &self.current
    }

    fn path(&self) -> PathBuf {
        self.storage.path().to_owned()
    }

    /// Commits these changes in one transaction. `finish` has the last word on
    /// the state row. After an error, nothing of them is in force.
    pub(super) fn commit(
        &mut self,
        changes: &[&Change],
        finish: impl FnOnce(&mut StateRow),
    ) -> Result<Vec<Committed>, StoreError> {
        let database = self.database()?;
        let path = self.path();
        let applied = guarded(&path, "committing", || self.apply(&database, changes, finish));
        drop(database);
        match applied {
            Ok((next, committed)) => {
                self.current = next;
                Ok(committed)
            }
            Err(error) => {
                let touches_state = changes.iter().any(|change| change.touches_state());
                self.uncertain = Some(Uncertain { touches_state });
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = None;
                // Only an open database can tell whether the change is in it.
                if let Err(again) = self.database() {
                    tracing::error!(code = again.code(), error = %again, "the store can't be opened again yet");
                }
                Err(error)
            }
        }
    }

    /// The open database; after a failure it is opened anew.
    fn database(&mut self) -> Result<Arc<Database>, StoreError> {
        if self.diverged {
            return Err(StoreError::Diverged { path: self.path() });
        }
        if let Some(database) = self.slot.read().unwrap_or_else(PoisonError::into_inner).as_ref() {
            return Ok(Arc::clone(database));
        }
        let path = self.path();
        let database = guarded(&path, "opening", || Ok(self.storage.open()?))?;
        let found = read_state(&path, &self.cipher, &database)?.ok_or_else(|| StoreError::Damaged {
            path: path.clone(),
            record: "the state row, which is missing".to_owned(),
        })?;
        let uncertain = self.uncertain.take();
        match (found.generation.checked_sub(self.current.generation), uncertain) {
            (Some(0), _) => {}
            // Records without the answer that would have followed them do no harm.
            (Some(1), Some(Uncertain { touches_state: false })) => self.current = found,
            (Some(1), Some(Uncertain { touches_state: true })) => {
                self.diverged = true;
                return Err(StoreError::Diverged { path });
            }
            _ => return Err(StoreError::Mixed { path, reason: "the file was exchanged".to_owned() }),
        }
        let database = Arc::new(database);
        *self.slot.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&database));
        Ok(database)
    }

    fn apply(
        &self,
        database: &Database,
        changes: &[&Change],
        finish: impl FnOnce(&mut StateRow),
    ) -> Result<(StateRow, Vec<Committed>), Fault> {
        let mut next = self.current.clone();
        next.generation += 1;
        let mut committed = Vec::with_capacity(changes.len());
        let transaction = database.begin_write()?;
        {
            let mut sealing = self.cipher.sealing()?;
            // A table that is opened is written; most changes are audit records only.
            let mut manifests = Lazy::new(&transaction, MANIFESTS);
            let mut secrets = Lazy::new(&transaction, SECRETS);
            let mut items = Lazy::new(&transaction, ITEMS);
            let mut envelope = Lazy::new(&transaction, ENVELOPE);
            let mut audit = Lazy::new(&transaction, AUDIT);
            let mut filling = audit_rows::Filling::default();
            if next.generation == 1 {
                // Whoever reads a store that was started finds each of them.
                manifests.open()?;
                secrets.open()?;
                items.open()?;
                envelope.open()?;
                audit.open()?;
            }
            for change in changes {
                if let Some((version, signed)) = &change.manifest {
                    let manifests = manifests.open()?;
                    let former = next.manifest_version;
                    if let Some(row) = manifests.get(former)? {
                        let key = former.to_be_bytes();
                        toggle(&mut next.rows, &self.cipher.element(manifest_place(&key), row.value()));
                    }
                    let key = version.to_be_bytes();
                    let row = sealing.seal(manifest_place(&key), None, &encode_manifest(signed))?;
                    toggle(&mut next.rows, &self.cipher.element(manifest_place(&key), &row));
                    manifests.insert(*version, row.as_slice())?;
                    next.manifest_version = *version;
                }
                for (name, secret) in &change.secrets {
                    let key = self.cipher.name_key(SECRET, name.as_str());
                    let (from, to) = (secret_key(&key, 0), secret_key(&key, u64::MAX));
                    let secrets = secrets.open()?;
                    self.remove(&mut next.rows, secrets, SECRET, &from, &to)?;
                    let key = secret_key(&key, secret.version);
                    let place = Place { table: SECRET, key: &key };
                    let row = sealing.seal(place, Some(name.as_str()), &encode_secret(secret))?;
                    toggle(&mut next.rows, &self.cipher.element(place, &row));
                    secrets.insert(key.as_slice(), row.as_slice())?;
                }
                for (name, item) in &change.items {
                    let key = self.cipher.name_key(ITEM, name);
                    let items = items.open()?;
                    self.remove(&mut next.rows, items, ITEM, &key, &key)?;
                    if let Some(item) = item {
                        let place = Place { table: ITEM, key: &key };
                        let row = sealing.seal(place, Some(name), &item.0)?;
                        toggle(&mut next.rows, &self.cipher.element(place, &row));
                        items.insert(key.as_slice(), row.as_slice())?;
                    }
                }
                for (name, value) in &change.envelope {
                    match value {
                        Some(value) => drop(envelope.open()?.insert(*name, value.as_slice())?),
                        None => drop(envelope.open()?.remove(*name)?),
                    }
                }
                if let Some(floor) = change.clock_floor {
                    next.clock_floor = next.clock_floor.max(floor.0);
                }
                if change.confirmed {
                    next.unconfirmed = false;
                }
                let first_record = (!change.audit.is_empty()).then_some(next.audit_size + 1);
                for record in &change.audit {
                    if !filling.has_room(record) {
                        filling.keep(audit.open()?, &mut sealing)?;
                    }
                    filling.append(&mut next, record)?;
                }
                committed.push(Committed { head: next.head(), first_record });
            }
            if !filling.is_empty() {
                let audit = audit.open()?;
                filling.keep(audit, &mut sealing)?;
                if !self.storage.durable() {
                    audit_rows::forget(audit, next.audit_size)?;
                }
            }
            finish(&mut next);
            let mut state = transaction.open_table(STATE)?;
            let row = sealing.seal(state_place(), None, &next.encode())?;
            state.insert(STATE_KEY, row.as_slice())?;
        }
        transaction.commit()?;
        Ok((next, committed))
    }

    fn remove(
        &self,
        rows: &mut Element,
        table: &mut Table<'_, &'static [u8], &'static [u8]>,
        name: &'static str,
        from: &[u8],
        to: &[u8],
    ) -> Result<(), Fault> {
        let keys = table
            .range::<&[u8]>(from..=to)?
            .map(|entry| entry.map(|(key, _)| key.value().to_vec()))
            .collect::<Result<Vec<_>, _>>()?;
        for key in keys {
            if let Some(row) = table.remove(key.as_slice())? {
                toggle(rows, &self.cipher.element(Place { table: name, key: &key }, row.value()));
            }
        }
        Ok(())
    }

    /// Counts a start: the first transaction of a process.
    pub(super) fn start(&mut self, unconfirmed: bool) -> Result<(), StoreError> {
        self.commit(&[&Change::default()], |state| {
            state.epoch = state.epoch.saturating_add(1);
            state.clean = false;
            state.unconfirmed = unconfirmed;
        })?;
        let database = self.database()?;
        guarded(&self.path(), "committing", || {
            let restored = {
                let transaction = database.begin_read()?;
                transaction.open_table(HEADER)?.get(RESTORED)?.is_some()
            };
            if restored {
                let transaction = database.begin_write()?;
                transaction.open_table(HEADER)?.remove(RESTORED)?;
                transaction.commit()?;
            }
            Ok(())
        })
    }
}

/// A table of a transaction, opened when it is needed first.
struct Lazy<'t, K: Key + 'static, V: Value + 'static> {
    transaction: &'t WriteTransaction,
    definition: TableDefinition<'static, K, V>,
    table: Option<Table<'t, K, V>>,
}

impl<'t, K: Key + 'static, V: Value + 'static> Lazy<'t, K, V> {
    fn new(transaction: &'t WriteTransaction, definition: TableDefinition<'static, K, V>) -> Self {
        Self { transaction, definition, table: None }
    }

    fn open(&mut self) -> Result<&mut Table<'t, K, V>, Fault> {
        match &mut self.table {
            Some(table) => Ok(table),
            none => Ok(none.insert(self.transaction.open_table(self.definition)?)),
        }
    }
}

pub(super) const SECRET: &str = "secrets";
pub(super) const ITEM: &str = "items";

pub(super) fn state_place() -> Place<'static> {
    Place { table: "state", key: STATE_KEY.as_bytes() }
}

pub(super) fn manifest_place(key: &[u8; 8]) -> Place<'_> {
    Place { table: "manifests", key }
}

pub(super) fn secret_key(name: &[u8; 32], version: u64) -> [u8; 40] {
    let mut key = [0; 40];
    let (left, right) = key.split_at_mut(32);
    left.copy_from_slice(name);
    right.copy_from_slice(&version.to_be_bytes());
    key
}

/// The state row; `None` in a store that was never started.
pub(super) fn read_state(
    path: &std::path::Path,
    cipher: &RowCipher,
    database: &Database,
) -> Result<Option<StateRow>, StoreError> {
    guarded(path, "reading", || {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(STATE) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(row) = table.get(STATE_KEY)? else { return Ok(None) };
        let damaged = |_| StoreError::Damaged { path: path.to_owned(), record: "the state row".to_owned() };
        let opened = cipher.open(state_place(), false, row.value()).map_err(damaged)?;
        let state = StateRow::decode(&opened.value)
            .map_err(|reason| StoreError::Contents { path: path.to_owned(), reason })?;
        Ok(Some(state))
    })
}

/// An item by its name.
pub(super) fn read_item(
    path: &std::path::Path,
    database: &Database,
    cipher: &RowCipher,
    name: &str,
) -> Result<Option<Zeroizing<Vec<u8>>>, StoreError> {
    guarded(path, "reading", || {
        let transaction = database.begin_read()?;
        let table = match transaction.open_table(ITEMS) {
            Ok(table) => table,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let key = cipher.name_key(ITEM, name);
        let Some(row) = table.get(key.as_slice())? else { return Ok(None) };
        let damaged = |_| StoreError::Damaged { path: path.to_owned(), record: format!("the item {name}") };
        let place = Place { table: ITEM, key: &key };
        Ok(Some(cipher.open(place, true, row.value()).map_err(damaged)?.value))
    })
}
