//! Quotes that are made away from the threads that serve: some interfaces of TEEs block.

use std::sync::Arc;

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    evidence::Evidence,
    measurement::ReportData,
};
use async_trait::async_trait;
use tokio::runtime::Handle;

/// An attester whose quotes are made on another runtime.
pub(super) struct OnRuntime {
    attester: Arc<dyn Attester>,
    handle: Handle,
}

impl OnRuntime {
    pub(super) fn new(attester: Arc<dyn Attester>, handle: Handle) -> Self {
        Self { attester, handle }
    }
}

#[async_trait]
impl Attester for OnRuntime {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        let attester = Arc::clone(&self.attester);
        let made = self.handle.spawn(async move { attester.evidence(report_data).await });
        made.await.unwrap_or_else(|error| {
            Err(AttesterError::Interface {
                interface: self.platform().to_string(),
                operation: "make a quote",
                reason: error.to_string(),
            })
        })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.attester.sealing_key()
    }

    fn platform(&self) -> TeePlatform {
        self.attester.platform()
    }
}
