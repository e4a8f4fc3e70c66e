//! What a broker holds while it runs.

use std::{collections::BTreeMap, sync::Arc};

use adytum_api::names::SecretName;
use adytum_evidence::verifier::TrustRoot;

use crate::{
    genesis::Genesis,
    manifest::{
        Manifest, ManifestError, SignedManifest,
        admission::{Admitted, admit},
    },
    secrets::StoredSecret,
    store::{Change, Snapshot},
};

/// The most bytes of secret values that a broker holds.
pub const MAXIMUM_TOTAL_LENGTH: usize = 64 * 1024 * 1024;

/// One state: never changed, only replaced by the next. Cloning is cheap beside
/// a commit: manifest and values are shared.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Counts the broker's starts.
    pub epoch: u64,
    /// The manifest in force.
    pub admitted: Option<Arc<Admitted>>,
    /// By name. A value is kept when a manifest stops naming its secret, and is
    /// released to nobody until one names it again.
    pub secrets: BTreeMap<SecretName, StoredSecret>,
}

impl State {
    /// Takes a snapshot up again. Its manifest is admitted anew: what lies on a
    /// disk is not better than what comes over the network.
    pub fn restore(genesis: &Genesis, snapshot: Snapshot) -> Result<Self, ManifestError> {
        let admitted = snapshot.manifest.map(|signed| admit(genesis, 0, signed)).transpose()?.map(Arc::new);
        Ok(Self { epoch: snapshot.epoch, admitted, secrets: snapshot.secrets })
    }

    /// What a store must keep so that this state follows `former`.
    pub fn changes_since(&self, former: &Self) -> Change {
        let manifest = (self.manifest_version() != former.manifest_version())
            .then(|| self.signed_manifest().cloned().map(|signed| (self.manifest_version(), signed)))
            .flatten();
        let secrets = self.secrets.iter().filter(|(name, secret)| former.secrets.get(*name) != Some(*secret));
        let secrets = secrets.map(|(name, secret)| (name.clone(), secret.clone())).collect();
        Change { manifest, secrets, ..Change::default() }
    }

    /// The manifest in force.
    pub fn manifest(&self) -> Option<&Manifest> {
        self.admitted.as_ref().map(|admitted| &admitted.manifest)
    }

    /// The manifest in force, as signed.
    pub fn signed_manifest(&self) -> Option<&SignedManifest> {
        self.admitted.as_ref().map(|admitted| &admitted.signed)
    }

    /// The version of the manifest in force; 0 before the first.
    pub fn manifest_version(&self) -> u64 {
        self.manifest().map_or(0, |manifest| manifest.version)
    }

    /// The roots that the manifest in force trusts.
    pub fn roots(&self) -> &[TrustRoot] {
        self.admitted.as_ref().map_or(&[], |admitted| &admitted.roots)
    }

    /// Bytes of all values.
    pub fn total_length(&self) -> usize {
        self.secrets
            .values()
            .filter_map(|secret| secret.value.as_ref())
            .map(|value| value.expose().len())
            .sum()
    }
}
