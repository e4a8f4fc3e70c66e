//! `[lease]`: for how long the secrets of a source may be used that lends nothing itself.

use adytum_governance::manifest::duration::WrittenDuration;
use serde::{Deserialize, Serialize};

use super::{ConfigurationError, PinnedSource, error::invalid};
use crate::secret::Lease;

/// In seconds: as in a manifest.
const SHORTEST: u32 = 10;

/// For how long secrets may be used after the source gave them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PinnedLease {
    /// They are asked for again at a third of this.
    pub duration: WrittenDuration,
    /// Longer, while the source gives nothing.
    pub grace: WrittenDuration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LeaseTable {
    duration: WrittenDuration,
    #[serde(default)]
    grace: WrittenDuration,
}

impl LeaseTable {
    pub(super) fn pin(self, source: &PinnedSource) -> Result<PinnedLease, ConfigurationError> {
        let Self { duration, grace } = self;
        match source {
            PinnedSource::Broker(_) => {
                return Err(invalid(
                    "lease",
                    "a broker lends for as long as its manifest says; remove [lease]",
                ));
            }
            PinnedSource::Nothing(_) => {
                return Err(invalid("lease", "there is no key source; remove [lease]"));
            }
            PinnedSource::Aecs(_) | PinnedSource::KeyVault(_) | PinnedSource::Kbs(_) => {}
        }
        if duration.seconds() < SHORTEST {
            return Err(invalid(
                "lease.duration",
                format!("expected at least {SHORTEST}s, found {duration}"),
            ));
        }
        Ok(PinnedLease { duration, grace })
    }
}

impl From<PinnedLease> for Lease {
    fn from(pinned: PinnedLease) -> Self {
        Self { duration: pinned.duration.duration(), grace: pinned.grace.duration() }
    }
}
