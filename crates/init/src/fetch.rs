//! From a measured configuration to the secrets it names.
//!
//! There is one key source for a configuration: our broker, or another one
//! ([`KeySource`]). It is verified before anything that it says is believed: a session opens
//! only with a broker whose code and genesis are the pinned ones, and other sources prove
//! themselves in their own protocols. While a source can't
//! be reached or says to come back later, it is tried again, with full jitter; a
//! refusal ends the matter at once.

mod backoff;
mod broker;
mod foreign;
mod given;

use std::{sync::Arc, time::Duration};

use adytum_api::{names::SecretName, refusal::RefusalKind};
use adytum_evidence::{attester::AttesterError, clock::Clock};
use adytum_ratls::error::{Refusal, SessionError};
use adytum_sources::{aecs::AecsError, azure::AzureError, kbs::KbsError};
use async_trait::async_trait;
use tokio::time::Instant;

pub use self::backoff::{Backoff, Jitter, RandomJitter};
pub(crate) use self::{
    broker::AttestedBroker,
    foreign::{AecsSource, KbsSource, NoSecrets, VaultSource, token_attester},
};
use crate::{
    answer::{Answer, AnswerError},
    certificate::{CertificateKey, KeyError},
    configuration::MeasuredConfiguration,
    exit_code,
    holdings::Holdings,
    secret::Released,
};

/// Gives secrets, or says why not.
#[async_trait]
pub(crate) trait KeySource: Send + Sync {
    /// All of these, or none; certificates for this key, if there is one.
    async fn secrets(
        &self,
        names: &[&SecretName],
        certificate: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError>;
}

/// Why one attempt brought no secrets.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttemptError {
    /// No attested session with the broker came about.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// The broker refused the request, or could not serve it.
    #[error("the broker at {peer} refused: {refusal}")]
    Refused { peer: String, refusal: Refusal },
    /// The broker's answer is not one that this program can read.
    ///
    /// Do: use the same release of the broker and of `adytum-init`.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No key could be made for a certificate.
    ///
    /// Do: read the reason in the message; check the certificate's entry in the measured
    /// configuration.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// AECS gave no secrets, or was not believed.
    #[error(transparent)]
    Aecs(#[from] Box<AecsError>),
    /// Azure gave no keys, or was not believed.
    #[error(transparent)]
    Azure(#[from] Box<AzureError>),
    /// A KBS gave no secrets, or was not believed.
    #[error(transparent)]
    Kbs(#[from] Box<KbsError>),
}

impl From<KbsError> for AttemptError {
    fn from(error: KbsError) -> Self {
        Self::Kbs(Box::new(error))
    }
}

impl From<AzureError> for AttemptError {
    fn from(error: AzureError) -> Self {
        Self::Azure(Box::new(error))
    }
}

impl From<AecsError> for AttemptError {
    fn from(error: AecsError) -> Self {
        Self::Aecs(Box::new(error))
    }
}

impl AttemptError {
    /// Stable code for logs and answers.
    pub fn code(&self) -> &str {
        match self {
            Self::Session(error) => error.code(),
            Self::Refused { refusal, .. } => &refusal.code,
            Self::Answer(_) => "answer-malformed",
            Self::Key(_) => "certificate-key-failed",
            Self::Aecs(error) => error.code(),
            Self::Azure(error) => error.code(),
            Self::Kbs(error) => error.code(),
        }
    }

    /// May the same attempt succeed later?
    pub fn retry(&self) -> bool {
        match self {
            Self::Session(error) => error.retry(),
            Self::Refused { refusal, .. } => refusal.retry,
            Self::Answer(_) | Self::Key(_) => false,
            Self::Aecs(error) => error.retry(),
            Self::Azure(error) => error.retry(),
            Self::Kbs(error) => error.retry(),
        }
    }

    /// When the broker asks to be tried again.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Session(
                SessionError::RefusedByPeer { refusal, .. } | SessionError::Refused { refusal, .. },
            )
            | Self::Refused { refusal, .. } => refusal.retry_after(),
            Self::Session(_)
            | Self::Answer(_)
            | Self::Key(_)
            | Self::Aecs(_)
            | Self::Azure(_)
            | Self::Kbs(_) => None,
        }
    }

    /// Does the broker itself, once it has proved to be the pinned one, say that
    /// this replica may no longer have what it has? A secret without a value is such a
    /// verdict: to a replica that waits for its first value it means "later". A stranger may
    /// have caused every other failure: then the lease decides.
    pub fn is_revocation(&self) -> bool {
        match self {
            Self::Refused { refusal, .. }
            | Self::Session(SessionError::RefusedByPeer { refusal, verified: true, .. }) => {
                refusal.kind == RefusalKind::Verdict
            }
            _ => false,
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
        "no secrets from the key source within {limit:?}, after {attempts} attempts; the last one: {last}; check its \
         address (--broker) and that it runs, or allow more time with --fetch-timeout"
    )]
    Unreachable {
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
            Self::Refused(AttemptError::Session(SessionError::Attester {
                source: AttesterError::Service { .. },
                ..
            })) => exit_code::REFUSED,
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

/// Fetches the secrets of a configuration, for the first time and again.
pub(crate) struct Fetcher {
    source: Box<dyn KeySource>,
    names: Vec<SecretName>,
    holdings: Holdings,
    clock: Arc<dyn Clock>,
}

impl Fetcher {
    /// Asks this source for all secrets that the configuration names. The clock
    /// only ever makes a certificate be replaced earlier.
    pub(crate) fn new(
        source: Box<dyn KeySource>,
        configuration: &MeasuredConfiguration,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let names = configuration.secrets().keys().cloned().collect();
        Self { source, names, holdings: Holdings::default(), clock }
    }

    /// Fetches for the first time, within `limit`; without one, tries for ever. Gives
    /// what was released, and when it was asked for. Time is tokio's.
    pub(crate) async fn fetch(
        &mut self,
        backoff: &mut Backoff,
        limit: Option<Duration>,
    ) -> Result<(Released, Instant), FetchError> {
        let start = Instant::now();
        backoff.reset();
        let mut attempts = 0;
        loop {
            attempts += 1;
            let error = match self.attempt().await {
                Ok((answer, asked)) => {
                    let released = self.changes(answer);
                    self.record(&released, asked);
                    return Ok((released, asked));
                }
                Err(error) => error,
            };
            if !error.retry() {
                return Err(FetchError::Refused(error));
            }
            let mut delay = backoff.next_delay_after(error.retry_after());
            if let Some(limit) = limit {
                let left = limit.saturating_sub(start.elapsed());
                if left.is_zero() {
                    return Err(FetchError::Unreachable { limit, attempts, last: error });
                }
                // The last attempt is at the end of the time, whatever chance says.
                delay = delay.min(left);
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

    /// One attempt: the answer, and when it was asked for.
    pub(crate) async fn attempt(&self) -> Result<(Answer, Instant), AttemptError> {
        let asked = Instant::now();
        let wanted = self.holdings.wants_certificate(asked) && !self.names.is_empty();
        let answer = self.ask(wanted).await?;
        if self.holdings.complete(&answer) {
            return Ok((answer, asked));
        }
        // A certificate that this replica doesn't have, or no longer the same.
        let asked = Instant::now();
        let answer = self.ask(true).await?;
        if !self.holdings.complete(&answer) {
            return Err(AnswerError::new("a certificate was requested and did not come").into());
        }
        Ok((answer, asked))
    }

    /// Each request for a certificate is for a key of its own.
    async fn ask(&self, certificate: bool) -> Result<Answer, AttemptError> {
        let names: Vec<&SecretName> = self.names.iter().collect();
        let key = if certificate { Some(CertificateKey::generate()?) } else { None };
        self.source.secrets(&names, key.as_ref()).await
    }

    /// The part of an answer that changes something.
    pub(crate) fn changes(&self, answer: Answer) -> Released {
        self.holdings.changes(answer)
    }

    /// Remembers that this is in place.
    pub(crate) fn record(&mut self, released: &Released, asked: Instant) {
        self.holdings.record(released, asked, self.clock.now());
    }

    /// When the next certificate is to be replaced.
    pub(crate) fn certificate_due(&self) -> Option<Instant> {
        self.holdings.certificate_due()
    }
}

#[cfg(test)]
mod tests;
