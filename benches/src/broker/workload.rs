//! A workload that asks: complete attest-and-release flows (a new TLS 1.3
//! connection with a fresh key, both ends' evidence made and verified, one secret
//! released, closed), and the same secret again on a session that stays.

use std::{
    fs,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_api::broker::{GetSecretsRequest, key_broker_client::KeyBrokerClient};
use adytum_evidence::{
    claims::Claims, clock::SystemClock, collateral, measurement::WorkloadIdentity, policy::Policy,
    verifier::Verifier,
};
use adytum_governance::pin::BrokerPin;
use adytum_ratls::{
    configuration::ConnectorConfiguration,
    connector::{AttestedConnector, AttestedSession, SessionKeyKeeper},
    error::{Refusal, SessionError},
    limits::Limits,
    session::LocalAttestation,
};
use adytum_sim::{Platform, SimAttester};
use adytum_tests::deployment::{Broker, Deployment};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use tonic::transport::Channel;

/// What one run found.
pub(crate) struct Found {
    pub(crate) flows: usize,
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// Attempts that the broker refused, to be tried again.
    pub(crate) turned_away: usize,
}

impl Found {
    pub(super) fn of(mut latencies: Vec<Duration>, elapsed: Duration, turned_away: usize) -> Result<Self> {
        ensure!(!latencies.is_empty(), "no flow ended");
        latencies.sort();
        let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
        Ok(Self {
            flows: latencies.len(),
            per_second: latencies.len() as f64 / elapsed.as_secs_f64(),
            p50: quantile(0.5),
            p99: quantile(0.99),
            turned_away,
        })
    }
}

/// A workload that asks for secrets as a replica does.
#[derive(Clone)]
pub(crate) struct Workload {
    connector: AttestedConnector,
    address: String,
    secret: String,
    turned_away: Arc<AtomicUsize>,
}

/// The same workload on machines that nobody has seen before.
pub(crate) struct Machines(Vec<Workload>);

impl Machines {
    /// One flow on each, from `clients` tasks.
    pub(crate) async fn run_once_each(self, clients: usize) -> Result<Found> {
        let start = Instant::now();
        let waiting = Arc::new(Mutex::new(self.0));
        let turned_away = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (waiting, turned_away) = (Arc::clone(&waiting), Arc::clone(&turned_away));
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    loop {
                        let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                        let Some(workload) = next else { return Ok::<_, anyhow::Error>(latencies) };
                        let begin = Instant::now();
                        workload.flow().await?;
                        latencies.push(begin.elapsed());
                        turned_away
                            .fetch_add(workload.turned_away.load(Ordering::Relaxed), Ordering::Relaxed);
                    }
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Found::of(latencies, start.elapsed(), turned_away.load(Ordering::Relaxed))
    }
}

impl Workload {
    /// A workload of this identity on the deployment's platform.
    pub(crate) fn new(
        deployment: &Deployment,
        broker: &Broker,
        identity: WorkloadIdentity,
        secret: &str,
        quote_latency: Duration,
    ) -> Result<Self> {
        let platform = Platform::open(deployment.platform_directory())?;
        Self::on(platform, deployment, broker, identity, secret, quote_latency)
    }

    fn on(
        platform: Arc<Platform>,
        deployment: &Deployment,
        broker: &Broker,
        identity: WorkloadIdentity,
        secret: &str,
        quote_latency: Duration,
    ) -> Result<Self> {
        let attester = SimAttester::new(platform, identity);
        let connector = connector(deployment, broker, Some(attester.quote_latency(quote_latency)))?;
        let (address, secret) = (broker.address().to_owned(), secret.to_owned());
        Ok(Self { connector, address, secret, turned_away: Arc::default() })
    }

    /// The same workload on this number of other machines.
    pub(crate) fn on_machines(
        number: usize,
        deployment: &Deployment,
        broker: &Broker,
        identity: WorkloadIdentity,
        secret: &str,
    ) -> Result<Machines> {
        let platform = Platform::open(deployment.platform_directory())?;
        let machines = (0..number).map(|_| {
            let machine = platform.another_machine()?;
            Self::on(machine, deployment, broker, identity, secret, Duration::ZERO)
        });
        Ok(Machines(machines.collect::<Result<_>>()?))
    }

    /// A session with a key that the broker has not seen. One that is turned away tries
    /// again when it was asked to, as a replica does.
    async fn session(&self) -> Result<AttestedSession> {
        loop {
            let fresh = self.connector.clone().with_key(SessionKeyKeeper::default());
            match fresh.session(&self.address).await {
                Ok(session) => return Ok(session),
                Err(error) if error.retry() => {
                    self.turned_away.fetch_add(1, Ordering::Relaxed);
                    let after = match &error {
                        SessionError::RefusedByPeer { refusal, .. } => refusal.retry_after(),
                        _ => None,
                    };
                    tokio::time::sleep(after.unwrap_or(Duration::from_millis(100))).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn request(&self) -> GetSecretsRequest {
        GetSecretsRequest { names: vec![self.secret.clone()], ..Default::default() }
    }

    async fn fetch(&self, channel: Channel) -> Result<()> {
        let answer = KeyBrokerClient::new(channel).get_secrets(self.request()).await?.into_inner();
        ensure!(answer.secrets.len() == 1 && !answer.secrets[0].value.is_empty(), "no secret was released");
        Ok(())
    }

    /// One complete flow.
    async fn flow(&self) -> Result<()> {
        let session = self.session().await?;
        self.fetch(session.channel).await
    }

    /// Flows from `clients` tasks for `duration`.
    pub(crate) async fn run(&self, clients: usize, duration: Duration) -> Result<Found> {
        let start = Instant::now();
        let more = Arc::new(move || start.elapsed() < duration);
        self.flows(clients, more).await
    }

    /// `number` flows from `clients` tasks.
    pub(crate) async fn run_flows(&self, clients: usize, number: usize) -> Result<Found> {
        let begun = AtomicUsize::new(0);
        self.flows(clients, Arc::new(move || begun.fetch_add(1, Ordering::Relaxed) < number)).await
    }

    async fn flows<F>(&self, clients: usize, more: Arc<F>) -> Result<Found>
    where
        F: Fn() -> bool + Send + Sync + 'static,
    {
        let (start, before) = (Instant::now(), self.turned_away.load(Ordering::Relaxed));
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (workload, more) = (self.clone(), Arc::clone(&more));
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while more() {
                        let begin = Instant::now();
                        workload.flow().await?;
                        latencies.push(begin.elapsed());
                    }
                    Ok::<_, anyhow::Error>(latencies)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Found::of(latencies, start.elapsed(), self.turned_away.load(Ordering::Relaxed) - before)
    }

    /// `number` attested sessions, on each of which a secret was fetched.
    pub(crate) async fn hold(&self, number: usize) -> Result<Vec<AttestedSession>> {
        let mut held = Vec::with_capacity(number);
        for _ in 0..number {
            let session = self.session().await?;
            self.fetch(session.channel.clone()).await?;
            held.push(session);
        }
        Ok(held)
    }

    /// The same secret again and again: on each of `sessions` attested sessions,
    /// `in_flight` requests at once.
    pub(crate) async fn refetch(
        &self,
        sessions: usize,
        in_flight: usize,
        duration: Duration,
    ) -> Result<Found> {
        let sessions = self.hold(sessions).await?;
        let start = Instant::now();
        let tasks: Vec<_> = sessions
            .iter()
            .flat_map(|session| std::iter::repeat_n(session, in_flight))
            .map(|session| {
                let (workload, channel) = (self.clone(), session.channel.clone());
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while start.elapsed() < duration {
                        let begin = Instant::now();
                        workload.fetch(channel.clone()).await?;
                        latencies.push(begin.elapsed());
                    }
                    Ok::<_, anyhow::Error>(latencies)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        Found::of(latencies, start.elapsed(), 0)
    }
}

/// Connects to this broker, which it verifies; with evidence of its own or without.
pub(crate) fn connector(
    deployment: &Deployment,
    broker: &Broker,
    attester: Option<SimAttester>,
) -> Result<AttestedConnector> {
    let platform = Platform::open(deployment.platform_directory())?;
    let policy: Policy = toml::from_str(&fs::read_to_string(broker.policy())?).context("broker policy")?;
    let verifier = Verifier::new(
        vec![platform.trust_root()?],
        collateral::from_url(deployment.pccs_url())?,
        Arc::new(SystemClock),
    );
    let pin = BrokerPin { policy, genesis: broker.genesis_digest().parse()?, occlum: Default::default() };
    Ok(AttestedConnector::new(ConnectorConfiguration {
        verifier: Arc::new(verifier),
        judge: Arc::new(move |claims: &Claims, announcement: &[u8]| {
            let judged = pin.judge(claims, announcement).map(drop);
            judged.map_err(|error| Refusal::verdict(error.code(), error.to_string()))
        }),
        local: attester.map(|attester| LocalAttestation {
            attester: Arc::new(attester),
            announcement: Arc::new(Bytes::new),
        }),
        limits: Limits::default(),
    }))
}
