//! What a broker or a workload says of itself in a session: its announcement. It is bound
//! to its evidence, and is worth what the code behind that evidence is worth.

mod serving;

use adytum_api::{broker, canonical, session as wire};
use adytum_evidence::{
    clock::UnixSeconds,
    measurement::{Sha256Digest, WorkloadIdentity},
};
use bytes::Bytes;
use prost::Message;

pub use serving::ServingAnnouncement;

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
    /// The digest of the Occlum configuration that it has loaded.
    pub occlum: Option<Sha256Digest>,
    /// The floor of its clock: no time before it is believed. 0 is none.
    pub clock_floor: UnixSeconds,
}

/// A replica's announcement (message `WorkloadAnnouncement`): what it is besides its code,
/// where the TEE does not measure that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkloadAnnouncement {
    /// Its workload identity, as its own code has computed it.
    pub identity: WorkloadIdentity,
}

impl WorkloadAnnouncement {
    /// The bytes that go into a session.
    pub fn encode(&self) -> Bytes {
        wire::WorkloadAnnouncement { identity: self.identity.0.to_vec() }.encode_to_vec().into()
    }

    /// Reads exactly what [`WorkloadAnnouncement::encode`] writes. A peer that announces
    /// nothing states no identity.
    pub fn decode(bytes: &[u8]) -> Result<Option<Self>, AnnouncementError> {
        if bytes.is_empty() {
            return Ok(None);
        }
        let message: wire::WorkloadAnnouncement = canonical::parse(bytes).map_err(|error| {
            AnnouncementError::Workload { length: bytes.len(), reason: error.to_string() }
        })?;
        let identity = <[u8; 32]>::try_from(message.identity.as_slice())
            .map_err(|_| AnnouncementError::IdentityLength { found: message.identity.len() })?;
        Ok(Some(Self { identity: WorkloadIdentity(identity) }))
    }
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
    /// A digest of an Occlum configuration of another length.
    #[error("expected 32 bytes of occlum, or none, found {found}")]
    OcclumLength { found: usize },
    /// Not exactly one encoded `WorkloadAnnouncement`, in its shortest form.
    #[error("expected an encoded WorkloadAnnouncement, found {length} other bytes: {reason}")]
    Workload { length: usize, reason: String },
    /// Not exactly one encoded `ServingAnnouncement`, in its shortest form.
    ///
    /// Do: check that the address is a model server's port for clients, and use a client and a
    /// server of the same version.
    #[error("expected an encoded ServingAnnouncement, found {length} other bytes: {reason}")]
    Serving { length: usize, reason: String },
    /// A workload identity of another length.
    #[error("expected 32 bytes of identity, found {found}")]
    IdentityLength { found: usize },
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
        let occlum = self.occlum.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let clock_floor = self.clock_floor.0;
        wire::BrokerAnnouncement {
            genesis,
            epoch,
            manifest_version,
            audit_size,
            audit_hash,
            occlum,
            clock_floor,
        }
        .encode_to_vec()
        .into()
    }

    /// Reads exactly what [`BrokerAnnouncement::encode`] writes.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnnouncementError> {
        let message: wire::BrokerAnnouncement = canonical::parse(bytes).map_err(|error| {
            AnnouncementError::Encoding { length: bytes.len(), reason: error.to_string() }
        })?;
        let wire::BrokerAnnouncement {
            genesis,
            epoch,
            manifest_version,
            audit_size,
            audit_hash,
            occlum,
            clock_floor,
        } = message;
        let genesis = Sha256Digest::try_from(genesis.as_slice())
            .map_err(|_| AnnouncementError::GenesisLength { found: genesis.len() })?;
        let head = broker::StateHead { epoch, manifest_version, audit_size, audit_hash }.try_into()?;
        let occlum = match occlum.as_slice() {
            [] => None,
            digest => Some(
                Sha256Digest::try_from(digest)
                    .map_err(|_| AnnouncementError::OcclumLength { found: digest.len() })?,
            ),
        };
        Ok(Self { genesis: GenesisDigest(genesis), head, occlum, clock_floor: UnixSeconds(clock_floor) })
    }
}

#[cfg(test)]
mod tests;
