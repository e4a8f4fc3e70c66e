//! Transactions: many changes in one, applied to the database and to the row
//! that holds its state.

use std::{
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
};

use adytum_api::names::SecretName;
use adytum_governance::{manifest::SignedManifest, secrets::StoredSecret};
use redb::{Database, Key, ReadableDatabase, ReadableTable, Table, TableDefinition, Value, WriteTransaction};
use zeroize::Zeroizing;

use super::{
    Change, CommittedChange, Item, StoreError, audit_rows,
    encoding::{StateRow, encode_manifest, encode_secret},
    row::{Element, Place, RowCipher, Sealing, toggle},
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
    ) -> Result<Vec<CommittedChange>, StoreError> {
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

    /// The open database; after a failure it is opened again.
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

    /// Applies these changes in one transaction and commits it: the state row after them,
    /// and what each has become.
    fn apply(
        &self,
        database: &Database,
        changes: &[&Change],
        finish: impl FnOnce(&mut StateRow),
    ) -> Result<(StateRow, Vec<CommittedChange>), Fault> {
        let transaction = database.begin_write()?;
        let mut writing = Writer {
            cipher: &self.cipher,
            sealing: self.cipher.sealing()?,
            tables: Tables::of(&transaction),
            audit: audit_rows::Filling::default(),
            state: self.current.clone(),
        };
        writing.state.generation += 1;
        if writing.state.generation == 1 {
            writing.tables.open_all()?;
        }
        let committed =
            changes.iter().map(|change| writing.change(change)).collect::<Result<Vec<_>, Fault>>()?;
        writing.keep_audit(self.storage.durable())?;
        finish(&mut writing.state);
        let state = writing.finish(&transaction)?;
        transaction.commit()?;
        Ok((state, committed))
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

/// Writes changes into the tables of one transaction, and keeps the state row in step.
struct Writer<'t, 'e> {
    cipher: &'e RowCipher,
    sealing: Sealing,
    tables: Tables<'t>,
    /// The last row of audit records, not full yet.
    audit: audit_rows::Filling,
    state: StateRow,
}

impl Writer<'_, '_> {
    fn change(&mut self, change: &Change) -> Result<CommittedChange, Fault> {
        if let Some((version, signed)) = &change.manifest {
            self.manifest(*version, signed)?;
        }
        for (name, secret) in &change.secrets {
            self.secret(name, secret)?;
        }
        for (name, item) in &change.items {
            self.item(name, item.as_ref())?;
        }
        for (name, value) in &change.envelope {
            let envelope = self.tables.envelope.open()?;
            match value {
                Some(value) => drop(envelope.insert(*name, value.as_slice())?),
                None => drop(envelope.remove(*name)?),
            }
        }
        if let Some(floor) = change.clock_floor {
            self.state.clock_floor = self.state.clock_floor.max(floor.0);
        }
        if change.confirmed {
            self.state.unconfirmed = false;
        }
        let first_record = (!change.audit.is_empty()).then_some(self.state.audit_size + 1);
        for record in &change.audit {
            if !self.audit.has_room(record) {
                self.audit.keep(self.tables.audit.open()?, &mut self.sealing)?;
            }
            self.audit.append(&mut self.state, record)?;
        }
        Ok(CommittedChange { head: self.state.head(), first_record })
    }

    /// A manifest takes the place of the one in force; that one stays in the table.
    fn manifest(&mut self, version: u64, signed: &SignedManifest) -> Result<(), Fault> {
        let manifests = self.tables.manifests.open()?;
        let rows = &mut self.state.rows;
        let former = self.state.manifest_version;
        if let Some(row) = manifests.get(former)? {
            let key = former.to_be_bytes();
            toggle(rows, &self.cipher.element(manifest_place(&key), row.value()));
        }
        let key = version.to_be_bytes();
        let row = self.sealing.seal(manifest_place(&key), None, &encode_manifest(signed))?;
        toggle(rows, &self.cipher.element(manifest_place(&key), &row));
        manifests.insert(version, row.as_slice())?;
        self.state.manifest_version = version;
        Ok(())
    }

    /// A secret takes the place of all that is kept under its name.
    fn secret(&mut self, name: &SecretName, secret: &StoredSecret) -> Result<(), Fault> {
        let key = self.cipher.name_key(SECRET, name.as_str());
        let (from, to) = (secret_key(&key, 0), secret_key(&key, u64::MAX));
        let secrets = self.tables.secrets.open()?;
        remove(self.cipher, &mut self.state.rows, secrets, SECRET, (&from, &to))?;
        let key = secret_key(&key, secret.version);
        let place = Place { table: SECRET, key: &key };
        let row = self.sealing.seal(place, Some(name.as_str()), &encode_secret(secret))?;
        toggle(&mut self.state.rows, &self.cipher.element(place, &row));
        secrets.insert(key.as_slice(), row.as_slice())?;
        Ok(())
    }

    /// An item takes the place of the one of its name; `None` only removes that.
    fn item(&mut self, name: &str, item: Option<&Item>) -> Result<(), Fault> {
        let key = self.cipher.name_key(ITEM, name);
        let items = self.tables.items.open()?;
        remove(self.cipher, &mut self.state.rows, items, ITEM, (&key, &key))?;
        let Some(item) = item else { return Ok(()) };
        let place = Place { table: ITEM, key: &key };
        let row = self.sealing.seal(place, Some(name), &item.0)?;
        toggle(&mut self.state.rows, &self.cipher.element(place, &row));
        items.insert(key.as_slice(), row.as_slice())?;
        Ok(())
    }

    /// Keeps the last row of audit records. A store in memory forgets old ones.
    fn keep_audit(&mut self, durable: bool) -> Result<(), Fault> {
        if self.audit.is_empty() {
            return Ok(());
        }
        let table = self.tables.audit.open()?;
        self.audit.keep(table, &mut self.sealing)?;
        if !durable {
            audit_rows::forget(table, self.state.audit_size)?;
        }
        Ok(())
    }

    /// Writes the state row.
    fn finish(mut self, transaction: &WriteTransaction) -> Result<StateRow, Fault> {
        let row = self.sealing.seal(state_place(), None, &self.state.encode())?;
        transaction.open_table(STATE)?.insert(STATE_KEY, row.as_slice())?;
        Ok(self.state)
    }
}

/// Removes the rows of these keys, and takes them out of the digest of all rows.
fn remove(
    cipher: &RowCipher,
    rows: &mut Element,
    table: &mut Table<'_, &'static [u8], &'static [u8]>,
    name: &'static str,
    (from, to): (&[u8], &[u8]),
) -> Result<(), Fault> {
    let keys = table
        .range::<&[u8]>(from..=to)?
        .map(|entry| entry.map(|(key, _)| key.value().to_vec()))
        .collect::<Result<Vec<_>, _>>()?;
    for key in keys {
        if let Some(row) = table.remove(key.as_slice())? {
            toggle(rows, &cipher.element(Place { table: name, key: &key }, row.value()));
        }
    }
    Ok(())
}

/// The tables of a transaction. One that is opened is written; most changes are audit
/// records only.
struct Tables<'t> {
    manifests: Lazy<'t, u64, &'static [u8]>,
    secrets: Lazy<'t, &'static [u8], &'static [u8]>,
    items: Lazy<'t, &'static [u8], &'static [u8]>,
    envelope: Lazy<'t, &'static str, &'static [u8]>,
    audit: Lazy<'t, u64, &'static [u8]>,
}

impl<'t> Tables<'t> {
    fn of(transaction: &'t WriteTransaction) -> Self {
        Self {
            manifests: Lazy::new(transaction, MANIFESTS),
            secrets: Lazy::new(transaction, SECRETS),
            items: Lazy::new(transaction, ITEMS),
            envelope: Lazy::new(transaction, ENVELOPE),
            audit: Lazy::new(transaction, AUDIT),
        }
    }

    /// Makes each of them: every reader of a store that was started finds them.
    fn open_all(&mut self) -> Result<(), Fault> {
        self.manifests.open()?;
        self.secrets.open()?;
        self.items.open()?;
        self.envelope.open()?;
        self.audit.open()?;
        Ok(())
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
