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
//! let released = adytum_init::unlock(arguments, &configuration, adytum_init::Program::This).await?;
//! let key = released.secrets["model_key"].as_bytes();
//! # let _ = key;
//! # Ok(())
//! # }
//! ```
//!
//! Order of things, each before the next: the configuration; arguments,
//! environment, program and libraries against it; the places that secrets go to;
//! the TEE; the broker, which is verified before it is asked.

#![deny(unsafe_code)]

pub mod arguments;
pub mod bundles;
pub mod configuration;
mod confinement;
pub mod delivery;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod hardening;
pub mod logging;
pub mod pattern;
pub mod process;
pub mod program;
mod secret;
mod syscall;
pub mod tee;

use std::sync::Arc;

use adytum_evidence::{clock::SystemClock, measurement::Sha256Digest};
use adytum_ratls::session::LocalAttestation;
use bytes::Bytes;

pub use self::{
    configuration::{Measurement, measure},
    confinement::{check_arguments_of_this_process, confine_this_process},
    error::InitError,
    secret::{AnswerError, Released, SecretKind, SecretValue},
};
use crate::{
    arguments::AttestationArguments,
    configuration::MeasuredConfiguration,
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

/// Fetches the secrets of a configuration: finds the TEE, verifies the broker,
/// asks, and tries again while trying again makes sense. Secrets whose
/// destination is a file or a descriptor are returned as well;
/// [`delivery::Places`] puts them there.
///
/// Cancelling the future ends everything it began.
pub async fn unlock(
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
    program: Program,
) -> Result<Released, InitError> {
    let tee = Tee::find(arguments, configuration, program).await?;
    if program == Program::This {
        program::check_mapped_libraries(configuration, tee.platform)?;
    }
    unlock_with(&tee, arguments, configuration).await
}

/// As [`unlock`], with a TEE already found.
pub async fn unlock_with(
    tee: &Tee,
    arguments: &AttestationArguments,
    configuration: &MeasuredConfiguration,
) -> Result<Released, InitError> {
    let address = tee::broker_address(arguments, configuration)?;
    let verifier = tee::verifier(arguments, configuration, Arc::new(SystemClock))?;
    // A workload says nothing about itself that its evidence does not.
    let local = LocalAttestation { attester: tee.attester.clone(), claims: Arc::new(Bytes::new) };
    tracing::info!(
        broker = address,
        genesis = %configuration.broker().genesis,
        platform = tee.attester.platform(),
        "asking the broker for {} secrets",
        configuration.secrets().len()
    );
    let broker = AttestedBroker::new(configuration, address, verifier, local);
    let mut fetcher = Fetcher::new(broker, Backoff::default(), arguments.fetch_timeout);
    let released = fetcher.fetch(configuration).await?;
    tracing::info!(
        manifest_version = released.manifest_version,
        secrets = released.secrets.len(),
        models = released.models.len(),
        "the broker released the secrets"
    );
    Ok(released)
}
