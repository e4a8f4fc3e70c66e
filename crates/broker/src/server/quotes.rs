//! The TEE makes few quotes at a time, each takes long, and anybody who connects
//! asks for one. So few are asked for at once, few handshakes wait, and one more
//! is refused at once: who waits still gets an answer in time.

use std::{sync::Arc, time::Instant};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey},
    evidence::Evidence,
    measurement::ReportData,
};
use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::metrics::{Metrics, Present};

/// How many quotes at once.
#[derive(Clone, Copy, Debug)]
pub struct QuoteLimits {
    /// Being made.
    pub at_once: usize,
    /// Waiting for that.
    pub waiting: usize,
}

impl Default for QuoteLimits {
    fn default() -> Self {
        Self { at_once: 64, waiting: 320 }
    }
}

/// An attester within limits.
pub(super) struct LimitedAttester {
    attester: Arc<dyn Attester>,
    metrics: Arc<Metrics>,
    at_once: Semaphore,
    /// Being made or waiting.
    admitted: Semaphore,
}

impl LimitedAttester {
    pub(super) fn new(attester: Arc<dyn Attester>, metrics: Arc<Metrics>, limits: QuoteLimits) -> Self {
        Self {
            attester,
            metrics,
            at_once: Semaphore::new(limits.at_once),
            admitted: Semaphore::new(limits.at_once.saturating_add(limits.waiting)),
        }
    }
}

#[async_trait]
impl Attester for LimitedAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let metrics = &self.metrics;
        let _admitted = self.admitted.try_acquire().map_err(|_| AttesterError::Overloaded)?;
        let waiting = Present::in_(&metrics.quotes_waiting);
        let _turn = self.at_once.acquire().await.map_err(|_| AttesterError::Overloaded)?;
        drop(waiting);
        let _making = Present::in_(&metrics.quotes_in_flight);
        let began = Instant::now();
        let evidence = self.attester.evidence(report_data).await;
        metrics.quote_seconds.observe(began.elapsed().as_secs_f64());
        evidence
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.attester.sealing_key()
    }

    fn platform(&self) -> &'static str {
        self.attester.platform()
    }
}
