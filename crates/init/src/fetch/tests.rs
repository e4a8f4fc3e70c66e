use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use adytum_api::broker::{GetSecretsResponse, Secret};
use async_trait::async_trait;

use adytum_emulators::kbs;
use adytum_evidence::{
    clock::{FixedClock, UnixSeconds},
    measurement::{MrEnclave, WorkloadIdentity},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use super::*;
use crate::{
    cdh::{CdhPort, CdhResources},
    configuration::PinnedSource,
    fixture::with_secrets,
};

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

/// A guest without Confidential Containers: `kbs:///` of its programs is answered from a KBS.
#[tokio::test]
async fn a_resource_of_a_kbs_reaches_the_programs_of_the_guest() {
    let platform = adytum_sim::Platform::ephemeral().unwrap();
    let identity = WorkloadIdentity([0x1c; 32]);
    let server = kbs::Running::start(kbs::Options {
        platform: platform.clone(),
        client: MrEnclave(identity.0),
        resources: BTreeMap::from([("team/key/model".to_owned(), b"sesame".to_vec())]),
        hash: None,
        lie: kbs::Lie::None,
    })
    .await;
    let text = format!(
        "format = \"adytum workload v1\"\n[kbs]\nurl = \"https://{}\"\nroots = \"\"\"\n{}\"\"\"\n[lease]\nduration = \
         \"1h\"\n[[secret]]\nname = \"model_key\"\nlocation = \"team/key/model\"\n[[cdh]]\nresource = \
         \"default/key/model\"\nsecret = \"model_key\"\n",
        kbs::NAME,
        server.root()
    );
    let configuration = MeasuredConfiguration::parse(&text).unwrap();
    let PinnedSource::Kbs(pinned) = configuration.source() else { panic!() };
    let attester = Arc::new(adytum_sim::SimAttester::new(platform, identity));
    let source = KbsSource::new(pinned, &configuration, Some(server.address()), attester).unwrap();
    let mut fetcher =
        Fetcher::new(Box::new(source), &configuration, Arc::new(FixedClock::new(UnixSeconds(0))));
    let resources = CdhResources::default();
    let (released, _) = fetcher.fetch(&mut Backoff::default(), None).await.unwrap();
    resources.take(&configuration, &released);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = CdhPort::on(listener, resources.clone()).unwrap();
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(port.address).await.unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().to_owned(), body.to_owned())
    };
    assert_eq!(get("/cdh/resource/default/key/model").await, ("200".to_owned(), "sesame".to_owned()));
    // The name at the KBS is not the guest's.
    assert_eq!(get("/cdh/resource/team/key/model").await.0, "404");
    // What changes there reaches the guest with the next renewal, and a refusal changes nothing.
    server.put("team/key/model", b"mellon");
    let (answer, _) = fetcher.attempt().await.unwrap();
    resources.take(&configuration, &fetcher.changes(answer));
    assert_eq!(get("/cdh/resource/default/key/model").await.1, "mellon");
    server.release_to(MrEnclave([0; 32]));
    assert_eq!(fetcher.attempt().await.unwrap_err().code(), "kbs-source-refused");
    assert_eq!(get("/cdh/resource/default/key/model").await.1, "mellon");
}
