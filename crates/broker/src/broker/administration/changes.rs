//! Commands that change what a broker holds: from one state to the next.

use std::{collections::BTreeSet, sync::Arc};

use adytum_api::{broker::CommandResult, names::SecretName};
use adytum_evidence::clock::UnixSeconds;
use adytum_governance::{
    command::SecretBytes,
    genesis::Genesis,
    manifest::{Contents, SignedManifest},
    rules::admit,
    secrets::{SecretKind, SecretValue, StoredSecret},
};
use adytum_signing::OwnerPublicKey;

use super::AdministrationError;
use crate::{
    broker::state::{MAXIMUM_TOTAL_LENGTH, State},
    certificate_authority::CertificateAuthority,
};

/// The state after a change, and the answer to the command.
pub(super) struct Change {
    pub(super) next: State,
    pub(super) result: CommandResult,
}

/// Makes values: whose certificate authority, and when.
#[derive(Clone, Copy)]
pub(super) struct ValueMaker<'a> {
    pub(super) genesis: &'a Genesis,
    pub(super) now: UnixSeconds,
}

pub(super) fn apply_manifest(
    maker: ValueMaker<'_>,
    state: &State,
    signed: SignedManifest,
) -> Result<Change, AdministrationError> {
    let admitted = admit(maker.genesis, &state.roles.owners, state.manifest_version(), signed)?;
    let manifest_version = admitted.manifest.version;
    let mut next = state.with_manifest(admitted);
    make_values(maker, &mut next)?;
    Ok(Change { next, result: CommandResult { manifest_version, ..CommandResult::default() } })
}

/// Makes what the manifest in force wants the broker to make and that is not there:
/// values of new names, of another kind than before, of another length; certificates
/// on other terms, of which only the version is kept. What an owner removed stays away
/// until an owner rotates it.
fn make_values(maker: ValueMaker<'_>, state: &mut State) -> Result<(), AdministrationError> {
    let Some(admitted) = state.admitted.clone() else { return Ok(()) };
    for (name, rule) in &admitted.manifest.secrets {
        let kind = rule.kind();
        let held = state.secrets.get(name).filter(|held| held.kind == kind);
        if matches!(rule.contents, Contents::Opaque | Contents::AgeIdentity)
            || held.is_some_and(|held| held.value.is_none())
        {
            continue;
        }
        let held = held.and_then(|held| held.value.clone());
        let value = match (&rule.contents, &held) {
            (Contents::Random { length }, Some(held)) if held.expose().len() == *length => continue,
            (contents, _) => make(maker, state, name, contents)?,
        };
        if held.as_ref() != Some(&value) {
            keep(state, name.clone(), kind, value, &admitted.owners);
        }
    }
    within_total(state)
}

/// A new value, or for certificates the terms on which they are issued now. The first
/// certificate needs an authority, which is made, too.
fn make(
    maker: ValueMaker<'_>,
    state: &mut State,
    name: &SecretName,
    contents: &Contents,
) -> Result<SecretValue, AdministrationError> {
    let kind = contents.kind();
    match contents {
        Contents::Opaque | Contents::AgeIdentity => {
            Err(AdministrationError::NotMadeHere { name: name.clone(), kind })
        }
        Contents::Random { length } => SecretValue::random(*length)
            .map_err(|source| AdministrationError::Value { name: name.clone(), source }),
        Contents::TlsCertificate(rule) | Contents::SslConfig(rule, _) => {
            let authority = match &state.authority {
                Some(authority) => Arc::clone(authority),
                None => Arc::new(CertificateAuthority::found(maker.genesis.digest(), maker.now)?),
            };
            state.authority = Some(Arc::clone(&authority));
            Ok(SecretValue::terms(authority.terms(contents, rule)))
        }
    }
}

/// Puts a value in the place of the previous one; its version is one higher.
fn keep(
    state: &mut State,
    name: SecretName,
    kind: SecretKind,
    value: SecretValue,
    owners: &BTreeSet<OwnerPublicKey>,
) -> u64 {
    let version = state.secrets.get(&name).map_or(0, |former| former.version).saturating_add(1);
    let changed_by = owners.iter().copied().collect();
    state.secrets.insert(name, StoredSecret { kind, value: Some(value), version, changed_by });
    version
}

fn within_total(state: &State) -> Result<(), AdministrationError> {
    let found = state.total_length();
    if found > MAXIMUM_TOTAL_LENGTH { Err(AdministrationError::TotalTooLarge { found }) } else { Ok(()) }
}

pub(super) fn put_secret(
    state: &State,
    name: SecretName,
    value: SecretBytes,
    owners: &BTreeSet<OwnerPublicKey>,
) -> Result<Change, AdministrationError> {
    let manifest_version = state.manifest_version();
    let rule = state.manifest().and_then(|manifest| manifest.secrets.get(&name));
    let Some(rule) = rule else {
        return Err(AdministrationError::SecretNotNamed { name, manifest_version });
    };
    let value = SecretValue::parse(rule.kind(), value.0)
        .map_err(|source| AdministrationError::Value { name: name.clone(), source })?;
    let mut next = state.clone();
    let secret_version = keep(&mut next, name, rule.kind(), value, owners);
    within_total(&next)?;
    Ok(Change {
        next,
        result: CommandResult { manifest_version, secret_version, ..CommandResult::default() },
    })
}

pub(super) fn remove_secret(
    state: &State,
    name: SecretName,
    owners: &BTreeSet<OwnerPublicKey>,
) -> Result<Change, AdministrationError> {
    let mut next = state.clone();
    match next.secrets.get_mut(&name) {
        Some(stored) if stored.value.is_some() => {
            stored.value = None;
            stored.changed_by = owners.iter().copied().collect();
            let secret_version = stored.version;
            let manifest_version = state.manifest_version();
            let result = CommandResult { manifest_version, secret_version, ..CommandResult::default() };
            Ok(Change { next, result })
        }
        _ => Err(AdministrationError::NoValue { name }),
    }
}

pub(super) fn rotate_secret(
    maker: ValueMaker<'_>,
    state: &State,
    name: SecretName,
    owners: &BTreeSet<OwnerPublicKey>,
) -> Result<Change, AdministrationError> {
    let manifest_version = state.manifest_version();
    let rule = state.manifest().and_then(|manifest| manifest.secrets.get(&name));
    let Some(rule) = rule else {
        return Err(AdministrationError::SecretNotNamed { name, manifest_version });
    };
    let kind = rule.kind();
    let mut next = state.clone();
    let value = make(maker, &mut next, &name, &rule.contents)?;
    let secret_version = keep(&mut next, name, kind, value, owners);
    within_total(&next)?;
    Ok(Change {
        next,
        result: CommandResult { manifest_version, secret_version, ..CommandResult::default() },
    })
}

/// Another key for the certificate authority. Certificates of the previous key are
/// out of date, so that replicas fetch new ones.
pub(super) fn rotate_authority(maker: ValueMaker<'_>, state: &State) -> Result<Change, AdministrationError> {
    let authority = state.authority.as_ref().ok_or(AdministrationError::NoAuthority)?;
    let mut next = state.clone();
    next.authority = Some(Arc::new(authority.rotated(maker.genesis.digest(), maker.now)?));
    make_values(maker, &mut next)?;
    let manifest_version = state.manifest_version();
    Ok(Change { next, result: CommandResult { manifest_version, ..CommandResult::default() } })
}
