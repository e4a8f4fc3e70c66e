//! From a measured configuration to the secrets it names.
//!
//! The broker is verified before it is asked for anything: the session opens
//! only with a broker whose code and genesis are the pinned ones. While it can't
//! be reached or says to come back later, it is tried again, with full jitter; a
//! refusal ends the matter at once.

mod backoff;
mod broker;

use std::time::Duration;

use adytum_api::names::SecretName;
use adytum_ratls::error::{Refusal, SessionError};
use tokio::time::Instant;

pub use self::{
    backoff::{Backoff, Jitter, RandomJitter},
    broker::{AnyOf, AttestedBroker, Broker},
};
use crate::{
    configuration::MeasuredConfiguration,
    error::exit_code,
    secret::{AnswerError, Released},
};

/// Why one attempt brought no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// No attested session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The broker refused the request, or could not serve it.
    #[error("the broker at {peer} refused: {refusal}")]
    Refused {
        /// The address.
        peer: String,
        /// Its reason.
        refusal: Refusal,
    },
    /// The broker answered with something else.
    #[error(transparent)]
    Answer(#[from] AnswerError),
}

impl AttemptError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Session(error) => error.code(),
            Self::Refused { refusal, .. } => &refusal.code,
            Self::Answer(_) => "answer-malformed",
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Session(error) => error.retry(),
            Self::Refused { refusal, .. } => refusal.retry,
            Self::Answer(_) => false,
        }
    }
}

/// Why there are no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Trying again would not help.
    #[error("{0}")]
    Refused(AttemptError),
    /// The time is over.
    #[error(
        "no secrets from the broker within {limit:?}, after {attempts} attempts; the last one: {last}; check the \
         broker's address and that it runs, or allow more time with --fetch-timeout"
    )]
    Unreachable {
        /// The time allowed.
        limit: Duration,
        /// How often it was tried.
        attempts: u64,
        /// Why the last attempt failed.
        last: AttemptError,
    },
}

impl FetchError {
    /// Stable code for logs and answers: that of the attempt that failed.
    pub fn code(&self) -> &str {
        match self {
            Self::Refused(error) | Self::Unreachable { last: error, .. } => error.code(),
        }
    }

    /// What a process that fails with this ends with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Refused(AttemptError::Session(
                SessionError::Attester { .. } | SessionError::Local { .. },
            )) => exit_code::SYSTEM,
            // Whatever listens there is no broker.
            Self::Refused(AttemptError::Session(SessionError::Tls { .. })) => exit_code::UNREACHABLE,
            Self::Refused(_) => exit_code::REFUSED,
            Self::Unreachable { .. } => exit_code::UNREACHABLE,
        }
    }
}

/// Fetches the secrets of a configuration.
pub struct Fetcher<B> {
    broker: B,
    backoff: Backoff,
    limit: Option<Duration>,
}

impl<B: Broker> Fetcher<B> {
    /// Asks this broker; without a limit, for ever.
    pub fn new(broker: B, backoff: Backoff, limit: Option<Duration>) -> Self {
        Self { broker, backoff, limit }
    }

    /// Fetches all secrets that the configuration names. Time is tokio's.
    pub async fn fetch(&mut self, configuration: &MeasuredConfiguration) -> Result<Released, FetchError> {
        let names: Vec<&SecretName> = configuration.secrets().keys().collect();
        let start = Instant::now();
        self.backoff.reset();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.broker.secrets(&names).await {
                Ok(answer) => match Released::from_wire(answer, &names) {
                    Ok(released) => return Ok(released),
                    Err(error) => return Err(FetchError::Refused(error.into())),
                },
                Err(error) => error,
            };
            if !error.retry() {
                return Err(FetchError::Refused(error));
            }
            let delay = self.backoff.next_delay();
            if let Some(limit) = self.limit
                && start.elapsed() + delay > limit
            {
                return Err(FetchError::Unreachable { limit, attempts, last: error });
            }
            tracing::warn!(
                code = error.code(),
                attempt = attempts,
                retry_in_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
                "no secrets yet: {error}"
            );
            tokio::time::sleep(delay).await;
        }
    }
}

#[cfg(test)]
mod tests;
