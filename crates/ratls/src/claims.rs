//! What a broker says about itself in a session, and the pin that a replica or
//! an owner holds against it.

use std::{fmt, str::FromStr};

use adytum_api::session as wire;
use adytum_evidence::{
    claims::Claims,
    measurement::{HexError, Sha256Digest},
    policy::Policy,
};
use bytes::Bytes;
use prost::Message;
use serde::{Deserialize, Serialize};

use crate::{error::Refusal, handshake::message::parse_exact};

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

/// A broker's claims (message `BrokerClaims`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerClaims {
    /// Which broker.
    pub genesis: GenesisDigest,
    /// The head of its state.
    pub head: StateHead,
}

/// Why bytes are not a broker's claims.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BrokerClaimsError {
    /// Not exactly one encoded `BrokerClaims`, in its shortest form.
    #[error("expected an encoded BrokerClaims, found {length} other bytes: {reason}")]
    Encoding {
        /// Bytes found.
        length: usize,
        /// What is wrong with them.
        reason: String,
    },
    /// A digest of another length.
    #[error("expected 32 bytes of {field}, found {length}")]
    Length {
        /// The field.
        field: &'static str,
        /// Bytes found.
        length: usize,
    },
    /// An audit hash without records, or records without a hash.
    #[error("expected an audit hash exactly when there are audit records, found {audit_size} records")]
    AuditHash {
        /// Records claimed.
        audit_size: u64,
    },
}

impl BrokerClaimsError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        "claims-malformed"
    }
}

impl BrokerClaims {
    /// The bytes that go into a session.
    pub fn encode(&self) -> Bytes {
        let message = wire::BrokerClaims {
            genesis: self.genesis.0.0.to_vec(),
            epoch: self.head.epoch,
            manifest_version: self.head.manifest_version,
            audit_size: self.head.audit_size,
            audit_hash: self.head.audit_hash.map_or_else(Vec::new, |hash| hash.0.to_vec()),
        };
        message.encode_to_vec().into()
    }

    /// Reads exactly what [`BrokerClaims::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, BrokerClaimsError> {
        let message: wire::BrokerClaims = parse_exact(bytes)
            .map_err(|reason| BrokerClaimsError::Encoding { length: bytes.len(), reason })?;
        let digest = |field, bytes: &[u8]| {
            Sha256Digest::try_from(bytes)
                .map_err(|_| BrokerClaimsError::Length { field, length: bytes.len() })
        };
        let audit_hash = match message.audit_hash.as_slice() {
            [] => None,
            hash => Some(digest("audit_hash", hash)?),
        };
        if audit_hash.is_some() != (message.audit_size > 0) {
            return Err(BrokerClaimsError::AuditHash { audit_size: message.audit_size });
        }
        Ok(Self {
            genesis: GenesisDigest(digest("genesis", &message.genesis)?),
            head: StateHead {
                epoch: message.epoch,
                manifest_version: message.manifest_version,
                audit_size: message.audit_size,
                audit_hash,
            },
        })
    }
}

/// Decides whether a peer whose evidence verified is the one that was meant.
pub trait PeerJudge: Send + Sync {
    /// `claims` is what the peer's TEE says, `session_claims` what the peer
    /// itself says (bound to the evidence, not otherwise checked).
    ///
    /// The refusal's message is for this side's logs and errors: the peer is
    /// told the code and whether to try again, no more.
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

impl PeerJudge for BrokerPin {
    fn judge(&self, claims: &Claims, session_claims: &[u8]) -> Result<(), Refusal> {
        self.policy.judge(claims).map_err(|refusal| {
            Refusal::permanent(
                "policy-refused",
                format!(
                    "the broker is not one that the pinned policy accepts: {refusal}; if this broker is \
                     the intended one, pin its values"
                ),
            )
        })?;
        let said = BrokerClaims::decode(session_claims)
            .map_err(|e| Refusal::permanent(e.code(), format!("the broker's claims: {e}")))?;
        if said.genesis != self.genesis {
            return Err(Refusal::permanent(
                "genesis-mismatch",
                format!(
                    "expected the broker of genesis {}, found a genuine broker of genesis {}: somebody \
                     else founded it; check the address, or pin the other genesis if it is the one you mean",
                    self.genesis, said.genesis
                ),
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "claims_tests.rs"]
mod tests;
