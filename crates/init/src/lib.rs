//! Init: from a measured configuration to a program that has its secrets.
//!
//! A program may have init as a library (our own server does): it calls
//! [`confine_this_process`] first and then [`unlock`], and the secrets never
//! cross a process boundary. For any other program, the binary `adytum-init` is
//! the parent process; see [`program`] and [`process`].
//!
//! ```no_run
//! # use adytum_init::{arguments::AttestationArguments, configuration::MeasuredConfiguration};
//! # async fn example(arguments: &AttestationArguments) -> Result<(), adytum_init::error::InitError> {
//! let path = MeasuredConfiguration::path(arguments.configuration.as_deref());
//! let configuration = MeasuredConfiguration::load(&path)?;
//! adytum_init::confine_this_process(&configuration, &["log-format"])?;
//! let unlocked = adytum_init::unlock(arguments, &configuration, adytum_init::Program::This).await?;
//! let key = unlocked.released.secrets["model_key"].as_bytes();
//! # let _ = key;
//! // Beside the work, as long as it lasts: keeps the lease, and hands in what changes.
//! let end = unlocked.renewal.run(|_changed| Ok::<_, std::convert::Infallible>(())).await;
//! # let _ = end;
//! # Ok(())
//! # }
//! ```
//!
//! Order of things, each before the next: the configuration; arguments,
//! environment, program and libraries against it; the places that secrets go to;
//! the TEE; the broker, which is verified before it is asked. Then, as long as the
//! program runs, the lease ([`renewal`]).

#![deny(unsafe_code)]

mod answer;
pub mod arguments;
pub mod bundles;
pub mod certificate;
pub mod configuration;
mod confinement;
pub mod delivery;
pub mod environment;
pub mod error;
pub mod evidence_port;
pub mod fetch;
pub mod hardening;
pub mod health;
mod holdings;
pub mod logging;
pub mod pattern;
pub mod process;
pub mod program;
pub mod renewal;
mod secret;
mod ssl_config;
mod syscall;
pub mod tee;
pub mod termination;

use std::sync::Arc;

use adytum_evidence::{clock::SystemClock, measurement::Sha256Digest};
use adytum_ratls::session::LocalAttestation;
use bytes::Bytes;

pub use crate::{
    answer::AnswerError,
    configuration::{Measurement, measure},
    confinement::{check_arguments_of_this_process, confine_this_process},
    error::InitError,
    fetch::Unlocked,
    secret::{Lease, Released, SecretKind, SecretValue},
};
use crate::{
    arguments::AttestationArguments,
    configuration::MeasuredConfiguration,
    evidence_port::EvidencePort,
    fetch::{AttestedBroker, Backoff, Fetcher},
    tee::Tee,
};

/// Which program the secrets are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// This one: init is a library in it.
    This,
    /// One that init starts, of this digest.
    Child(Sha256Digest),
}

/// Fetches the secrets of a configuration, with what keeps the right to them: finds the TEE, verifies the broker,
/// asks, and tries again while trying again makes sense. Secrets whose
/// destination is a file or a descriptor are returned as well;
/// [`delivery::Places`] puts them there.
///
/// Cancelling the future ends everything it began.
pub async fn unlock(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    program: Program,
) -> Result<Unlocked, InitError> {
    let tee = Tee::find(arguments, configuration, program).await?;
    if program == Program::This {
        program::check_mapped_libraries(configuration, tee.platform)?;
    }
    let evidence_port = match &arguments.evidence_listen {
        Some(at) => Some(EvidencePort::open(at, &tee).await?),
        None => None,
    };
    Ok(Unlocked { evidence_port, ..unlock_with(&tee, arguments, configuration).await? })
}

/// As [`unlock`], with a TEE already found and no port for evidence.
pub async fn unlock_with(
    tee: &Tee,
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
) -> Result<Unlocked, InitError> {
    let address = tee::broker_address(arguments, configuration)?;
    let verifier = tee::verifier(arguments, configuration, Arc::new(SystemClock))?;
    // A workload says nothing about itself that its evidence does not.
    let local = LocalAttestation { attester: tee.attester.clone(), announcement: Arc::new(Bytes::new) };
    tracing::info!(
        broker = address,
        genesis = %configuration.broker().genesis,
        platform = tee.attester.platform(),
        "asking the broker for {} secrets",
        configuration.secrets().len()
    );
    let broker = AttestedBroker::new(configuration, address, verifier, local);
    let fetcher = Fetcher::new(broker, configuration, Arc::new(SystemClock));
    let unlocked = fetcher.fetch(Backoff::default(), arguments.fetch_timeout).await?;
    let released = &unlocked.released;
    tracing::info!(
        manifest_version = released.manifest_version,
        secrets = released.secrets.len(),
        models = released.models.len(),
        lease_seconds = released.lease.duration.as_secs(),
        grace_seconds = released.lease.grace.as_secs(),
        "the broker released the secrets"
    );
    Ok(unlocked)
}
