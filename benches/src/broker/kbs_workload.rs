//! A workload that asks as a guest of Confidential Containers does.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use adytum_evidence::{
    attester::Attester as _,
    measurement::{ReportData, WorkloadIdentity},
};
use adytum_sim::{Platform, SimAttester};
use adytum_testkit::kbs::{HttpAnswer, KbsClient, KeyKind};
use adytum_tests::deployment::Deployment;
use anyhow::{Result, anyhow, ensure};
use base64::{Engine, engine::general_purpose::STANDARD};
use kbs_types::Tee;

use super::workload::Found;

/// The path of its secret.
pub(super) const RESOURCE: &str = "default/bench/secret";

/// A workload that asks as a guest of Confidential Containers does.
#[derive(Clone)]
pub(super) struct KbsWorkload {
    address: SocketAddr,
    attester: Arc<SimAttester>,
    turned_away: Arc<AtomicUsize>,
}

impl KbsWorkload {
    pub(super) fn new(
        deployment: &Deployment,
        address: SocketAddr,
        identity: WorkloadIdentity,
    ) -> Result<Self> {
        let platform = Platform::open(deployment.platform_directory())?;
        Ok(Self {
            address,
            attester: Arc::new(SimAttester::new(platform, identity)),
            turned_away: Arc::default(),
        })
    }

    /// A flow. It is begun again when the broker asks for that, as our own workload does.
    async fn flow(&self) -> Result<()> {
        loop {
            match self.attempt().await? {
                Ok(()) => return Ok(()),
                Err(answer) if answer.status == 503 => {
                    let seconds = answer.field("retry-after").and_then(|seconds| seconds.parse().ok());
                    self.turned_away.fetch_add(1, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_secs(seconds.unwrap_or(1))).await;
                }
                Err(answer) => return Err(anyhow!("{answer:?}")),
            }
        }
    }

    /// A new connection, a fresh key, a challenge, evidence made and verified, and one secret
    /// released to that key; or the refusal.
    async fn attempt(&self) -> Result<Result<(), HttpAnswer>> {
        let mut client = KbsClient::connect(self.address, KeyKind::P256).await;
        let challenge = match client.auth(Tee::Sgx).await {
            Ok(challenge) => challenge,
            Err(refused) => return Ok(Err(refused)),
        };
        let (runtime_data, digest) = client.runtime_data(&challenge);
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let evidence = self.attester.evidence(ReportData(report_data)).await?;
        let quote = serde_json::json!({ "quote": STANDARD.encode(evidence.bytes) });
        if let Err(refused) = client.attest(runtime_data, quote).await {
            return Ok(Err(refused));
        }
        let released = client.resource(RESOURCE).await;
        if let Ok(secret) = &released {
            ensure!(!secret.is_empty(), "no secret was released");
        }
        Ok(released.map(drop))
    }

    /// Flows from `clients` tasks for `duration`.
    pub(super) async fn run(&self, clients: usize, duration: Duration) -> Result<Found> {
        let start = Instant::now();
        let tasks: Vec<_> = (0..clients)
            .map(|_| {
                let workload = self.clone();
                tokio::spawn(async move {
                    let mut latencies = Vec::new();
                    while start.elapsed() < duration {
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
        Found::of(latencies, start.elapsed(), self.turned_away.swap(0, Ordering::Relaxed))
    }
}
