use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adytum_api::broker::{GetSecretsResponse, Secret};
use async_trait::async_trait;

use adytum_evidence::clock::{FixedClock, UnixSeconds};

use super::*;
use crate::fixture::with_secrets;

/// Fails `failures` times, then answers.
struct Script<F> {
    attempts: Arc<AtomicU64>,
    failures: u64,
    failure: F,
}

#[async_trait]
impl<F: Fn() -> AttemptError + Send + Sync> KeySource for Script<F> {
    async fn secrets(
        &self,
        asked: &[&SecretName],
        key: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        if self.attempts.fetch_add(1, Ordering::SeqCst) < self.failures {
            return Err((self.failure)());
        }
        let secrets = asked
            .iter()
            .map(|name| Secret {
                name: name.to_string(),
                kind: 1,
                value: b"sesame".to_vec(),
                version: 1,
                ..Default::default()
            })
            .collect();
        let answer = GetSecretsResponse {
            secrets,
            models: Vec::new(),
            manifest_version: 1,
            manifest_digest: vec![1; 32],
            lease_seconds: 60,
            ..Default::default()
        };
        Ok(Answer::from_wire(answer, asked, key)?)
    }
}

struct Longest;

impl Jitter for Longest {
    fn fraction(&mut self) -> f64 {
        1.0
    }
}

fn unreachable() -> AttemptError {
    let source = io::Error::from(io::ErrorKind::ConnectionRefused);
    SessionError::Io { peer: "broker:1".to_owned(), source }.into()
}

fn refused() -> AttemptError {
    let refusal = Refusal::verdict("genesis-mismatch", "somebody else's");
    SessionError::Refused { peer: "broker:1".to_owned(), refusal }.into()
}

fn overloaded() -> AttemptError {
    let refusal = Refusal::outage("overloaded", "later");
    AttemptError::Refused { peer: "broker:1".to_owned(), refusal }
}

struct Outcome {
    result: Result<Released, FetchError>,
    attempts: u64,
    seconds: u64,
}

async fn run(failures: u64, failure: fn() -> AttemptError, limit: Option<Duration>) -> Outcome {
    let attempts = Arc::new(AtomicU64::new(0));
    let broker = Box::new(Script { attempts: attempts.clone(), failures, failure });
    let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Longest);
    let start = Instant::now();
    let mut fetcher =
        Fetcher::new(broker, &with_secrets(&["ssl_config"]), Arc::new(FixedClock::new(UnixSeconds(0))));
    let result = fetcher.fetch(&mut backoff, limit).await.map(|(released, _)| released);
    Outcome { result, attempts: attempts.load(Ordering::SeqCst), seconds: start.elapsed().as_secs() }
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_appears_late_is_reached() {
    let outcome = run(8, unreachable, None).await;
    assert_eq!(outcome.result.unwrap().secrets["ssl_config"].as_bytes(), b"sesame");
    assert_eq!((outcome.attempts, outcome.seconds), (9, 1 + 2 + 4 + 8 + 16 + 30 + 30 + 30));
}

#[tokio::test(start_paused = true)]
async fn an_overloaded_broker_is_tried_again() {
    let outcome = run(2, overloaded, None).await;
    assert!(outcome.result.is_ok());
    assert_eq!((outcome.attempts, outcome.seconds), (3, 3));
}

#[tokio::test(start_paused = true)]
async fn a_refusal_ends_it_at_once() {
    let outcome = run(1, refused, None).await;
    assert_eq!((outcome.attempts, outcome.seconds), (1, 0));
    let error = outcome.result.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("genesis-mismatch", exit_code::REFUSED));
    assert!(error.to_string().contains("somebody else's"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_time_allowed_is_kept() {
    let outcome = run(u64::MAX, unreachable, Some(Duration::from_secs(10))).await;
    assert_eq!((outcome.attempts, outcome.seconds), (5, 10), "the last attempt is at the end of the time");
    let error = outcome.result.unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("connection-failed", exit_code::UNREACHABLE));
    assert!(error.to_string().contains("5 attempts"), "{error}");
}
