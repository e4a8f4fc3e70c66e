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
//! let path = adytum_init::tee::configuration_path(&arguments)?;
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
pub mod attestation_token;
pub mod bundles;
pub mod cdh;
pub mod certificate;
pub mod configuration;
mod confinement;
pub mod delivery;
pub mod environment;
pub mod error;
pub mod evidence_port;
pub mod exit_code;
pub mod fetch;
#[cfg(test)]
mod fixture;
pub mod hardening;
pub mod health;
mod holdings;
mod http_port;
pub mod logging;
pub mod pattern;
pub mod platform;
pub mod process;
pub mod program;
pub mod renewal;
pub mod sealed_pointer;
pub mod sealed_secrets;
mod secret;
mod ssl_config;
mod syscall;
pub mod tee;
pub mod termination;
mod unlock;

pub use crate::{
    answer::AnswerError,
    configuration::{Measurement, measure},
    confinement::{check_arguments_of_this_process, confine_this_process},
    error::InitError,
    secret::{Lease, Released, SecretKind, SecretValue},
    tee::Program,
    unlock::{Unlocked, unlock, unlock_with},
};
