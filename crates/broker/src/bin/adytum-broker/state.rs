//! The state that the flags name, as it is found: open, sealed elsewhere, handed
//! over, or another broker's until it gives it away.

use std::{path::Path, sync::Arc};

use adytum_broker::{
    clock::FloorClock,
    start::{
        opening::{self, Opening},
        recovery::RecoveryRecord,
        standby::Cause,
        taking::{HandedRootKey, TakeOver},
    },
    store::{LoadedState, LockedStore, Store, StoreError},
};
use adytum_evidence::{attester::SealingKey, measurement::Sha256Digest};
use adytum_governance::genesis::Genesis;
use anyhow::Context as _;

use crate::{arguments::Arguments, configuration, tee::Tee};

/// Which broker this is, and where.
pub(crate) struct BrokerBasis {
    pub(crate) genesis: Genesis,
    /// The digest of the Occlum configuration that was loaded.
    pub(crate) occlum: Option<Sha256Digest>,
    pub(crate) tee: Tee,
    pub(crate) clock: Arc<FloorClock>,
}

/// A state that is open.
pub(crate) struct OpenState {
    pub(crate) store: (Store, LoadedState),
    /// From whom it was taken over, if it was just now.
    pub(crate) handed: Option<HandedRootKey>,
    /// By whom it was recovered, if it was just now.
    pub(crate) recovered: Option<RecoveryRecord>,
}

/// What a start finds.
pub(crate) enum Found {
    Open(Box<OpenState>),
    Standby(Cause),
}

/// Opens the state, or says why it can't be.
pub(crate) async fn open(arguments: &Arguments, founded: &BrokerBasis) -> anyhow::Result<Found> {
    let open = |store, handed| Found::Open(Box::new(OpenState { store, handed, recovered: None }));
    let genesis = founded.genesis.digest();
    let Some(directory) = &arguments.state_directory else {
        tracing::warn!("no --state-directory: nothing outlives this process");
        return Ok(open(Store::in_memory(genesis)?, None));
    };
    let attester = &founded.tee.attester;
    let sealing = attester.sealing_key().context("the TEE's sealing key")?;
    if sealing.is_none() {
        tracing::warn!(
            tee = %attester.platform(),
            "this TEE has no sealing key: after a restart the root key must be recovered with shares, or taken over"
        );
    }
    let from = arguments.take_over_from.as_deref().zip(arguments.upgrade_authorisation.as_deref());
    let found = match from {
        None => opening::open(LockedStore::open(directory, genesis)?, sealing)?,
        Some((from, authorisation)) => match opened_here(directory, founded, sealing)? {
            Some(opened) => Opening::Open(opened),
            None => {
                let (store, handed) = take_over(founded, from, authorisation, directory).await?;
                return Ok(open(store, Some(handed)));
            }
        },
    };
    Ok(match found {
        Opening::Open(store) => open(*store, None),
        Opening::Awaiting(awaiting) => Found::Standby(Cause::Awaiting(awaiting.into())),
        Opening::Fenced(fenced) => Found::Standby(Cause::Fenced(fenced.into())),
    })
}

/// The state, if it was taken over before: a broker that was started with these flags is
/// restarted with them.
fn opened_here(
    directory: &Path,
    founded: &BrokerBasis,
    sealing: Option<SealingKey>,
) -> anyhow::Result<Option<Box<(Store, LoadedState)>>> {
    let locked = match LockedStore::open_existing(directory, founded.genesis.digest()) {
        Ok(locked) if !locked.is_new()? => locked,
        Ok(_) | Err(StoreError::NoState { .. } | StoreError::InUse { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match opening::open(locked, sealing) {
        Ok(Opening::Open(opened)) => Ok(Some(opened)),
        Ok(_) | Err(StoreError::Unsealing { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn take_over(
    founded: &BrokerBasis,
    from: &str,
    authorisation: &Path,
    directory: &Path,
) -> anyhow::Result<((Store, LoadedState), HandedRootKey)> {
    let authorisation = configuration::upgrade_authorisation(authorisation)?;
    let asked = TakeOver {
        from,
        authorisation: &authorisation,
        genesis: founded.genesis.digest(),
        occlum: founded.occlum,
        attester: Arc::clone(&founded.tee.attester),
        collateral: Arc::clone(&founded.tee.collateral),
        clock: founded.clock.clone(),
    };
    let handed = asked.ask().await.with_context(|| format!("taking over from {from}"))?;
    let directory = directory.to_owned();
    tokio::task::spawn_blocking(move || {
        let store = handed.open(&directory).with_context(|| directory.display().to_string())?;
        Ok((store, handed))
    })
    .await?
}
