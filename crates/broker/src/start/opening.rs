//! What a start finds in the state directory, and so what state the broker is in.

use adytum_evidence::attester::SealingKey;
use adytum_governance::recovery::{
    arrangement::{self, Arrangement},
    root_key::RootKey,
    sealing,
};

use super::{fence::FencedState, recovery::PendingRecovery};
use crate::store::{LoadedState, LockedStore, Store, StoreError};

/// What a start finds.
pub enum Opening {
    /// The store, open.
    Open(Box<(Store, LoadedState)>),
    /// A store whose root key can't be had here: k of n shares bring it back.
    Awaiting(Box<PendingRecovery>),
    /// A store whose root key was handed to another broker.
    Fenced(Box<FencedState>),
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Open(_) => "Open(..)",
            Self::Awaiting(_) => "Awaiting(..)",
            Self::Fenced(_) => "Fenced(..)",
        })
    }
}

/// Opens a store with the key that was sealed for this code on this CPU; a new
/// one gets its root key here. Blocks on the disk.
///
/// Without a sealing key (`None`), what is written is readable again only after a
/// recovery or a handover.
pub fn open(locked: LockedStore, sealing: Option<SealingKey>) -> Result<Opening, StoreError> {
    let sealed = locked.envelope(sealing::ENVELOPE)?;
    let known = sealed
        .zip(sealing.as_ref())
        .and_then(|(sealed, key)| sealing::at_start(key, locked.genesis(), &sealed));
    if locked.is_new()? {
        // A start that was cut short may have sealed one already.
        let root = match known {
            Some(root) => root,
            None => {
                let root = RootKey::generate()?;
                if let Some(key) = &sealing {
                    let sealed = sealing::for_next_start(key, locked.genesis(), &root)?;
                    locked.set_envelope(sealing::ENVELOPE, &sealed)?;
                }
                root
            }
        };
        return Ok(Opening::Open(Box::new(locked.unlock(&root)?)));
    }
    if let Some(root) = known
        && locked.opens_with(&root)?
    {
        if let Some(fenced) = FencedState::found(&locked, &root)? {
            return Ok(Opening::Fenced(Box::new(fenced)));
        }
        return Ok(Opening::Open(Box::new(locked.unlock(&root)?)));
    }
    let Some(arrangement) = locked.envelope(arrangement::ENVELOPE)? else {
        return Err(locked.unsealing());
    };
    let arrangement =
        Arrangement::decode(&arrangement).map_err(|error| locked.contents(error.to_string()))?;
    Ok(Opening::Awaiting(Box::new(PendingRecovery::new(locked, arrangement, sealing))))
}
