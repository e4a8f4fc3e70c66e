//! A workload that asks as a guest of Confidential Containers does.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use adytum_evidence::{
    attester::Attester as _,
    measurement::{ReportData, WorkloadIdentity},
};
use adytum_sim::{Platform, SimAttester};
use adytum_testkit::kbs::{KbsClient, KeyKind};
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
}

impl KbsWorkload {
    pub(super) fn new(
        deployment: &Deployment,
        address: SocketAddr,
        identity: WorkloadIdentity,
    ) -> Result<Self> {
        let platform = Platform::open(deployment.platform_directory())?;
        Ok(Self { address, attester: Arc::new(SimAttester::new(platform, identity)) })
    }

    /// A new connection, a fresh key, a challenge, evidence made and verified, and one secret
    /// released to that key.
    async fn flow(&self) -> Result<()> {
        let mut client = KbsClient::connect(self.address, KeyKind::P256).await;
        let refused = |answer| anyhow!("{answer:?}");
        let challenge = client.auth(Tee::Sgx).await.map_err(refused)?;
        let (runtime_data, digest) = client.runtime_data(&challenge);
        let mut report_data = [0; 64];
        report_data.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        let evidence = self.attester.evidence(ReportData(report_data)).await?;
        let quote = serde_json::json!({ "quote": STANDARD.encode(evidence.bytes) });
        client.attest(runtime_data, quote).await.map_err(refused)?;
        let secret = client.resource(RESOURCE).await.map_err(refused)?;
        ensure!(!secret.is_empty(), "no secret was released");
        Ok(())
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
        Found::of(latencies, start.elapsed(), 0)
    }
}
