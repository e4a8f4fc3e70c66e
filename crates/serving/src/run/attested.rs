//! What answers attested sessions, from the flags.

use std::sync::Arc;

use adytum_evidence::clock::SystemClock;
use adytum_governance::manifest::ManifestInForce;
use adytum_init::{
    InitError,
    configuration::MeasuredConfiguration,
    tee::{self, Tee},
};
use tokio::{runtime::Handle, sync::watch};

use super::ServeError;
use crate::{
    attested::{AttestedPort, Origin},
    flags::Flags,
    models::Models,
};

/// Answers attested sessions with this TEE's evidence, unless a flag forbids that. Quotes are made
/// on the runtime that calls.
pub(super) fn port(
    flags: &Flags,
    configuration: &MeasuredConfiguration,
    tee: &Tee,
    models: &Models,
    manifest: watch::Receiver<Option<ManifestInForce>>,
) -> Result<Option<AttestedPort>, ServeError> {
    if !flags.attested_sessions {
        return Ok(None);
    }
    // Clients pin a broker's genesis. A replica that no broker gave its keys has none to show.
    let Some(broker) = configuration.broker() else {
        tracing::info!("no attested sessions: the key source is not a broker of Adytum");
        return Ok(None);
    };
    let collateral =
        tee::collateral_source(&flags.attestation, Arc::new(SystemClock)).map_err(InitError::from)?;
    let genesis = broker.genesis;
    let origin = Origin { identity: tee.identity, genesis, manifest };
    let per_second = flags.attested_sessions_per_second;
    let attester = Arc::clone(&tee.attester);
    tracing::info!(identity = %tee.identity, %genesis, per_second, "answering attested sessions");
    Ok(Some(AttestedPort::new(attester, collateral, origin, models.clone(), per_second, Handle::current())))
}
