//! Memory of a broker's heads. Encryption can't stop a host that puts an older
//! state of the broker back, or that runs two brokers from one copy; every peer that has
//! seen a later head notices. Owners' tools remember in a file ([`HeadMemory`]);
//! replicas that renew their secrets remember while they run ([`HeadGuard`]).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};

use crate::{
    durable,
    genesis::GenesisDigest,
    head::{HeadError, StateHead, follows},
};

/// The value of `format` in a file of heads.
pub const FORMAT: &str = "adytum heads v1";
/// More than the heads of thousands of brokers, in bytes.
const MAXIMUM_LENGTH: u64 = 4 * 1024 * 1024;

/// Why the memory of heads gives none, or does not take one.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// The head is not accepted.
    #[error(transparent)]
    Head(#[from] HeadError),
    /// The file that remembers the heads of brokers can't be read or written.
    ///
    /// Do: check the path of `--heads`, and its permissions and space.
    #[error("{path}: {operation} failed: {reason}")]
    Io {
        path: PathBuf,
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The file that remembers the heads of brokers can't be understood.
    ///
    /// Do: put the file back. Or remove it: then all heads are forgotten, and a rollback before
    /// the next use stays unnoticed.
    #[error("{path} is not a file of heads: {reason}; put the file back, or remove it to forget all heads")]
    Malformed { path: PathBuf, reason: String },
}

impl MemoryError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Head(error) => error.code(),
            Self::Io { .. } => "heads-io",
            Self::Malformed { .. } => "heads-malformed",
        }
    }
}

/// The highest heads seen, by broker, in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeadMemory {
    path: PathBuf,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format: String,
    brokers: BTreeMap<GenesisDigest, StateHead>,
}

impl HeadMemory {
    /// The memory in this file, which need not be there yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The highest head of this broker that was seen.
    pub fn seen(&self, genesis: GenesisDigest) -> Result<Option<StateHead>, MemoryError> {
        Ok(self.read()?.brokers.remove(&genesis))
    }

    /// Refuses a head that is lower than, or another than, the highest seen.
    pub fn check(&self, genesis: GenesisDigest, found: &StateHead) -> Result<(), MemoryError> {
        self.seen(genesis)?.map_or(Ok(()), |seen| Ok(follows(&seen, found)?))
    }

    /// Remembers a head, durably. A higher one, which another process has seen
    /// meanwhile, stays: so what was seen is looked up before a session is opened
    /// ([`HeadMemory::seen`]), and compared ([`follows`]) when it is open.
    pub fn remember(&self, genesis: GenesisDigest, head: &StateHead) -> Result<(), MemoryError> {
        self.update(|brokers| keep_higher(brokers, genesis, head))
    }

    /// Remembers this head, durably, and forgets a higher one: for owners who
    /// restored a backup.
    pub fn replace(&self, genesis: GenesisDigest, head: &StateHead) -> Result<(), MemoryError> {
        self.update(|brokers| {
            brokers.insert(genesis, head.clone());
            Ok(())
        })
    }

    fn update(
        &self,
        change: impl FnOnce(&mut BTreeMap<GenesisDigest, StateHead>) -> Result<(), MemoryError>,
    ) -> Result<(), MemoryError> {
        durable::update(
            &self.path,
            |(operation, error)| self.io(operation, &error),
            || {
                let mut document = self.read()?;
                change(&mut document.brokers)?;
                serde_json::to_vec_pretty(&document)
                    .map_err(|error| self.io("writing", &io::Error::other(error)))
            },
        )
    }

    fn read(&self) -> Result<Document, MemoryError> {
        let empty = Document { format: FORMAT.to_owned(), brokers: BTreeMap::new() };
        let text = durable::read(&self.path, MAXIMUM_LENGTH);
        let Some(text) = text.map_err(|(operation, error)| self.io(operation, &error))? else {
            return Ok(empty);
        };
        let malformed = |reason| MemoryError::Malformed { path: self.path.clone(), reason };
        if text.len() as u64 > MAXIMUM_LENGTH {
            return Err(malformed(format!("it has more than {MAXIMUM_LENGTH} bytes")));
        }
        let document: Document =
            serde_json::from_slice(&text).map_err(|error| malformed(error.to_string()))?;
        if document.format != FORMAT {
            return Err(malformed(format!("expected the format {FORMAT:?}, found {:?}", document.format)));
        }
        Ok(document)
    }

    fn io(&self, operation: &'static str, error: &io::Error) -> MemoryError {
        MemoryError::Io { path: self.path.clone(), operation, reason: error.to_string() }
    }
}

/// Of what is known of this broker and this head, the higher one stays.
fn keep_higher(
    brokers: &mut BTreeMap<GenesisDigest, StateHead>,
    genesis: GenesisDigest,
    head: &StateHead,
) -> Result<(), MemoryError> {
    if let Some(known) = brokers.get(&genesis)
        && let Err(error) = follows(known, head)
    {
        return Ok(follows(head, known).map_err(|_| error)?);
    }
    brokers.insert(genesis, head.clone());
    Ok(())
}

/// The last head of one broker that was accepted. For peers that come back to the broker
/// while they run.
#[derive(Debug, Default)]
pub struct HeadGuard(Mutex<Option<StateHead>>);

impl HeadGuard {
    /// Accepts the head that the broker announces, unless it is lower than, or another
    /// than, the last one that was accepted. The head of a broker whose state is not open
    /// is not remembered.
    pub fn accept(&self, announced: StateHead) -> Result<(), HeadError> {
        if announced.is_none() {
            // It releases nothing; that its state is older can't be said of it.
            return self.seen().map_or(Ok(()), |_| Err(HeadError::NotOpen));
        }
        self.observe(announced)
    }

    /// Takes note of a later head within a session: that of an answer.
    pub fn observe(&self, found: StateHead) -> Result<(), HeadError> {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref() {
            follows(seen, &found)?;
        }
        *seen = Some(found);
        Ok(())
    }

    /// The last head accepted.
    pub fn seen(&self) -> Option<StateHead> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests;
