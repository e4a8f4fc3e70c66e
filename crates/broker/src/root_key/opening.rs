//! What a start finds in the state directory, and so what state the broker is in.

use adytum_evidence::attester::SealingKey;
use adytum_ratls::claims::GenesisDigest;
use zeroize::Zeroizing;

use super::{
    RootKey,
    arrangement::{self, Arrangement},
    recovery::Awaiting,
    sealing::{self, Purpose},
};
use crate::{
    store::{Loaded, LockedStore, Store, StoreError},
    succession::fence::Fenced,
};

/// Where the root key lies in the store's envelope, sealed for the next start.
const ENVELOPE: &str = "root-key";

/// What a start finds.
pub enum Opening {
    /// The store, open.
    Open(Box<(Store, Loaded)>),
    /// A store whose root key can't be had here: k of n shares bring it back.
    Awaiting(Box<Awaiting>),
    /// A store whose root key was handed to another broker.
    Fenced(Box<Fenced>),
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
    let sealed = locked.envelope(ENVELOPE)?;
    let known = sealed
        .zip(sealing.as_ref())
        .and_then(|(sealed, key)| sealing::open(&key.0, Purpose::Start, locked.genesis(), &sealed));
    if let Some(root) = known
        && locked.opens_with(&root)?
    {
        if let Some(fenced) = Fenced::found(&locked, &root)? {
            return Ok(Opening::Fenced(Box::new(fenced)));
        }
        return Ok(Opening::Open(Box::new(locked.unlock(&root)?)));
    }
    if locked.is_new()? {
        let root = RootKey::generate()?;
        if let Some(key) = &sealing {
            seal(&locked, key, &root)?;
        }
        return Ok(Opening::Open(Box::new(locked.unlock(&root)?)));
    }
    let Some(arrangement) = locked.envelope(arrangement::ENVELOPE)? else {
        return Err(locked.unsealing());
    };
    let arrangement =
        Arrangement::decode(&arrangement).map_err(|error| locked.contents(error.to_string()))?;
    Ok(Opening::Awaiting(Box::new(Awaiting::new(locked, arrangement, sealing))))
}

/// Seals the root key for the next start here, durably. Before a store is opened.
pub(crate) fn seal(locked: &LockedStore, key: &SealingKey, root: &RootKey) -> Result<(), StoreError> {
    locked.set_envelope(ENVELOPE, &sealing::seal(&key.0, Purpose::Start, locked.genesis(), root)?)
}

/// What seals the root key for the next start here, or takes a former seal away:
/// to be committed with the change that needs it.
pub(crate) fn sealed(
    store: &Store,
    key: Option<&SealingKey>,
    genesis: GenesisDigest,
) -> Result<(&'static str, Option<Vec<u8>>), StoreError> {
    let seal = |key: &SealingKey| sealing::seal(&key.0, Purpose::Start, genesis, store.root_key());
    Ok((ENVELOPE, key.map(seal).transpose()?))
}

/// A number by which a TEE is known without its sealing key being shown.
pub(crate) fn identity_of(key: &SealingKey) -> Option<Zeroizing<[u8; 32]>> {
    sealing::expand(&key.0, b"", b"adytum successor v1").ok()
}
