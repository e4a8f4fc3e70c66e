//! Audit records in the table: those of one transaction lie together in rows, so
//! that a record in a crowd costs a hash and a copy, and not a row of its own.
//!
//! A row's key is the number of its first record. Its value, encrypted as every
//! row's (`row`):
//!
//! ```text
//! hash of the record before (32; zeros before the first) ‖ [length (4, big-endian) ‖ record]*
//! ```

use std::path::Path;

use adytum_evidence::measurement::Sha256Digest;
use adytum_governance::audit::record::{StoredRecord, record_hash};
use redb::{ReadableTable, Table};

use super::{
    StoreError,
    encoding::StateRow,
    row::{Place, RowCipher, Sealing},
    tables::Fault,
};

/// A row is full with this number of bytes: records that are damaged together are lost
/// together, and a reader of one record reads the whole row. A longer record has a row of its own.
const ROW: usize = 16 * 1024;
const HASH: usize = 32;
/// Of the length before each record.
const LENGTH: usize = 4;
/// A store in memory keeps this number of audit records, and those in a row with the
/// oldest of them: it must not fill the memory.
const KEPT_IN_MEMORY: u64 = 4096;

pub(super) type AuditTable<'t> = Table<'t, u64, &'static [u8]>;

fn place(key: &[u8; 8]) -> Place<'_> {
    Place { table: "audit", key }
}

/// The row that a transaction fills.
#[derive(Default)]
pub(super) struct Filling {
    first: u64,
    plain: Vec<u8>,
}

impl Filling {
    /// Has it room for this record?
    pub(super) fn has_room(&self, record: &[u8]) -> bool {
        self.plain.is_empty() || self.plain.len() + LENGTH + record.len() <= ROW
    }

    pub(super) fn is_empty(&self) -> bool {
        self.plain.is_empty()
    }

    /// Numbers a record, links it to the last one, and takes it in.
    pub(super) fn append(&mut self, state: &mut StateRow, record: &[u8]) -> Result<(), StoreError> {
        let number = state.audit_size + 1;
        let length = u32::try_from(record.len())
            .map_err(|_| StoreError::TooLarge { found: record.len(), limit: u32::MAX as usize })?;
        if self.plain.is_empty() {
            self.first = number;
            self.plain.extend_from_slice(&state.audit_hash.map_or([0; HASH], |hash| hash.0));
        }
        self.plain.extend_from_slice(&length.to_be_bytes());
        self.plain.extend_from_slice(record);
        state.audit_hash = Some(record_hash(number, state.audit_hash, record));
        state.audit_size = number;
        Ok(())
    }

    /// Puts the row into the table and begins another.
    pub(super) fn keep(&mut self, table: &mut AuditTable<'_>, sealing: &mut Sealing) -> Result<(), Fault> {
        let key = self.first.to_be_bytes();
        let row = sealing.seal(place(&key), None, &self.plain)?;
        table.insert(self.first, row.as_slice())?;
        self.plain.clear();
        Ok(())
    }
}

/// In a store that is in memory: takes out rows of which no record is kept, when
/// there are `size` records.
pub(super) fn forget(table: &mut AuditTable<'_>, size: u64) -> Result<(), Fault> {
    let Some(newest_forgotten) = size.checked_sub(KEPT_IN_MEMORY) else { return Ok(()) };
    // The last row that begins there reaches, perhaps, beyond.
    let keys = table
        .range(..=newest_forgotten + 1)?
        .map(|entry| entry.map(|(key, _)| key.value()))
        .collect::<Result<Vec<_>, _>>()?;
    let Some((_, forgotten)) = keys.split_last() else { return Ok(()) };
    for key in forgotten {
        table.remove(key)?;
    }
    Ok(())
}

/// At most `count` records from number `first` on, in order. Rows that overlap are
/// damaged; whether records follow each other, their hashes tell.
pub(super) fn read(
    path: &Path,
    cipher: &RowCipher,
    table: &impl ReadableTable<u64, &'static [u8]>,
    first: u64,
    count: usize,
) -> Result<Vec<StoredRecord>, Fault> {
    // The first of them lies in the last row that does not begin after it.
    let from = table.range(..=first)?.next_back().transpose()?.map_or(first, |(key, _)| key.value());
    let mut records = Vec::new();
    let mut end = 0;
    let mut rows = table.range(from..)?;
    while records.len() < count
        && let Some((key, row)) = rows.next().transpose()?
    {
        let key = key.value();
        let found = (key >= end).then(|| open(cipher, key, row.value())).flatten();
        let found = found.ok_or_else(|| damaged(path, key))?;
        end = key.saturating_add(found.len() as u64);
        let wanted = found.into_iter().filter(|record| record.number >= first);
        records.extend(wanted.take(count - records.len()));
    }
    Ok(records)
}

/// Is the last record the one that the state row names?
pub(super) fn check_last(
    path: &Path,
    cipher: &RowCipher,
    table: &impl ReadableTable<u64, &'static [u8]>,
    state: &StateRow,
) -> Result<(), Fault> {
    let size = state.audit_size;
    let Some((key, row)) = table.last()? else {
        return if size == 0 { Ok(()) } else { Err(damaged(path, size).into()) };
    };
    let key = key.value();
    let last = open(cipher, key, row.value()).and_then(|records| records.into_iter().next_back());
    match last {
        Some(last) if last.number == size && Some(last.hash) == state.audit_hash => Ok(()),
        Some(last) if last.number < size => Err(damaged(path, last.number + 1).into()),
        _ => Err(damaged(path, key).into()),
    }
}

fn damaged(path: &Path, number: u64) -> StoreError {
    let record = format!("the audit record {number}, or one that lies with it");
    StoreError::Damaged { path: path.to_owned(), record }
}

/// The records of a row, of which there is at least one.
fn open(cipher: &RowCipher, first: u64, row: &[u8]) -> Option<Vec<StoredRecord>> {
    let opened = cipher.open(place(&first.to_be_bytes()), false, row).ok()?;
    let (previous, mut rest) = opened.value.split_first_chunk::<HASH>()?;
    let mut previous = (first > 1).then_some(Sha256Digest(*previous));
    let (mut number, mut records) = (first, Vec::new());
    loop {
        let (length, after) = rest.split_first_chunk::<LENGTH>()?;
        let (bytes, after) = after.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let hash = record_hash(number, previous, bytes);
        records.push(StoredRecord { number, previous, bytes: bytes.to_vec(), hash });
        if after.is_empty() {
            return Some(records);
        }
        (rest, previous, number) = (after, Some(hash), number.checked_add(1)?);
    }
}

#[cfg(test)]
mod tests {
    use adytum_governance::{genesis::GenesisDigest, recovery::root_key::RootKey};
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::tables::AUDIT;

    fn cipher() -> RowCipher {
        let genesis = GenesisDigest(Sha256Digest([1; 32]));
        RowCipher::new(&RootKey(Zeroizing::new([1; 32])), genesis).unwrap()
    }

    fn seal(first: u64, plain: &[u8]) -> Vec<u8> {
        cipher().sealing().unwrap().seal(place(&first.to_be_bytes()), None, plain).unwrap()
    }

    #[test]
    fn a_row_gives_the_records_back_and_opens_nowhere_else() {
        let (mut filling, mut state) = (Filling::default(), StateRow::default());
        let records: [&[u8]; 4] = [b"one", b"", b"three", &[4; 300]];
        for record in records {
            assert!(filling.has_room(record));
            filling.append(&mut state, record).unwrap();
        }
        assert_eq!((filling.first, state.audit_size), (1, 4));
        let found = open(&cipher(), 1, &seal(1, &filling.plain)).unwrap();
        let mut previous = None;
        for (n, (found, record)) in found.iter().zip(records).enumerate() {
            assert_eq!(
                (found.number, found.previous, found.bytes.as_slice()),
                (n as u64 + 1, previous, record)
            );
            previous = Some(found.hash);
        }
        assert_eq!((found.len(), previous), (4, state.audit_hash));
        assert_eq!(open(&cipher(), 2, &seal(1, &filling.plain)), None);
    }

    #[test]
    fn what_is_no_row_is_none() {
        let hash = [0; HASH];
        let with = |rest: &[u8]| [&hash[..], rest].concat();
        for plain in
            [vec![], vec![0; HASH - 1], with(&[]), with(&[0, 0, 0]), with(&[0, 0, 0, 2, 1]), with(&[255; 9])]
        {
            assert_eq!(open(&cipher(), 1, &seal(1, &plain)), None, "{plain:?}");
        }
        // No number comes after the last one.
        assert_eq!(open(&cipher(), u64::MAX, &seal(u64::MAX, &with(&[0; 8]))), None);
        assert_eq!(open(&cipher(), u64::MAX, &seal(u64::MAX, &with(&[0; 4]))).unwrap().len(), 1);
    }

    /// Both genuine: the host kept one from before a loss of power.
    #[test]
    fn rows_that_overlap_are_refused() {
        let database =
            redb::Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        let transaction = database.begin_write().unwrap();
        let mut table = transaction.open_table(AUDIT).unwrap();
        let three = [&[0; HASH][..], &[0; 12]].concat();
        let one = &three[..HASH + 4];
        for (first, plain) in [(1, &three[..]), (3, one), (4, one)] {
            table.insert(first, seal(first, plain).as_slice()).unwrap();
        }
        let numbers = |first, count| {
            let records = read(Path::new("disk"), &cipher(), &table, first, count).map_err(|_| ())?;
            Ok(records.iter().map(|record| record.number).collect::<Vec<_>>())
        };
        assert_eq!(numbers(1, 3), Ok(vec![1, 2, 3]));
        assert_eq!(numbers(1, 4), Err(()));
        assert_eq!(numbers(4, 4), Ok(vec![4]));
    }

    #[test]
    fn a_row_has_its_measure_and_a_long_record_one_of_its_own() {
        let (mut filling, mut state) = (Filling::default(), StateRow::default());
        assert!(filling.has_room(&vec![0; 2 * ROW]));
        filling.append(&mut state, &vec![0; 2 * ROW]).unwrap();
        assert!(!filling.has_room(b""));
        filling.plain.clear();
        filling.append(&mut state, &vec![0; ROW - HASH - 8]).unwrap();
        assert!(filling.has_room(b"") && !filling.has_room(b"x"));
    }
}
