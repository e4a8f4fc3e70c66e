//! How far a broker's state has come, and whether one head may follow another.

use std::fmt;

use adytum_api::broker as wire;
use adytum_evidence::measurement::Sha256Digest;
use serde::{Deserialize, Serialize};

/// The head of a broker's state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateHead {
    /// Counts starts and recoveries.
    pub epoch: u64,
    /// 0 before the first manifest.
    pub manifest_version: u64,
    /// Audit records so far.
    pub audit_size: u64,
    /// The last audit record's hash; `None` before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit_hash: Option<Sha256Digest>,
}

impl StateHead {
    /// That of a broker whose state is not open: it awaits recovery, or is about
    /// to take over from another. An open state has an epoch of at least 1.
    pub const fn none() -> Self {
        Self { epoch: 0, manifest_version: 0, audit_size: 0, audit_hash: None }
    }

    /// Is it that of a broker whose state is not open?
    pub fn is_none(&self) -> bool {
        self.epoch == 0
    }
}

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

/// The head of a broker's state can't be read: its audit hash has another length than 32 bytes,
/// or does not fit the number of records.
///
/// Do: use tools, workloads and a broker of the same version.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedHead {
    /// A hash of another length.
    #[error("expected 32 bytes of audit_hash, found {found}")]
    HashLength { found: usize },
    /// An audit hash without records, or records without a hash.
    #[error("expected an audit hash exactly when there are audit records, found {audit_size} records")]
    Hash { audit_size: u64 },
}

impl MalformedHead {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        "head-malformed"
    }
}

/// Why a head is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeadError {
    /// The broker's state is older than a state that was seen before.
    ///
    /// Do: do not trust the broker, unless an owner restored a backup: then confirm it with
    /// `adytum broker confirm --accept-rollback`. docs/backup.md explains rollback.
    #[error(
        "the broker's state was rolled back: its {field} is lower than before. Seen: {seen}. Found: {found}. \
         Do not trust it: somebody put an older state back. If that was you, restoring a backup, confirm it \
         with `adytum broker confirm --accept-rollback`"
    )]
    Rollback {
        field: &'static str,
        seen: Box<StateHead>,
        /// The head that the broker shows.
        found: Box<StateHead>,
    },
    /// The broker's state is another one than the state that was seen before: two brokers
    /// continue from copies of one state.
    ///
    /// Do: find out which of the two brokers is yours, and stop the other.
    #[error(
        "the broker's state has forked: at one size its audit log differs. Seen: {seen}. Found: {found}. Do \
         not trust it: two brokers run from copies of one state. Find out which one is yours, and end the \
         other"
    )]
    Forked {
        seen: Box<StateHead>,
        /// The head that the broker shows.
        found: Box<StateHead>,
    },
    /// The broker shows no state, and its state was seen before: it awaits recovery.
    ///
    /// Do: look at `adytum broker status`, then recover the root key with `adytum broker
    /// recover`.
    ///
    /// Retry: later
    #[error("the broker's state is not open: it awaits recovery; see `adytum broker status`")]
    NotOpen,
}

impl HeadError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rollback { .. } => "state-rolled-back",
            Self::Forked { .. } => "state-forked",
            Self::NotOpen => "broker-without-state",
        }
    }

    /// May the same broker be accepted later?
    pub fn retry(&self) -> bool {
        matches!(self, Self::NotOpen)
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
    type Error = MalformedHead;

    fn try_from(head: wire::StateHead) -> Result<Self, MalformedHead> {
        let audit_hash = match head.audit_hash.as_slice() {
            [] => None,
            hash => Some(
                Sha256Digest::try_from(hash).map_err(|_| MalformedHead::HashLength { found: hash.len() })?,
            ),
        };
        if audit_hash.is_some() != (head.audit_size > 0) {
            return Err(MalformedHead::Hash { audit_size: head.audit_size });
        }
        Ok(Self {
            epoch: head.epoch,
            manifest_version: head.manifest_version,
            audit_size: head.audit_size,
            audit_hash,
        })
    }
}
