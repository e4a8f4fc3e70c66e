//! What a caller asks a store to keep, and what it gets for an answer.

use adytum_api::names::SecretName;
use adytum_evidence::clock::UnixSeconds;
use adytum_governance::{head::StateHead, manifest::SignedManifest, secrets::StoredSecret};
use zeroize::Zeroizing;

/// The longest change, in bytes.
pub const MAXIMUM_CHANGE_LENGTH: usize = 8 * 1024 * 1024;

/// Kept wholly or not at all.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// A manifest and its version, higher than the one in force. Former ones are
    /// kept: see `Store::manifest`.
    pub manifest: Option<(u64, SignedManifest)>,
    /// Secrets: each replaces all that the store has under its name.
    pub secrets: Vec<(SecretName, StoredSecret)>,
    /// Other values by name; `None` removes one.
    pub items: Vec<(&'static str, Option<Item>)>,
    /// Values of the envelope by name: see [`super::LockedStore::envelope`].
    pub envelope: Vec<(&'static str, Option<Vec<u8>>)>,
    /// Raises the floor under the clock.
    pub clock_floor: Option<UnixSeconds>,
    /// An owner confirmed the state after an unplanned restart.
    pub confirmed: bool,
    /// Audit records, in order. The store numbers and links them.
    pub audit: Vec<Vec<u8>>,
}

/// A value of no kind that the store knows. Never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Item(pub Zeroizing<Vec<u8>>);

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Item({} bytes)", self.0.len())
    }
}

impl Change {
    /// Only these audit records.
    pub fn audit(records: Vec<Vec<u8>>) -> Self {
        Self { audit: records, ..Self::default() }
    }

    /// Is there anything in it but audit records?
    pub(super) fn touches_state(&self) -> bool {
        self.manifest.is_some()
            || !self.secrets.is_empty()
            || !self.items.is_empty()
            || !self.envelope.is_empty()
            || self.confirmed
    }

    /// Its length in bytes, about.
    pub(super) fn length(&self) -> usize {
        let manifest = self.manifest.as_ref().map_or(0, |(_, signed)| signed.text.len() + 4096);
        let value = |secret: &StoredSecret| secret.value.as_ref().map_or(0, |value| value.expose().len());
        let secrets = self.secrets.iter().map(|(name, secret)| name.as_str().len() + value(secret) + 512);
        let items = self.items.iter().map(|(_, item)| item.as_ref().map_or(0, |item| item.0.len()) + 256);
        let envelope = self.envelope.iter().map(|(_, value)| value.as_ref().map_or(0, Vec::len) + 256);
        let audit = self.audit.iter().map(|record| record.len() + 128);
        manifest + secrets.chain(items).chain(envelope).chain(audit).sum::<usize>()
    }
}

/// A change that survives a loss of power.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedChange {
    /// The head of the state with it.
    pub head: StateHead,
    /// The number of its first audit record, if it has one.
    pub first_record: Option<u64>,
}
