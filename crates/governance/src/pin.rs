//! The pin that a replica or an owner holds against a broker.

use adytum_evidence::{
    claims::Claims,
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
    /// Which genesis.
    pub genesis: GenesisDigest,
}

/// Why a broker is not the pinned one.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PinError {
    /// Another code or platform.
    #[error(
        "the broker is not one that the pinned policy accepts: {0}; if this broker is the intended one, pin its \
         values"
    )]
    Policy(PolicyRefusal),
    /// Its announcement can't be read.
    #[error("the broker's announcement: {0}")]
    Announcement(#[from] AnnouncementError),
    /// The same code, of another genesis.
    #[error(
        "expected the broker of genesis {expected}, found a genuine broker of genesis {found}: somebody else \
         founded it; check the address, or pin the other genesis if it is the one you mean"
    )]
    OtherGenesis {
        /// The one that is pinned.
        expected: GenesisDigest,
        /// The broker's.
        found: GenesisDigest,
    },
}

impl PinError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Policy(_) => "policy-refused",
            Self::Announcement(error) => error.code(),
            Self::OtherGenesis { .. } => "genesis-mismatch",
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
        Ok(announcement)
    }
}
