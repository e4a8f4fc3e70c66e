//! What a broker says of itself in a session: its announcement. It is bound to the
//! broker's evidence, and is worth what the code behind that evidence is worth.

use adytum_api::{broker, canonical, session as wire};
use adytum_evidence::measurement::Sha256Digest;
use bytes::Bytes;
use prost::Message;

use crate::{
    genesis::GenesisDigest,
    head::{MalformedHead, StateHead},
};

/// A broker's announcement (message `BrokerAnnouncement`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerAnnouncement {
    pub genesis: GenesisDigest,
    /// The head of its state.
    pub head: StateHead,
}

/// The peer's announcement can't be read as the announcement of a broker.
///
/// Do: check that the address is a broker's, and use tools and a broker of the same version.
///
/// Retry: no
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AnnouncementError {
    /// Not exactly one encoded `BrokerAnnouncement`, in its shortest form.
    #[error("expected an encoded BrokerAnnouncement, found {length} other bytes: {reason}")]
    Encoding {
        length: usize,
        /// The fault that the decoder found.
        reason: String,
    },
    /// A genesis digest of another length.
    #[error("expected 32 bytes of genesis, found {found}")]
    GenesisLength { found: usize },
    /// Not a head.
    #[error(transparent)]
    Head(#[from] MalformedHead),
}

impl AnnouncementError {
    /// Stable code for logs, metrics and answers.
    pub fn code(&self) -> &'static str {
        "announcement-malformed"
    }
}

impl BrokerAnnouncement {
    /// The bytes that go into a session.
    pub fn encode(&self) -> Bytes {
        let broker::StateHead { epoch, manifest_version, audit_size, audit_hash } = (&self.head).into();
        let genesis = self.genesis.0.0.to_vec();
        wire::BrokerAnnouncement { genesis, epoch, manifest_version, audit_size, audit_hash }
            .encode_to_vec()
            .into()
    }

    /// Reads exactly what [`BrokerAnnouncement::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnnouncementError> {
        let message: wire::BrokerAnnouncement = canonical::parse(bytes).map_err(|error| {
            AnnouncementError::Encoding { length: bytes.len(), reason: error.to_string() }
        })?;
        let wire::BrokerAnnouncement { genesis, epoch, manifest_version, audit_size, audit_hash } = message;
        let genesis = Sha256Digest::try_from(genesis.as_slice())
            .map_err(|_| AnnouncementError::GenesisLength { found: genesis.len() })?;
        let head = broker::StateHead { epoch, manifest_version, audit_size, audit_hash }.try_into()?;
        Ok(Self { genesis: GenesisDigest(genesis), head })
    }
}

#[cfg(test)]
#[path = "announcement_tests.rs"]
mod tests;
