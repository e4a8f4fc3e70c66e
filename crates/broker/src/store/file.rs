//! State in one file, encrypted under a key that only this code on this CPU has.
//!
//! ```text
//! "adytum broker state v1\n" ‖ genesis digest (32) ‖ salt (32) ‖ AES-256-GCM(snapshot)
//! ```
//! Each commit has a random salt and so a key of its own: HKDF-SHA256 (RFC 5869)
//! of the sealing key under the salt, for the format's name and the genesis. The
//! whole header is authenticated with the contents. What local sealing cannot
//! do: a host that puts an older file of the same broker back is not noticed.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use adytum_evidence::{attester::SealingKey, measurement::Sha256Digest};
use adytum_ratls::claims::GenesisDigest;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf, rand,
};
use zeroize::Zeroizing;

use super::{
    Snapshot, Store, StoreError,
    encoding::{decode, encode},
};

const MAGIC: &[u8; 23] = b"adytum broker state v1\n";
const DIGEST: usize = 32;
const HEADER: usize = MAGIC.len() + 2 * DIGEST;
/// The largest file: every value at its limit, and room for manifest and names.
const MAXIMUM_LENGTH: u64 = 2 * crate::state::MAXIMUM_TOTAL_LENGTH as u64;

/// A store of one encrypted file in a directory of its own.
pub struct SealedFile {
    directory: PathBuf,
    file: PathBuf,
    genesis: GenesisDigest,
    key: SealingKey,
    // Held as long as the store lives: two brokers on one file would each undo
    // the other's changes.
    _lock: File,
}

impl SealedFile {
    /// Opens the store in `directory`, which is made (mode 0700) if it is not
    /// there.
    pub fn open(directory: &Path, genesis: GenesisDigest, key: SealingKey) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| io_error(directory, "creating the directory", source))?;
        let path = directory.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| io_error(&path, "opening", source))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse { path: directory.to_owned() });
            }
            // A LibOS may have no locks; its file system has one user anyway.
            Err(TryLockError::Error(error)) => {
                tracing::debug!(%error, path = %path.display(), "the state directory can't be locked");
            }
        }
        let file = directory.join("state");
        Ok(Self { directory: directory.to_owned(), file, genesis, key, _lock: lock })
    }

    fn aead(&self, salt: &[u8]) -> Result<LessSafeKey, StoreError> {
        let failed = |_| StoreError::Cryptography { operation: "deriving the state's key" };
        let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, salt).extract(self.key.0.as_slice());
        let info: [&[u8]; 2] = [MAGIC, &self.genesis.0.0];
        let key = UnboundKey::from(extracted.expand(&info, &AES_256_GCM).map_err(failed)?);
        Ok(LessSafeKey::new(key))
    }

    fn not_state(&self, found: impl Into<String>) -> StoreError {
        StoreError::NotState { path: self.file.clone(), found: found.into() }
    }
}

/// Every commit has a key of its own, so its one nonce may be the same.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

fn io_error(path: &Path, operation: &'static str, source: io::Error) -> StoreError {
    StoreError::Io { path: path.to_owned(), operation, source }
}

impl Store for SealedFile {
    fn load(&self) -> Result<Option<Snapshot>, StoreError> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(io_error(&self.file, "opening", source)),
        };
        let length = file.metadata().map_err(|source| io_error(&self.file, "reading", source))?.len();
        if length > MAXIMUM_LENGTH {
            return Err(StoreError::TooLarge { found: length, limit: MAXIMUM_LENGTH });
        }
        let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(length).unwrap_or_default()));
        file.take(MAXIMUM_LENGTH)
            .read_to_end(&mut bytes)
            .map_err(|source| io_error(&self.file, "reading", source))?;
        let Some((header, contents)) = bytes.split_at_mut_checked(HEADER) else {
            return Err(self.not_state(format!("it has {length} bytes, less than the header of {HEADER}")));
        };
        let Some(rest) = header.strip_prefix(MAGIC) else {
            return Err(self.not_state("it begins otherwise"));
        };
        let (genesis, salt) = rest.split_at(DIGEST);
        let found = GenesisDigest(
            Sha256Digest::try_from(genesis).map_err(|error| self.not_state(error.to_string()))?,
        );
        if found != self.genesis {
            return Err(StoreError::OtherGenesis { path: self.file.clone(), expected: self.genesis, found });
        }
        let plain = self
            .aead(salt)?
            .open_in_place(nonce(), Aad::from(&*header), contents)
            .map_err(|_| StoreError::Unsealing { path: self.file.clone() })?;
        decode(plain).map(Some).map_err(|reason| StoreError::Contents { path: self.file.clone(), reason })
    }

    fn commit(&self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let mut salt = [0; DIGEST];
        rand::fill(&mut salt).map_err(|_| StoreError::Cryptography { operation: "random generation" })?;
        let mut bytes = encode(snapshot, HEADER, AES_256_GCM.tag_len());
        if bytes.len() as u64 + AES_256_GCM.tag_len() as u64 > MAXIMUM_LENGTH {
            return Err(StoreError::TooLarge { found: bytes.len() as u64, limit: MAXIMUM_LENGTH });
        }
        let mut header = Vec::with_capacity(HEADER);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&self.genesis.0.0);
        header.extend_from_slice(&salt);
        let (room, contents) = bytes.split_at_mut(HEADER);
        room.copy_from_slice(&header);
        let tag = self
            .aead(&salt)?
            .seal_in_place_separate_tag(nonce(), Aad::from(&header), contents)
            .map_err(|_| StoreError::Cryptography { operation: "encrypting the state" })?;
        bytes.extend_from_slice(tag.as_ref());

        let temporary = self.directory.join("state.new");
        let written = write_durably(&temporary, &bytes);
        if written.is_err() {
            // The state in force is untouched; a remainder would only take space.
            let _ = fs::remove_file(&temporary);
        }
        written?;
        fs::rename(&temporary, &self.file).map_err(|source| io_error(&self.file, "renaming to", source))?;
        File::open(&self.directory)
            .and_then(|directory| directory.sync_all())
            .map_err(|source| io_error(&self.directory, "syncing", source))
    }

    fn durable(&self) -> bool {
        true
    }
}

fn write_durably(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| io_error(path, "creating", source))?;
    file.write_all(bytes).map_err(|source| io_error(path, "writing", source))?;
    file.sync_all().map_err(|source| io_error(path, "syncing", source))
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
