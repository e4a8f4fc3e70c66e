//! Complete attest-and-release flows: a new TLS 1.3 connection with a fresh key,
//! both ends' evidence made and verified, one secret released, closed.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_api::broker::{GetSecretsRequest, key_broker_client::KeyBrokerClient};
use adytum_evidence::{
    clock::SystemClock, collateral, measurement::WorkloadIdentity, policy::Policy, verifier::Verifier,
};
use adytum_ratls::{
    claims::BrokerPin,
    connector::{AttestedConnector, ConnectorConfiguration},
    limits::Limits,
    session::LocalAttestation,
};
use adytum_sim::{Platform, SimAttester};
use adytum_tests::stage::{Broker, Stage};
use anyhow::{Context, Result, ensure};
use bytes::Bytes;

/// What one run found.
pub(crate) struct Releases {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

/// A workload that asks for secrets as a replica does.
#[derive(Clone)]
pub(crate) struct Workload {
    connector: AttestedConnector,
    address: String,
    secret: String,
}

impl Workload {
    /// A workload of this identity on the stage's platform.
    pub(crate) fn new(
        stage: &Stage,
        broker: &Broker,
        identity: WorkloadIdentity,
        secret: &str,
        quote_latency: Duration,
    ) -> Result<Self> {
        let platform = Platform::open(stage.platform_directory())?;
        let policy: Policy =
            toml::from_str(&fs::read_to_string(broker.policy())?).context("broker policy")?;
        let verifier = Verifier::new(
            vec![platform.trust_root()?],
            collateral::from_url(stage.pccs_url())?,
            Arc::new(SystemClock),
        );
        let connector = AttestedConnector::new(ConnectorConfiguration {
            verifier: Arc::new(verifier),
            judge: Arc::new(BrokerPin { policy, genesis: broker.genesis_digest().parse()? }),
            local: Some(LocalAttestation {
                attester: Arc::new(SimAttester::new(platform, identity).quote_latency(quote_latency)),
                claims: Arc::new(Bytes::new),
            }),
            limits: Limits::default(),
        });
        Ok(Self { connector, address: broker.address().to_owned(), secret: secret.to_owned() })
    }

    /// One complete flow.
    pub(crate) async fn flow(&self) -> Result<()> {
        let session = self.connector.session(&self.address).await?;
        let answer = KeyBrokerClient::new(session.channel)
            .get_secrets(GetSecretsRequest { names: vec![self.secret.clone()], ..Default::default() })
            .await?
            .into_inner();
        ensure!(answer.secrets.len() == 1 && !answer.secrets[0].value.is_empty(), "no secret was released");
        Ok(())
    }

    /// Flows from `clients` tasks for `duration`.
    pub(crate) async fn run(&self, clients: usize, duration: Duration) -> Result<Releases> {
        let done = Arc::new(AtomicU64::new(0));
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let (workload, done) = (self.clone(), Arc::clone(&done));
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while start.elapsed() < duration {
                        let begin = Instant::now();
                        workload.flow().await?;
                        latencies.push(begin.elapsed());
                        done.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, anyhow::Error>(latencies)
                })
            })
            .collect();
        let mut latencies = Vec::new();
        for task in tasks {
            latencies.extend(task.await??);
        }
        let elapsed = start.elapsed().as_secs_f64();
        latencies.sort();
        let quantile = |q: f64| latencies[((latencies.len() - 1) as f64 * q) as usize];
        ensure!(!latencies.is_empty(), "no flow ended");
        Ok(Releases {
            per_second: done.load(Ordering::Relaxed) as f64 / elapsed,
            p50: quantile(0.5),
            p99: quantile(0.99),
        })
    }
}
