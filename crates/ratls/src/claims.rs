//! What a broker says about itself in a session, and the pin that a replica or
//! an owner holds against it.

use std::{fmt, str::FromStr};

use adytum_evidence::{
    claims::Claims,
    measurement::{HexError, Sha256Digest},
    policy::Policy,
};
use serde::{Deserialize, Serialize};

use crate::error::Refusal;

/// The digest of a genesis document: which broker this is, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GenesisDigest(pub Sha256Digest);

impl fmt::Display for GenesisDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for GenesisDigest {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        text.parse().map(Self)
    }
}

/// The head of a broker's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateHead {
    /// Counts starts and recoveries.
    pub epoch: u64,
    /// 0 before the first manifest.
    pub manifest_version: u64,
    /// Audit records so far.
    pub audit_size: u64,
    /// The last audit record's hash; `None` before the first.
    pub audit_hash: Option<Sha256Digest>,
}

/// A broker's claims (message `BrokerClaims`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerClaims {
    /// Which broker.
    pub genesis: GenesisDigest,
    /// The head of its state.
    pub head: StateHead,
}

/// Decides whether a peer whose evidence verified is the one that was meant.
pub trait PeerJudge: Send + Sync {
    /// `claims` is what the peer's TEE says, `session_claims` what the peer
    /// itself says (bound to the evidence, not otherwise checked).
    fn judge(&self, claims: &Claims, session_claims: &[u8]) -> Result<(), Refusal>;
}

/// Accepts every peer with valid evidence: for a server that decides request by
/// request, as the broker does.
#[derive(Clone, Copy, Debug)]
pub struct AnyEvidence;

impl PeerJudge for AnyEvidence {
    fn judge(&self, _claims: &Claims, _session_claims: &[u8]) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Accepts one broker: this code and this genesis.
#[derive(Clone, Debug)]
pub struct BrokerPin {
    /// Which code, on which platforms.
    pub policy: Policy,
    /// Which founding.
    pub genesis: GenesisDigest,
}
