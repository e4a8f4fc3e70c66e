//! From a measured configuration to the secrets it names, and what keeps the right to
//! them.

use std::{sync::Arc, time::Duration};

use adytum_evidence::clock::{
    SystemClock,
    floor::{FloorClock, FloorOrigin},
};

use crate::{
    arguments::AttestationArguments,
    cdh::CdhError,
    configuration::{MeasuredConfiguration, PinnedSource},
    error::InitError,
    evidence_port::EvidencePort,
    fetch::{
        AecsSource, AttestedBroker, Backoff, FetchError, Fetcher, KbsSource, KeySource, NoSecrets,
        VaultSource, token_attester,
    },
    program,
    renewal::Renewal,
    sealed_secrets::SealedSecretError,
    secret::Released,
    tee::{self, Program, Tee},
};

/// The released secrets, and the renewal that keeps them so.
#[derive(Debug)]
pub struct Unlocked {
    /// The secrets and more.
    pub released: Released,
    /// Is to be run as long as they are used.
    pub renewal: Renewal,
    /// Where it runs, and what it is.
    pub tee: Tee,
    /// Shows evidence as long as it is kept, if it was asked for.
    pub evidence_port: Option<EvidencePort>,
}

/// Fetches the secrets of a configuration, with what keeps the right to them: finds the
/// TEE, verifies the key source, asks, and tries again while trying again makes sense.
/// Secrets whose destination is a file or a descriptor are returned as well;
/// [`Places`](crate::delivery::Places) puts them there.
///
/// Cancelling the future ends everything it began.
pub async fn unlock(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    program: Program,
) -> Result<Unlocked, InitError> {
    let tee = Tee::find(arguments, configuration, program).await?;
    if program == Program::This {
        if !configuration.cdh().is_empty() {
            return Err(CdhError::NotServed.into());
        }
        if !configuration.sealed().is_empty() {
            return Err(SealedSecretError::NotOpened.into());
        }
        program::check_mapped_libraries(configuration, tee.platform)?;
    }
    let evidence_port = match &arguments.evidence_listen {
        Some(at) => Some(EvidencePort::open(at, &tee).await?),
        None => None,
    };
    let (released, renewal) = unlock_with(&tee, arguments, configuration).await?;
    Ok(Unlocked { released, renewal, tee, evidence_port })
}

/// As [`unlock`], with a TEE already found and no port for evidence.
pub async fn unlock_with(
    tee: &Tee,
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
) -> Result<(Released, Renewal), InitError> {
    let clock = Arc::new(FloorClock::new(Arc::new(SystemClock)));
    clock.states(FloorOrigin::Configuration, configuration.not_before());
    let source = source(tee, arguments, configuration, &clock)?;
    let mut fetcher = Fetcher::new(source, configuration, clock);
    let mut backoff = Backoff::default();
    let (released, asked) = fetcher.fetch(&mut backoff, arguments.fetch_timeout).await?;
    let seconds = |duration: Option<Duration>| duration.map(|duration| duration.as_secs());
    tracing::info!(
        manifest_version = released.manifest_version(),
        secrets = released.secrets.len(),
        models = released.models.len(),
        lease_seconds = seconds(released.lease.map(|lease| lease.duration)),
        grace_seconds = seconds(released.lease.map(|lease| lease.grace)),
        "the key source released the secrets"
    );
    let renewal = Renewal::new(fetcher, backoff, released.lease, asked);
    Ok((released, renewal))
}

/// The key source that the configuration pins, and no other.
fn source(
    tee: &Tee,
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    clock: &Arc<FloorClock>,
) -> Result<Box<dyn KeySource>, InitError> {
    let count = configuration.secrets().len();
    let platform = tee.attester.platform();
    let address = || tee::source_address(arguments, configuration);
    let verifier = || tee::verifier(arguments, configuration, clock.clone());
    let collateral = || tee::collateral_for(arguments, configuration, clock.clone());
    Ok(match configuration.source() {
        PinnedSource::Broker(broker) => {
            let (address, verifier) = (address()?, verifier()?);
            let genesis = broker.genesis;
            tracing::info!(broker = address, %genesis, %platform, "asking the broker for {count} secrets");
            let local = match &broker.azure_attestation {
                None => tee.local_attestation(),
                Some(pinned) => {
                    tracing::info!(
                        service = pinned.service,
                        "the broker is shown a token of Azure Attestation"
                    );
                    // Only a report of SEV-SNP goes with collateral.
                    let attester = token_attester(pinned, tee.attester.clone(), collateral().ok());
                    tee.local_attestation_by(attester.map_err(FetchError::Refused)?)
                }
            };
            Box::new(AttestedBroker::new(broker, address, verifier, local, clock.clone()))
        }
        PinnedSource::Aecs(aecs) => {
            let (address, verifier) = (address()?, verifier()?);
            tracing::info!(server = address, %platform, "asking AECS for {count} secrets");
            let attester = tee.attester.clone();
            Box::new(AecsSource::new(aecs, configuration, address, verifier, attester, collateral()?))
        }
        PinnedSource::KeyVault(vault) => {
            tracing::info!(vault = %vault.vault, %platform, "asking Key Vault for {count} keys");
            let attester = tee.attester.clone();
            // Only a report of SEV-SNP goes with collateral.
            let collateral = collateral().ok();
            let source =
                VaultSource::new(vault, configuration, address().ok(), attester, collateral, clock.clone());
            Box::new(source.map_err(FetchError::Refused)?)
        }
        PinnedSource::Kbs(kbs) => {
            tracing::info!(url = kbs.url, %platform, "asking a KBS for {count} secrets");
            let source = KbsSource::new(kbs, configuration, address().ok(), tee.attester.clone());
            Box::new(source.map_err(FetchError::Refused)?)
        }
        PinnedSource::Nothing(_) => Box::new(NoSecrets),
    })
}
