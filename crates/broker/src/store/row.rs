//! Rows: each encrypted and bound to its place, so that a host can neither read
//! one, nor change one, nor put one where another was.
//!
//! ```text
//! salt (24) ‖ number (4) ‖ [length of the name (2) ‖ AES-256-GCM(name)] ‖ AES-256-GCM(value)
//! ```
//! Each transaction has a random salt and so a key of its own: HMAC-SHA256 of the
//! salt under the store's row key, which HKDF-SHA256 (RFC 5869) derives from the
//! root key and the genesis. Under that key its rows are numbered (big-endian): a
//! nonce is the row's number and 0 for the name or 1 for the value; no number of
//! transactions wears the row key out. The associated data are format, table, key in
//! the table and, for the value, the name.

use adytum_governance::{
    genesis::GenesisDigest,
    recovery::root_key::{KeyError, RootKey},
};
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    constant_time, hkdf, hmac, rand,
};
use zeroize::Zeroizing;

use super::StoreError;

pub(super) const FORMAT: &[u8] = b"adytum store v4";
const SALT: usize = 24;
/// Salt and number: no two rows of a store begin alike.
const HEAD: usize = SALT + 4;
const TAG: usize = 16;
const NAME_NONCE: u8 = 0;
const VALUE_NONCE: u8 = 1;

/// Where a row belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) table: &'static str,
    pub(super) key: &'a [u8],
}

impl Place<'_> {
    fn associated_data(&self, part: &[u8], name: &[u8]) -> Vec<u8> {
        let fields = [FORMAT, self.table.as_bytes(), self.key, part, name];
        let mut data = Vec::with_capacity(fields.iter().map(|field| field.len() + 8).sum());
        for field in fields {
            data.extend_from_slice(&(field.len() as u64).to_be_bytes());
            data.extend_from_slice(field);
        }
        data
    }
}

/// A row that does not open.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct OpeningFailure {
    /// The name in it, if at least that opens.
    pub(super) name: Option<String>,
}

/// An opened row.
pub(super) struct OpenedRow {
    /// Empty for rows without a name.
    pub(super) name: String,
    pub(super) value: Zeroizing<Vec<u8>>,
}

/// What a row adds to the digest of a store's rows.
pub(super) type Element = [u8; 32];

/// The keys of one store.
pub(super) struct RowCipher {
    rows: hmac::Key,
    names: hmac::Key,
    elements: hmac::Key,
    check: [u8; 32],
}

struct Length;

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        32
    }
}

impl RowCipher {
    pub(super) fn new(root: &RootKey, genesis: GenesisDigest) -> Result<Self, StoreError> {
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, &genesis.0.0).extract(root.0.as_slice());
        let derive = |purpose: &str| {
            let mut bytes = Zeroizing::new([0; 32]);
            extracted
                .expand(&[FORMAT, purpose.as_bytes()], Length)
                .and_then(|okm| okm.fill(bytes.as_mut_slice()))
                .map_err(|_| StoreError::from(KeyError { operation: "deriving the store's keys" }))?;
            Ok::<_, StoreError>(bytes)
        };
        let key =
            |purpose| Ok::<_, StoreError>(hmac::Key::new(hmac::HMAC_SHA256, derive(purpose)?.as_slice()));
        Ok(Self {
            rows: key("rows")?,
            names: key("names")?,
            elements: key("elements")?,
            check: *derive("check")?,
        })
    }

    /// Tells in the file, to those who have it, whether a key is the right one.
    pub(super) fn check(&self) -> &[u8; 32] {
        &self.check
    }

    pub(super) fn checks(&self, found: &[u8]) -> bool {
        constant_time::verify_slices_are_equal(&self.check, found).is_ok()
    }

    /// A name as a key in a table: nobody reads it in the file.
    pub(super) fn name_key(&self, table: &str, name: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.names);
        context.update(&(table.len() as u64).to_be_bytes());
        context.update(table.as_bytes());
        context.update(name.as_bytes());
        digest(context.sign().as_ref())
    }

    /// What encrypts the rows of one transaction.
    pub(super) fn sealing(&self) -> Result<Sealing, StoreError> {
        let failed = |operation| move |_| StoreError::from(KeyError { operation });
        let mut salt = [0; SALT];
        rand::fill(&mut salt).map_err(failed("random generation"))?;
        let key = self.key(&salt).map_err(failed("deriving a transaction's key"))?;
        Ok(Sealing { salt, key, rows: 0 })
    }

    /// Opens a row; `named` says whether it is one with a name.
    pub(super) fn open(
        &self,
        place: Place<'_>,
        named: bool,
        row: &[u8],
    ) -> Result<OpenedRow, OpeningFailure> {
        let unnamed = || OpeningFailure { name: None };
        let (salt, rest) = row.split_at_checked(SALT).ok_or_else(unnamed)?;
        let (number, mut rest) = rest.split_first_chunk::<4>().ok_or_else(unnamed)?;
        let key = self.key(salt).map_err(|_| unnamed())?;
        let mut name = String::new();
        if named {
            let (length, after) = rest.split_first_chunk::<2>().ok_or_else(unnamed)?;
            let length = usize::from(u16::from_be_bytes(*length)) + TAG;
            let (sealed, after) = after.split_at_checked(length).ok_or_else(unnamed)?;
            let data = place.associated_data(b"name", b"");
            let mut opened = decrypt(&key, nonce(*number, NAME_NONCE), &data, sealed).ok_or_else(unnamed)?;
            name = String::from_utf8(std::mem::take(&mut *opened)).map_err(|_| unnamed())?;
            rest = after;
        }
        let data = place.associated_data(b"value", name.as_bytes());
        match decrypt(&key, nonce(*number, VALUE_NONCE), &data, rest) {
            Some(value) => Ok(OpenedRow { name, value }),
            None => Err(OpeningFailure { name: named.then_some(name) }),
        }
    }

    /// A row's part in the digest over all rows: its head and the value's tag stand
    /// for the whole of it, since only this store's keys make another.
    pub(super) fn element(&self, place: Place<'_>, row: &[u8]) -> Element {
        let mut context = hmac::Context::with_key(&self.elements);
        for field in [place.table.as_bytes(), place.key] {
            context.update(&(field.len() as u64).to_be_bytes());
            context.update(field);
        }
        context.update(&row[..row.len().min(HEAD)]);
        context.update(&row[row.len().saturating_sub(TAG)..]);
        digest(context.sign().as_ref())
    }

    fn key(&self, salt: &[u8]) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
        let bytes = hmac::sign(&self.rows, salt);
        UnboundKey::new(&AES_256_GCM, bytes.as_ref()).map(LessSafeKey::new)
    }
}

/// Encrypts the rows of one transaction, and of no other.
pub(super) struct Sealing {
    salt: [u8; SALT],
    key: LessSafeKey,
    rows: u32,
}

impl Sealing {
    pub(super) fn seal(
        &mut self,
        place: Place<'_>,
        name: Option<&str>,
        value: &[u8],
    ) -> Result<Vec<u8>, StoreError> {
        let number = self.rows.to_be_bytes();
        self.rows = self
            .rows
            .checked_add(1)
            .ok_or(StoreError::from(KeyError { operation: "numbering a transaction's rows" }))?;
        let mut row = Vec::with_capacity(HEAD + 2 + TAG + name.map_or(0, str::len) + value.len() + TAG);
        row.extend_from_slice(&self.salt);
        row.extend_from_slice(&number);
        let append = |row: &mut Vec<u8>, part, data: &[u8], plain: &[u8]| {
            let from = row.len();
            row.extend_from_slice(plain);
            let tag = self
                .key
                .seal_in_place_separate_tag(nonce(number, part), Aad::from(data), &mut row[from..])
                .map_err(|_| StoreError::from(KeyError { operation: "encrypting a row" }))?;
            row.extend_from_slice(tag.as_ref());
            Ok::<_, StoreError>(())
        };
        if let Some(name) = name {
            let length = u16::try_from(name.len())
                .map_err(|_| StoreError::TooLarge { found: name.len(), limit: usize::from(u16::MAX) })?;
            row.extend_from_slice(&length.to_be_bytes());
            append(&mut row, NAME_NONCE, &place.associated_data(b"name", b""), name.as_bytes())?;
        }
        let data = place.associated_data(b"value", name.unwrap_or_default().as_bytes());
        append(&mut row, VALUE_NONCE, &data, value)?;
        Ok(row)
    }
}

/// Adds an element to a digest of a set, or takes it out again. The digest
/// never lies open, so exclusive-or of a keyed function serves (MSet-XOR-Hash,
/// Clarke et al. 2003).
pub(super) fn toggle(set: &mut Element, element: &Element) {
    set.iter_mut().zip(element).for_each(|(byte, other)| *byte ^= other);
}

fn decrypt(key: &LessSafeKey, nonce: Nonce, data: &[u8], sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(sealed.to_vec());
    let length = key.open_in_place(nonce, Aad::from(data), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}

/// Each transaction has a key of its own, under which each row has another number.
fn nonce(row: [u8; 4], part: u8) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[..row.len()].copy_from_slice(&row);
    bytes[NONCE_LEN - 1] = part;
    Nonce::assume_unique_for_key(bytes)
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    digest
}

#[cfg(test)]
mod tests {
    use adytum_evidence::measurement::Sha256Digest;
    use proptest::prelude::*;

    use super::*;

    fn cipher(key: u8, genesis: u8) -> RowCipher {
        let genesis = GenesisDigest(Sha256Digest([genesis; 32]));
        RowCipher::new(&RootKey(Zeroizing::new([key; 32])), genesis).unwrap()
    }

    const PLACE: Place<'static> = Place { table: "secrets", key: b"key" };

    fn seal(cipher: &RowCipher, name: &str, value: &[u8]) -> Vec<u8> {
        cipher.sealing().unwrap().seal(PLACE, Some(name), value).unwrap()
    }

    #[test]
    fn rows_of_one_transaction_and_of_two_have_different_nonces() {
        let cipher = cipher(1, 1);
        let mut sealing = cipher.sealing().unwrap();
        let mut heads: Vec<_> =
            (0..3).map(|_| sealing.seal(PLACE, None, b"sesame").unwrap()[..HEAD].to_vec()).collect();
        heads.push(seal(&cipher, "model_key", b"sesame")[..HEAD].to_vec());
        let salts: std::collections::BTreeSet<_> = heads.iter().map(|head| head[..SALT].to_vec()).collect();
        assert_eq!(salts.len(), 2);
        heads.sort();
        heads.dedup();
        assert_eq!(heads.len(), 4);
    }

    #[test]
    fn a_row_opens_in_its_place_only() {
        let cipher = cipher(1, 1);
        let row = seal(&cipher, "model_key", b"sesame");
        let opened = cipher.open(PLACE, true, &row).unwrap();
        assert_eq!((opened.name.as_str(), opened.value.as_slice()), ("model_key", &b"sesame"[..]));
        for place in [Place { table: "items", ..PLACE }, Place { key: b"kez", ..PLACE }] {
            assert!(cipher.open(place, true, &row).is_err());
        }
        assert!(cipher.open(PLACE, false, &row).is_err());
        assert!(self::cipher(2, 1).open(PLACE, true, &row).is_err());
        assert!(self::cipher(1, 2).open(PLACE, true, &row).is_err());
    }

    #[test]
    fn every_flipped_bit_is_noticed_and_the_name_told_where_it_can_be() {
        let cipher = cipher(1, 1);
        let row = seal(&cipher, "model_key", b"sesame");
        let named = HEAD + 2 + "model_key".len() + TAG;
        for bit in 0..row.len() * 8 {
            let mut bad = row.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            let Err(error) = cipher.open(PLACE, true, &bad) else { panic!("bit {bit}") };
            assert_eq!(error.name.is_some(), bit / 8 >= named, "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(cipher.open(PLACE, true, &row[..length]).is_err());
        }
    }

    #[test]
    fn a_value_can_not_be_joined_to_another_name() {
        let cipher = cipher(1, 1);
        let mut sealing = cipher.sealing().unwrap();
        let (a, b) = (sealing.seal(PLACE, Some("a"), b"1"), sealing.seal(PLACE, Some("b"), b"2"));
        let (a, b) = (a.unwrap(), b.unwrap());
        let name = HEAD + 2 + 1 + TAG;
        assert!(cipher.open(PLACE, true, &[&a[..name], &b[name..]].concat()).is_err());
    }

    #[test]
    fn equal_rows_differ_and_nothing_is_readable() {
        let cipher = cipher(1, 1);
        // In one transaction; that is the harder case.
        let mut sealing = cipher.sealing().unwrap();
        let rows: Vec<_> =
            (0..2).map(|_| sealing.seal(PLACE, Some("model_key"), b"sesame").unwrap()).collect();
        assert_ne!(rows[0], rows[1]);
        for text in [&b"sesame"[..], b"model_key"] {
            assert!(!rows[0].windows(text.len()).any(|window| window == text));
        }
        assert_ne!(cipher.element(PLACE, &rows[0]), cipher.element(PLACE, &rows[1]));
        assert_ne!(cipher.name_key("secrets", "a"), cipher.name_key("items", "a"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_no_row(row in proptest::collection::vec(any::<u8>(), 0..200), named: bool) {
            prop_assert!(cipher(1, 1).open(PLACE, named, &row).is_err());
        }
    }
}
