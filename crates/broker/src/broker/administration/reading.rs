//! Commands that change nothing.

use adytum_api::broker::{CommandResult, ManifestSummary, SecretSummary};
use adytum_governance::{approval::OwnerApproval, audit::export::entry, manifest::SignedManifest};

use super::AdministrationError;
use crate::{
    audit::AuditLog,
    broker::state::State,
    store::{Store, StoreError},
};

/// The most manifests in one answer.
const MAXIMUM_LISTED: usize = 64;

/// Every secret that the manifest names or that has a value; no values.
pub(super) fn secrets(state: &State) -> CommandResult {
    let rules = state.manifest().map(|manifest| &manifest.secrets);
    let named = rules.into_iter().flatten().map(|(name, rule)| {
        let held = state.secrets.get(name).filter(|held| held.kind == rule.kind());
        SecretSummary {
            name: name.to_string(),
            kind: rule.kind().to_wire().into(),
            version: held.filter(|held| held.value.is_some()).map_or(0, |held| held.version),
            workloads: rule.workloads.iter().map(ToString::to_string).collect(),
            lease_seconds: rule.lease.duration.seconds(),
            grace_seconds: rule.lease.grace.seconds(),
            removed: held.is_some_and(|held| held.value.is_none()),
        }
    });
    let unnamed = state
        .secrets
        .iter()
        .filter(|(name, held)| held.value.is_some() && !rules.is_some_and(|rules| rules.contains_key(*name)))
        .map(|(name, held)| SecretSummary {
            name: name.to_string(),
            kind: held.kind.to_wire().into(),
            version: held.version,
            ..SecretSummary::default()
        });
    CommandResult {
        manifest_version: state.manifest_version(),
        secrets: named.chain(unnamed).collect(),
        ..CommandResult::default()
    }
}

/// The manifest in force (`version` 0; nothing before the first), or one that is or
/// was.
pub(super) async fn manifest(
    state: &State,
    store: &Store,
    version: u64,
) -> Result<CommandResult, AdministrationError> {
    let signed = match version {
        0 => state.signed_manifest().cloned().unwrap_or_else(|| SignedManifest::unsigned("")),
        _ if version == state.manifest_version() => {
            state.signed_manifest().cloned().ok_or(AdministrationError::NoManifest { version })?
        }
        _ => {
            let found = blocking(store, move |store| store.manifest(version)).await?;
            found.ok_or(AdministrationError::NoManifest { version })?
        }
    };
    Ok(CommandResult {
        manifest_version: state.manifest_version(),
        manifest: signed.text.into_bytes(),
        manifest_signatures: signed.approvals.iter().map(OwnerApproval::to_wire).collect(),
        ..CommandResult::default()
    })
}

/// The manifests there ever were below version `before` (0: all), or those of them
/// that changed the owners; the newest first.
pub(super) async fn history(
    state: &State,
    store: &Store,
    before: u64,
    count: u32,
    changing_owners: bool,
) -> Result<CommandResult, AdministrationError> {
    let count = usize::try_from(count).unwrap_or(usize::MAX).min(MAXIMUM_LISTED);
    let changes = state.role_changes.clone();
    let manifests = blocking(store, move |store| {
        let changed = |version: u64| changes.iter().any(|change| change.version == version);
        let wanted =
            |version: &u64| (before == 0 || *version < before) && (!changing_owners || changed(*version));
        let versions = store.manifest_versions()?.into_iter().rev().filter(wanted).take(count);
        let mut manifests = Vec::new();
        for version in versions {
            // Versions are never taken away.
            let Some(signed) = store.manifest(version)? else { continue };
            manifests.push(ManifestSummary {
                version,
                text_digest: signed.digest().0.to_vec(),
                signers: signed.approvals.iter().map(|approval| approval.owner.0.to_vec()).collect(),
                changes_owners: changed(version),
            });
        }
        Ok(manifests)
    })
    .await?;
    Ok(CommandResult { manifest_version: state.manifest_version(), manifests, ..CommandResult::default() })
}

/// At most `count` audit records from number `first` on (0: the last ones), and a
/// checkpoint over all there are.
pub(super) async fn audit(
    state: &State,
    log: &AuditLog,
    first: u64,
    count: u32,
) -> Result<CommandResult, AdministrationError> {
    let (records, checkpoint) = log.read(first, count).await?;
    Ok(CommandResult {
        manifest_version: state.manifest_version(),
        audit: records.into_iter().map(entry).collect(),
        audit_checkpoint: checkpoint,
        ..CommandResult::default()
    })
}

async fn blocking<T: Send + 'static>(
    store: &Store,
    read: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let store = store.clone();
    tokio::task::spawn_blocking(move || read(&store)).await.map_err(|_| StoreError::Closed)?
}
