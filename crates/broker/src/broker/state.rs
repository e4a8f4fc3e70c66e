//! What a broker holds while it runs.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use adytum_api::names::SecretName;
use adytum_evidence::{measurement::Sha256Digest, verifier::TrustRoot};
use adytum_governance::{
    confirmation::Challenge,
    genesis::Genesis,
    manifest::{
        Manifest, ManifestError, ManifestInForce, SignedManifest,
        document::{PlannedRestart, UnplannedRestart},
    },
    role_changes::{self, ChainError, RoleChange},
    roles::Roles,
    rules::{AdmittedManifest, admit},
    secrets::StoredSecret,
};
use zeroize::Zeroizing;

use crate::{
    certificate_authority::{self, AuthorityError, CertificateAuthority},
    store::{Change, Item, LoadedState, Snapshot, Store, StoreError},
};

/// The most bytes of secret values that a broker holds.
pub const MAXIMUM_TOTAL_LENGTH: usize = 64 * 1024 * 1024;

/// One state: never changed, only replaced by the next. Cloning is cheap compared
/// with a commit: manifest and values are shared.
#[derive(Clone, Debug)]
pub struct State {
    /// Counts the broker's starts.
    pub epoch: u64,
    /// The manifest in force.
    pub admitted: Option<Arc<AdmittedManifest>>,
    /// By name. A value is kept when a manifest stops naming its secret, and is
    /// released to nobody until one names it again.
    pub secrets: BTreeMap<SecretName, StoredSecret>,
    /// The owners and the auditors of the broker.
    pub roles: Arc<Roles>,
    /// The manifests that changed that.
    pub role_changes: Arc<[RoleChange]>,
    /// What issues certificates, once a manifest had something to issue.
    pub authority: Option<Arc<CertificateAuthority>>,
}

/// Why what lies in a store is no state of this broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// It can't be read.
    #[error("the broker's state: {0}")]
    Store(#[from] StoreError),
    /// The manifest in it is not acceptable.
    #[error("the manifest in the broker's state: {0}")]
    Manifest(#[from] ManifestError),
    /// Who the owners are does not follow from it.
    #[error("the owners in the broker's state: {0}")]
    Owners(#[from] ChainError),
    /// Its certificate authority can't be used.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

impl RestoreError {
    /// Stable code for logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Store(error) => error.code(),
            Self::Manifest(error) => error.code(),
            Self::Owners(error) => error.code(),
            Self::Authority(error) => error.code(),
        }
    }
}

impl State {
    /// Takes a snapshot up again. Its manifest is admitted again, and so is every one
    /// that changed the owners: bytes from a disk are trusted no more than bytes from
    /// the network. Blocks on the disk.
    pub fn restore(genesis: &Genesis, snapshot: Snapshot, store: &Store) -> Result<Self, RestoreError> {
        let role_changes: Arc<[RoleChange]> = match store.item(role_changes::ITEM)? {
            Some(list) => role_changes::decode(&list)?.into(),
            None => Arc::default(),
        };
        let mut roles = Roles::initial(genesis.first_owners());
        let in_force = snapshot.manifest.as_ref().map(SignedManifest::digest);
        for change in role_changes.iter().filter(|change| Some(change.text) != in_force) {
            let RoleChange { version, .. } = *change;
            let signed = store.manifest(version)?.ok_or(ChainError::Missing { version })?;
            roles = change.apply(&roles, genesis, &signed)?;
        }
        let admit = |signed| admit(genesis, &roles.owners, 0, signed);
        let admitted = snapshot.manifest.clone().map(admit).transpose()?.map(Arc::new);
        if let Some(admitted) = &admitted {
            let (version, rule) = (admitted.manifest.version, admitted.manifest.roles.as_ref());
            // The list and the manifest in force must agree, and nothing comes after it.
            let listed = role_changes.last().is_some_and(|last| last.version == version);
            if listed != rule.is_some() || role_changes.last().is_some_and(|last| last.version > version) {
                return Err(ChainError::Missing { version }.into());
            }
            roles = roles.after(rule);
        }
        let authority = store.item(certificate_authority::ITEM)?;
        let authority = authority.map(|kept| CertificateAuthority::decode(&kept)).transpose()?.map(Arc::new);
        let Snapshot { epoch, secrets, manifest: _ } = snapshot;
        Ok(Self { epoch, admitted, secrets, roles: Arc::new(roles), role_changes, authority })
    }

    /// What a store must keep so that this state follows `former`.
    pub fn changes_since(&self, former: &Self) -> Result<Change, AuthorityError> {
        let manifest = (self.manifest_version() != former.manifest_version())
            .then(|| self.signed_manifest().cloned().map(|signed| (self.manifest_version(), signed)))
            .flatten();
        let secrets = self.secrets.iter().filter(|(name, secret)| former.secrets.get(*name) != Some(*secret));
        let secrets = secrets.map(|(name, secret)| (name.clone(), secret.clone())).collect();
        let mut items = Vec::new();
        if self.role_changes != former.role_changes {
            let list = Zeroizing::new(role_changes::encode(&self.role_changes));
            items.push((role_changes::ITEM, Some(Item(list))));
        }
        if let Some(authority) = &self.authority
            && !former.authority.as_ref().is_some_and(|former| Arc::ptr_eq(authority, former))
        {
            items.push((certificate_authority::ITEM, Some(Item(authority.encode()?))));
        }
        Ok(Change { manifest, secrets, items, ..Change::default() })
    }

    /// Once this manifest is in force; secrets are not looked at.
    #[must_use]
    pub fn with_manifest(&self, admitted: AdmittedManifest) -> Self {
        let mut next = self.clone();
        if let Some(rule) = &admitted.manifest.roles {
            let (version, text) = (admitted.manifest.version, admitted.signed.text.as_bytes());
            let change = RoleChange { version, text: Sha256Digest::of_bytes(text) };
            next.roles = Arc::new(self.roles.after(Some(rule)));
            next.role_changes = self.role_changes.iter().copied().chain([change]).collect();
        }
        next.admitted = Some(Arc::new(admitted));
        next
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

    /// Which manifest is in force; none before the first.
    pub fn manifest_in_force(&self) -> Option<ManifestInForce> {
        let admitted = self.admitted.as_ref()?;
        Some(ManifestInForce { version: admitted.manifest.version, digest: admitted.digest })
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

/// Does the broker wait for its owners, and what do they sign?
#[derive(Debug)]
pub(crate) struct Confirmation {
    awaited: AtomicBool,
    challenge: Challenge,
}

impl Confirmation {
    /// After this start. Without a manifest there is nothing to wait for: no
    /// secret is released by it.
    pub(crate) fn after(loaded: &LoadedState, state: &State, challenge: Challenge) -> Self {
        Self { awaited: AtomicBool::new(Self::must_wait(loaded, state)), challenge }
    }

    fn must_wait(loaded: &LoadedState, state: &State) -> bool {
        let Some(manifest) = state.manifest() else { return false };
        let unconfirmed = loaded.unconfirmed;
        let wait = if unconfirmed {
            manifest.unplanned_restart == UnplannedRestart::Wait
        } else {
            manifest.planned_restart == PlannedRestart::Wait
        };
        if !unconfirmed && wait {
            tracing::warn!(
                code = "awaiting-confirmation",
                "the manifest says that the owners confirm the state after every start: nothing is released until \
                 `adytum broker confirm`"
            );
        } else if wait {
            tracing::warn!(
                code = "awaiting-confirmation",
                planned = loaded.planned,
                "the broker was not shut down in good order, or its state comes from a backup: it releases nothing \
                 until the owners confirm the state with `adytum broker confirm`"
            );
        } else if unconfirmed {
            tracing::warn!("the restart was unplanned; the broker serves at once, as its manifest says");
        }
        wait
    }

    /// The owners have confirmed the state.
    pub(crate) fn given(&self) {
        self.awaited.store(false, Ordering::SeqCst);
    }

    pub(crate) fn awaited(&self) -> bool {
        self.awaited.load(Ordering::SeqCst)
    }

    pub(crate) fn challenge(&self) -> Challenge {
        self.challenge
    }
}
