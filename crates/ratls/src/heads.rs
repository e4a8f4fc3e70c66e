//! Memory of a broker's heads. Encryption can't stop a host that puts an older
//! state of the broker back, or that runs two brokers from one copy; whoever has
//! seen a later head notices. Owners' tools remember in a file ([`HeadMemory`]),
//! replicas that renew what they got remember while they run ([`HeadGuard`]).

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use adytum_api::broker as wire;
use adytum_evidence::{claims::Claims, measurement::Sha256Digest};
use serde::{Deserialize, Serialize};

use crate::{
    claims::{BrokerClaims, BrokerClaimsError, GenesisDigest, PeerJudge, StateHead},
    error::Refusal,
};

/// The value of `format` in a file of heads.
pub const FORMAT: &str = "adytum heads v1";
/// More than the heads of thousands of brokers, in bytes.
const MAXIMUM_LENGTH: u64 = 4 * 1024 * 1024;

impl fmt::Display for StateHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "epoch {}, manifest version {}, {} audit record(s)",
            self.epoch, self.manifest_version, self.audit_size
        )?;
        match &self.audit_hash {
            Some(hash) => write!(f, " up to {hash}"),
            None => Ok(()),
        }
    }
}

/// Why a head is not accepted, or can't be judged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The state is older than one that was seen.
    #[error(
        "the broker's state was rolled back: its {field} is lower than before. Seen: {seen}. Found: {found}. Do \
         not trust it: somebody put an older state back. If that was you, restoring a backup, confirm it with \
         `adytum broker confirm --accept-rollback`"
    )]
    Rollback {
        /// What is lower.
        field: &'static str,
        /// The head remembered.
        seen: Box<StateHead>,
        /// The head that the broker shows.
        found: Box<StateHead>,
    },
    /// The state is another one than that which was seen: two brokers go on from
    /// one copy.
    #[error(
        "the broker's state has forked: at one size its audit log differs. Seen: {seen}. Found: {found}. Do not \
         trust it: two brokers run from copies of one state. Find out which one is yours, and end the other"
    )]
    Forked {
        /// The head remembered.
        seen: Box<StateHead>,
        /// The head that the broker shows.
        found: Box<StateHead>,
    },
    /// The file of heads can't be read or written.
    #[error("{path}: {operation} failed: {reason}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        operation: &'static str,
        /// What the system said.
        reason: String,
    },
    /// The file of heads is none.
    #[error("{path} is not a file of heads: {reason}; put the file back, or remove it to forget all heads")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

impl HeadError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "state-rolled-back",
            Self::Forked { .. } => "state-forked",
            Self::Io { .. } => "heads-io",
            Self::Malformed { .. } => "heads-malformed",
        }
    }
}

/// May a broker that showed `seen` show `found` later? A head alone can't show
/// every fork: the broker itself is asked whether `seen` is in its audit log.
pub fn follows(seen: &StateHead, found: &StateHead) -> Result<(), HeadError> {
    let fields = [
        ("epoch", seen.epoch, found.epoch),
        ("manifest version", seen.manifest_version, found.manifest_version),
        ("number of audit records", seen.audit_size, found.audit_size),
    ];
    if let Some((field, _, _)) = fields.iter().find(|(_, seen, found)| found < seen) {
        return Err(HeadError::Rollback {
            field,
            seen: Box::new(seen.clone()),
            found: Box::new(found.clone()),
        });
    }
    if seen.audit_size == found.audit_size && seen.audit_hash != found.audit_hash {
        return Err(HeadError::Forked { seen: Box::new(seen.clone()), found: Box::new(found.clone()) });
    }
    Ok(())
}

impl From<&StateHead> for wire::StateHead {
    fn from(head: &StateHead) -> Self {
        Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash: head.audit_hash.map_or_else(Vec::new, |hash| hash.0.to_vec()),
        }
    }
}

impl TryFrom<wire::StateHead> for StateHead {
    type Error = BrokerClaimsError;

    fn try_from(head: wire::StateHead) -> Result<Self, BrokerClaimsError> {
        let length = head.audit_hash.len();
        let hash = Sha256Digest::try_from(head.audit_hash.as_slice());
        let audit_hash = match (length, hash) {
            (0, _) => None,
            (_, Ok(hash)) => Some(hash),
            (_, Err(_)) => return Err(BrokerClaimsError::Length { field: "audit_hash", length }),
        };
        if audit_hash.is_some() != (head.audit_size > 0) {
            return Err(BrokerClaimsError::AuditHash { audit_size: head.audit_size });
        }
        Ok(Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash,
        })
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
    brokers: BTreeMap<GenesisDigest, Head>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    epoch: u64,
    manifest_version: u64,
    audit_size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    audit_hash: Option<Sha256Digest>,
}

impl From<Head> for StateHead {
    fn from(head: Head) -> Self {
        Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash: head.audit_hash,
        }
    }
}

impl From<StateHead> for Head {
    fn from(head: StateHead) -> Self {
        Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash: head.audit_hash,
        }
    }
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
    pub fn seen(&self, genesis: GenesisDigest) -> Result<Option<StateHead>, HeadError> {
        Ok(self.read()?.brokers.remove(&genesis).map(StateHead::from))
    }

    /// Refuses a head that is lower than, or another than, the highest seen.
    pub fn check(&self, genesis: GenesisDigest, found: &StateHead) -> Result<(), HeadError> {
        self.seen(genesis)?.map_or(Ok(()), |seen| follows(&seen, found))
    }

    /// Remembers a head, durably. A higher one, which another process has seen
    /// meanwhile, stays: so what was seen is looked up before a session is opened
    /// ([`HeadMemory::seen`]), and compared ([`follows`]) when it is open.
    pub fn remember(&self, genesis: GenesisDigest, head: &StateHead) -> Result<(), HeadError> {
        self.update(|brokers| keep_higher(brokers, genesis, head))
    }

    /// Remembers what another memory holds, too: of each broker the higher head.
    /// Refused, and nothing is changed, if of two heads neither follows the other.
    pub fn merge(&self, other: &Self) -> Result<(), HeadError> {
        let others = other.read()?.brokers;
        self.update(|brokers| {
            others
                .into_iter()
                .try_for_each(|(genesis, head)| keep_higher(brokers, genesis, &StateHead::from(head)))
        })
    }

    /// Remembers this head, durably, and forgets a higher one: for owners who
    /// restored a backup.
    pub fn replace(&self, genesis: GenesisDigest, head: &StateHead) -> Result<(), HeadError> {
        self.update(|brokers| {
            brokers.insert(genesis, head.clone().into());
            Ok(())
        })
    }

    fn update(
        &self,
        change: impl FnOnce(&mut BTreeMap<GenesisDigest, Head>) -> Result<(), HeadError>,
    ) -> Result<(), HeadError> {
        let failed = |operation| move |error: io::Error| self.io(operation, &error);
        if let Some(directory) = self.path.parent().filter(|directory| *directory != Path::new("")) {
            make_directory(directory).map_err(failed("making its directory"))?;
        }
        let lock = self.beside(".lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(lock)
            .map_err(failed("opening its lock"))?;
        lock.lock().map_err(failed("locking"))?;
        let mut document = self.read()?;
        change(&mut document.brokers)?;
        let text = serde_json::to_vec_pretty(&document)
            .map_err(|error| self.io("writing", &io::Error::other(error)))?;
        let new = self.beside(".new");
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&new)
            .map_err(failed("writing"))?;
        file.write_all(&text).and_then(|()| file.sync_all()).map_err(failed("writing"))?;
        fs::rename(&new, &self.path).and_then(|()| sync_parent(&self.path)).map_err(failed("writing"))
    }

    fn read(&self) -> Result<Document, HeadError> {
        let empty = Document { format: FORMAT.to_owned(), brokers: BTreeMap::new() };
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(empty),
            Err(error) => return Err(self.io("reading", &error)),
        };
        let mut text = Vec::new();
        file.take(MAXIMUM_LENGTH + 1).read_to_end(&mut text).map_err(|error| self.io("reading", &error))?;
        let malformed = |reason| HeadError::Malformed { path: self.path.clone(), reason };
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

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(suffix);
        self.path.with_file_name(name)
    }

    fn io(&self, operation: &'static str, error: &io::Error) -> HeadError {
        HeadError::Io { path: self.path.clone(), operation, reason: error.to_string() }
    }
}

/// Of what is known of this broker and this head, the higher one stays.
fn keep_higher(
    brokers: &mut BTreeMap<GenesisDigest, Head>,
    genesis: GenesisDigest,
    head: &StateHead,
) -> Result<(), HeadError> {
    let known = brokers.get(&genesis).map(StateHead::from);
    if let Some(known) = known
        && let Err(error) = follows(&known, head)
    {
        return follows(head, &known).map_err(|_| error);
    }
    brokers.insert(genesis, head.clone().into());
    Ok(())
}

/// Makes a directory and those above it, durably.
fn make_directory(directory: &Path) -> io::Result<()> {
    let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
    let missing: Vec<&Path> = directory.ancestors().take_while(missing).collect();
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    missing.into_iter().try_for_each(sync_parent)
}

/// A name outlives a loss of power once its directory is on the disk.
fn sync_parent(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new("."))).and_then(|directory| directory.sync_all())
}

impl From<&Head> for StateHead {
    fn from(head: &Head) -> Self {
        Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash: head.audit_hash,
        }
    }
}

/// Accepts a broker whom another judge accepts, unless its head is lower than,
/// or another than, the last one that was accepted. For peers that come back to
/// one broker while they run.
pub struct HeadGuard<J> {
    judge: J,
    seen: Mutex<Option<StateHead>>,
}

impl<J> HeadGuard<J> {
    /// Nothing was seen yet.
    pub fn new(judge: J) -> Self {
        Self { judge, seen: Mutex::new(None) }
    }

    /// Is told a later head within a session: that of an answer.
    pub fn observe(&self, found: StateHead) -> Result<(), HeadError> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = seen.as_ref() {
            follows(seen, &found)?;
        }
        *seen = Some(found);
        Ok(())
    }

    /// The last head accepted.
    pub fn seen(&self) -> Option<StateHead> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl<J: PeerJudge> PeerJudge for HeadGuard<J> {
    fn judge(&self, claims: &Claims, session_claims: &[u8]) -> Result<(), Refusal> {
        self.judge.judge(claims, session_claims)?;
        let found = BrokerClaims::decode(session_claims)
            .map_err(|error| Refusal::permanent(error.code(), format!("the broker's claims: {error}")))?
            .head;
        if found.is_none() {
            // It releases nothing; that its state is older can't be said of it.
            return match self.seen() {
                None => Ok(()),
                Some(_) => Err(Refusal::temporary(
                    "broker-without-state",
                    "the broker's state is not open: it awaits recovery; see `adytum broker status`",
                )),
            };
        }
        self.observe(found).map_err(|error| Refusal::permanent(error.code(), error.to_string()))
    }
}

#[cfg(test)]
#[path = "heads_tests.rs"]
mod tests;
