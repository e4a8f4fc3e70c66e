use std::{
    collections::BTreeMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex},
};

use adytum_api::{
    broker::{self as wire, GetSecretsResponse},
    names::SecretName,
};
use adytum_evidence::clock::{Clock, FixedClock, UnixSeconds};
use adytum_ratls::error::{Refusal, SessionError};
use async_trait::async_trait;
use tokio::{task::JoinHandle, time::sleep};

use super::*;
use crate::{
    certificate::CertificateKey,
    fetch::{Jitter, KeySource},
    fixture::{Authority, with_secrets},
};

const LEASE: u64 = 600;
const GRACE: u64 = 60;
const THIRD: u64 = LEASE / 3;
/// The validity of certificates; a lease is a part of it.
const LIFETIME: u64 = 6000;

struct Longest;

impl Jitter for Longest {
    fn fraction(&mut self) -> f64 {
        1.0
    }
}

/// What the broker does with the next request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Grants,
    Unreachable,
    Silent,
    Refuses,
    HasNoValue,
    /// Somebody else listens there.
    Stranger,
    /// Something refuses that has not proved to be the broker.
    Unverified,
    /// The broker refuses this replica's evidence.
    RefusesEvidence,
    /// The broker can't verify this replica's evidence now.
    LacksCollateral,
    Overloaded,
    Broken,
    SaysNoLease,
}

struct Fixture {
    mood: Mood,
    lease: u64,
    secrets: BTreeMap<&'static str, (wire::SecretKind, Vec<u8>, u64)>,
    /// When there was a request, and the one for a certificate in it.
    requests: Vec<(u64, Option<Vec<u8>>)>,
}

#[derive(Clone)]
struct ScriptedBroker {
    fixture: Arc<Mutex<Fixture>>,
    authority: Arc<Authority>,
    clock: Arc<FixedClock>,
    start: Instant,
}

struct Unlocked {
    released: Released,
    renewal: Renewal,
}

impl ScriptedBroker {
    fn new(secrets: &[(&'static str, wire::SecretKind)]) -> Self {
        let secret = |(name, kind): &(&'static str, wire::SecretKind)| (*name, (*kind, b"first".to_vec(), 1));
        let secrets = secrets.iter().map(secret).collect();
        let fixture = Fixture { mood: Mood::Grants, lease: LEASE, secrets, requests: Vec::new() };
        Self {
            fixture: Arc::new(Mutex::new(fixture)),
            authority: Arc::new(Authority::new()),
            clock: Arc::new(FixedClock::new(UnixSeconds(1_000_000))),
            start: Instant::now(),
        }
    }

    fn seconds(&self) -> u64 {
        self.start.elapsed().as_secs()
    }

    fn set(&self, mood: Mood) {
        self.fixture.lock().unwrap().mood = mood;
    }

    fn rotate(&self, name: &str) {
        let mut fixture = self.fixture.lock().unwrap();
        let (_, value, version) = fixture.secrets.get_mut(name).unwrap();
        *version += 1;
        *value = format!("value {version}").into_bytes();
    }

    /// The seconds at which there were requests, those for certificates marked.
    fn requests(&self) -> Vec<(u64, bool)> {
        self.fixture.lock().unwrap().requests.iter().map(|(at, key)| (*at, key.is_some())).collect()
    }

    async fn unlock(&self, names: &[&str]) -> Unlocked {
        let mut fetcher = Fetcher::new(Box::new(self.clone()), &with_secrets(names), self.clock.clone());
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(30), Longest);
        let (released, asked) = fetcher.fetch(&mut backoff, None).await.unwrap();
        let renewal = Renewal::new(fetcher, backoff, released.lease, asked);
        Unlocked { released, renewal }
    }

    fn answer(&self, names: &[&SecretName], request: Option<&[u8]>) -> GetSecretsResponse {
        let fixture = self.fixture.lock().unwrap();
        let secret = |name: &&SecretName| {
            let (kind, value, version) = &fixture.secrets[name.as_str()];
            let is_certificate =
                matches!(kind, wire::SecretKind::TlsCertificate | wire::SecretKind::SslConfig);
            let now = self.clock.now().0;
            let value = match (is_certificate, request) {
                (false, _) => value.clone(),
                (true, None) => Vec::new(),
                (true, Some(request)) => {
                    self.authority.issue(request, now, Duration::from_secs(LIFETIME)).into_bytes()
                }
            };
            wire::Secret {
                name: name.to_string(),
                kind: (*kind).into(),
                value,
                version: *version,
                ..Default::default()
            }
        };
        let lease = if fixture.mood == Mood::SaysNoLease { 0 } else { fixture.lease };
        GetSecretsResponse {
            secrets: names.iter().map(secret).collect(),
            manifest_version: 1,
            manifest_digest: vec![1; 32],
            lease_seconds: lease.try_into().unwrap(),
            grace_seconds: GRACE.try_into().unwrap(),
            ..Default::default()
        }
    }
}

#[async_trait]
impl KeySource for ScriptedBroker {
    async fn secrets(
        &self,
        names: &[&SecretName],
        key: Option<&CertificateKey>,
    ) -> Result<Answer, AttemptError> {
        let request = key.map(CertificateKey::request).transpose()?;
        self.clock.set(UnixSeconds(1_000_000 + self.seconds()));
        let mood = {
            let mut fixture = self.fixture.lock().unwrap();
            let at = self.seconds();
            fixture.requests.push((at, request.clone()));
            fixture.mood
        };
        let peer = || "broker:1".to_owned();
        let refused = |refusal| Err(AttemptError::Refused { peer: peer(), refusal });
        match mood {
            Mood::Grants | Mood::SaysNoLease => {
                Ok(Answer::from_wire(self.answer(names, request.as_deref()), names, key)?)
            }
            Mood::Unreachable => {
                let source = io::Error::from(io::ErrorKind::ConnectionRefused);
                Err(SessionError::Io { peer: peer(), source }.into())
            }
            Mood::Silent => std::future::pending().await,
            Mood::Refuses => refused(Refusal::verdict("secret-refused", "")),
            Mood::HasNoValue => {
                refused(Refusal { retry: true, ..Refusal::verdict("secret-has-no-value", "") })
            }
            Mood::Overloaded => refused(Refusal::outage("overloaded", "")),
            Mood::Broken => refused(Refusal { retry: false, ..Refusal::outage("grpc-internal", "") }),
            Mood::Stranger => {
                let refusal = Refusal::verdict("genesis-mismatch", "");
                Err(SessionError::Refused { peer: peer(), refusal }.into())
            }
            Mood::LacksCollateral => {
                let refusal = Refusal { retry: false, ..Refusal::outage("collateral-missing", "") };
                Err(SessionError::RefusedByPeer { peer: peer(), refusal, verified: true }.into())
            }
            Mood::Unverified | Mood::RefusesEvidence => {
                let refusal = Refusal::verdict("evidence-invalid", "");
                let verified = mood == Mood::RefusesEvidence;
                Err(SessionError::RefusedByPeer { peer: peer(), refusal, verified }.into())
            }
        }
    }
}

/// What a renewal changed, and when.
type Applied = Arc<Mutex<Vec<(u64, Vec<(String, u64)>)>>>;

/// Renews in a task; gives how it ended, and at which second.
fn keep(broker: &ScriptedBroker, renewal: Renewal, applied: &Applied) -> JoinHandle<(LeaseEnd, u64)> {
    let (broker, applied) = (broker.clone(), Arc::clone(applied));
    tokio::spawn(async move {
        let end = renewal
            .run(|changed| {
                let secrets =
                    changed.secrets.iter().map(|(name, value)| (name.to_string(), value.version())).collect();
                applied.lock().unwrap().push((broker.seconds(), secrets));
                Ok::<_, Infallible>(())
            })
            .await;
        (end, broker.seconds())
    })
}

fn changes(applied: &Applied) -> Vec<(u64, Vec<(String, u64)>)> {
    applied.lock().unwrap().iter().filter(|(_, secrets)| !secrets.is_empty()).cloned().collect()
}

async fn until(broker: &ScriptedBroker, second: u64) {
    sleep(Duration::from_secs(second - broker.seconds())).await;
}

async fn opaque() -> (ScriptedBroker, JoinHandle<(LeaseEnd, u64)>, Applied) {
    let broker = ScriptedBroker::new(&[
        ("model_key", wire::SecretKind::Opaque),
        ("ssl_config", wire::SecretKind::Random),
    ]);
    let unlocked = broker.unlock(&["model_key", "ssl_config"]).await;
    assert_eq!(unlocked.released.secrets.len(), 2);
    let applied = Applied::default();
    let kept = keep(&broker, unlocked.renewal, &applied);
    (broker, kept, applied)
}

#[tokio::test(start_paused = true)]
async fn a_rotated_secret_is_there_within_a_third_of_the_lease_and_the_others_stay() {
    let (broker, kept, applied) = opaque().await;
    until(&broker, THIRD + 1).await;
    broker.rotate("ssl_config");
    until(&broker, 2 * THIRD + 1).await;
    assert_eq!(changes(&applied), [(2 * THIRD, vec![("ssl_config".to_owned(), 2)])]);
    until(&broker, 20 * THIRD + 1).await;
    assert_eq!(changes(&applied).len(), 1, "once");
    assert!(!kept.is_finished(), "it goes on as long as it is renewed");
    assert_eq!(broker.requests().len(), 21);
}

#[tokio::test(start_paused = true)]
async fn after_an_outage_a_rotated_secret_comes_with_the_next_attempt() {
    let (broker, kept, applied) = opaque().await;
    broker.set(Mood::Unreachable);
    broker.rotate("model_key");
    until(&broker, LEASE - 1).await;
    broker.set(Mood::Grants);
    let bound = LEASE - 1 + 30;
    until(&broker, bound).await;
    assert_eq!(changes(&applied).len(), 1, "within the longest delay between attempts");
    // The lease is a new one, from then on.
    until(&broker, bound + LEASE).await;
    assert!(!kept.is_finished());
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_it_ends_with_the_grace_and_not_before() {
    for mood in [
        Mood::Unreachable,
        Mood::Silent,
        Mood::Stranger,
        Mood::Unverified,
        Mood::LacksCollateral,
        Mood::Overloaded,
        Mood::Broken,
        Mood::SaysNoLease,
    ] {
        let (broker, kept, _) = opaque().await;
        // Renewed once, so that the lease runs from then.
        until(&broker, THIRD + 1).await;
        broker.set(mood);
        let (end, second) = kept.await.unwrap();
        assert_eq!(second, THIRD + LEASE + GRACE, "{mood:?}");
        assert_eq!((end.code(), end.exit_code()), ("lease-expired", exit_code::UNREACHABLE), "{mood:?}");
        assert_eq!(end.drain_reason(), DrainReason::LeaseExpired);
        assert!(end.to_string().contains("600") && end.to_string().contains("60"), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_broker_ends_it_with_the_next_renewal() {
    for mood in [Mood::Refuses, Mood::HasNoValue, Mood::RefusesEvidence] {
        let (broker, kept, _) = opaque().await;
        until(&broker, 1).await;
        broker.set(mood);
        let (end, second) = kept.await.unwrap();
        assert_eq!(second, THIRD, "{mood:?}");
        assert_eq!((end.code(), end.exit_code()), ("lease-revoked", exit_code::REFUSED), "{mood:?}");
        assert_eq!(end.drain_reason(), DrainReason::Revoked);
    }
}

#[tokio::test(start_paused = true)]
async fn a_refusal_after_an_outage_ends_it_at_once_too() {
    let (broker, kept, _) = opaque().await;
    broker.set(Mood::Unreachable);
    until(&broker, 300).await;
    broker.set(Mood::Refuses);
    let (end, second) = kept.await.unwrap();
    assert_eq!(end.code(), "lease-revoked");
    assert!(second <= 330, "{second}");
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_put_in_place_comes_again() {
    let broker = ScriptedBroker::new(&[("model_key", wire::SecretKind::Opaque)]);
    let unlocked = broker.unlock(&["model_key"]).await;
    broker.rotate("model_key");
    let (seen, watched) = (Applied::default(), broker.clone());
    let applied = Arc::clone(&seen);
    let kept = tokio::spawn(unlocked.renewal.run(move |changed| {
        let secrets = changed.secrets.keys().map(|name| (name.to_string(), 0)).collect();
        let mut applied = applied.lock().unwrap();
        applied.push((watched.seconds(), secrets));
        if applied.len() == 1 { Err("the disk is full") } else { Ok(()) }
    }));
    until(&broker, 3 * THIRD + 1).await;
    let seconds: Vec<u64> = changes(&seen).iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [THIRD, 2 * THIRD]);
    assert!(!kept.is_finished());
}

#[tokio::test(start_paused = true)]
async fn a_shorter_lease_is_kept_from_the_answer_on() {
    let (broker, kept, _) = opaque().await;
    broker.fixture.lock().unwrap().lease = 30;
    until(&broker, THIRD + 1).await;
    broker.set(Mood::Unreachable);
    let (_, second) = kept.await.unwrap();
    assert_eq!(second, THIRD + 30 + GRACE);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_is_requested_at_first_and_when_a_third_of_it_is_left() {
    let broker = ScriptedBroker::new(&[
        ("ssl_config", wire::SecretKind::SslConfig),
        ("model_key", wire::SecretKind::Opaque),
    ]);
    let unlocked = broker.unlock(&["model_key", "ssl_config"]).await;
    let text = unlocked.released.secrets["ssl_config"].as_bytes().to_vec();
    assert!(text.starts_with(b"server_key: \"-----BEGIN EC PRIVATE KEY-----\\n"));
    let applied = Applied::default();
    let _kept = keep(&broker, unlocked.renewal, &applied);
    until(&broker, LIFETIME + 1).await;
    let requested: Vec<u64> = broker.requests().iter().filter(|(_, key)| *key).map(|(at, _)| *at).collect();
    assert_eq!(requested, [0, LIFETIME * 2 / 3], "and at no renewal in between");
    assert_eq!(changes(&applied), [(LIFETIME * 2 / 3, vec![("ssl_config".to_owned(), 1)])]);
    let fixture = broker.fixture.lock().unwrap();
    let keys: Vec<_> = fixture.requests.iter().filter_map(|(_, key)| key.clone()).collect();
    assert_ne!(keys[0], keys[1], "each request is for a key of its own");
}

#[tokio::test(start_paused = true)]
async fn a_certificate_of_another_version_is_requested_at_once() {
    let broker = ScriptedBroker::new(&[("tls", wire::SecretKind::TlsCertificate)]);
    let unlocked = broker.unlock(&["tls"]).await;
    let applied = Applied::default();
    let _kept = keep(&broker, unlocked.renewal, &applied);
    until(&broker, 1).await;
    broker.rotate("tls");
    until(&broker, THIRD + 1).await;
    assert_eq!(broker.requests(), [(0, true), (THIRD, false), (THIRD, true)]);
    assert_eq!(changes(&applied), [(THIRD, vec![("tls".to_owned(), 2)])]);
}

#[tokio::test(start_paused = true)]
async fn a_certificate_that_lives_shorter_than_a_lease_is_replaced_in_time() {
    let broker = ScriptedBroker::new(&[("tls", wire::SecretKind::TlsCertificate)]);
    broker.fixture.lock().unwrap().lease = 10 * LIFETIME;
    let unlocked = broker.unlock(&["tls"]).await;
    let applied = Applied::default();
    let _kept = keep(&broker, unlocked.renewal, &applied);
    until(&broker, LIFETIME).await;
    assert_eq!(changes(&applied), [(LIFETIME * 2 / 3, vec![("tls".to_owned(), 1)])]);
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_is_wanted_comes_early_but_not_often() {
    let broker = ScriptedBroker::new(&[("model_key", wire::SecretKind::AgeIdentity)]);
    let Unlocked { renewal, .. } = broker.unlock(&["model_key"]).await;
    let wanted = renewal.wanted();
    let applied = Applied::default();
    let _task = keep(&broker, renewal, &applied);
    sleep(Duration::from_secs(30)).await;
    broker.rotate("model_key");
    wanted.notify_one();
    sleep(Duration::from_secs(1)).await;
    let times = || broker.requests().iter().map(|(at, _)| *at).collect::<Vec<u64>>();
    assert_eq!(times(), [0, 30]);
    assert_eq!(applied.lock().unwrap().len(), 1);
    // Again and again: not before ten seconds have passed.
    for _ in 0..5 {
        wanted.notify_one();
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(20)).await;
    assert_eq!(times(), [0, 30, 40]);
}
