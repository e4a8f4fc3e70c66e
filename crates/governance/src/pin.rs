//! The pin that a replica or an owner holds against a broker.

use std::collections::BTreeSet;

use adytum_evidence::{
    claims::Claims,
    measurement::Sha256Digest,
    policy::{Policy, PolicyRefusal},
};

use crate::{
    announcement::{AnnouncementError, BrokerAnnouncement},
    genesis::GenesisDigest,
};

/// Accepts one broker: this code and this genesis.
#[derive(Clone, Debug)]
pub struct BrokerPin {
    /// Which code, on which platforms.
    pub policy: Policy,
    pub genesis: GenesisDigest,
    /// The Occlum configurations that it may have loaded, by their digests. With one,
    /// the host that starts the broker decides without owners who gets its secrets.
    pub occlum: BTreeSet<Sha256Digest>,
}

/// Why a broker is not the pinned one.
///
/// Retry: no
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// The broker has another code, or is on another platform.
    ///
    /// See: `PolicyRefusal`
    #[error(
        "the broker is not one that the pinned policy accepts: {0}; if this broker is the intended one, pin \
         its values"
    )]
    Policy(PolicyRefusal),
    /// Its announcement can't be read.
    #[error("the broker's announcement: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The broker is genuine and has another genesis than the expected one.
    ///
    /// Do: check the address. If that broker is the intended one, pin its genesis document
    /// (`--genesis`).
    #[error(
        "expected the broker of genesis {expected}, found a genuine broker of genesis {found}, which another \
         document created; check the address, or pin the other genesis if that broker is the intended one"
    )]
    OtherGenesis {
        /// The one that is pinned.
        expected: GenesisDigest,
        found: GenesisDigest,
    },
    /// The broker has loaded an Occlum configuration that the pin does not name.
    ///
    /// Do: start the broker without `--occlum-config`. If the configuration is yours, name
    /// its digest: replicas in their measured configuration (`occlum_configuration`),
    /// owners with `--occlum-configuration`.
    ///
    /// Retry: no
    #[error(
        "the broker has loaded the Occlum configuration {found}, which is not pinned: the host that started the \
         broker decides who gets the secrets in it; name its digest in the pin if it is yours"
    )]
    Occlum { found: Sha256Digest },
}

impl PinError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy-refused",
            Self::Announcement(error) => error.code(),
            Self::OtherGenesis { .. } => "genesis-mismatch",
            Self::Occlum { .. } => "occlum-configuration-not-pinned",
        }
    }
}

impl BrokerPin {
    /// Judges a broker by its verified claims and by its announcement, which is bound to
    /// them. Gives the announcement.
    pub fn judge(&self, claims: &Claims, announcement: &[u8]) -> Result<BrokerAnnouncement, PinError> {
        self.policy.judge(claims).map_err(PinError::Policy)?;
        let announcement = BrokerAnnouncement::decode(announcement)?;
        if announcement.genesis != self.genesis {
            return Err(PinError::OtherGenesis { expected: self.genesis, found: announcement.genesis });
        }
        if let Some(found) = announcement.occlum.filter(|digest| !self.occlum.contains(digest)) {
            return Err(PinError::Occlum { found });
        }
        Ok(announcement)
    }
}
