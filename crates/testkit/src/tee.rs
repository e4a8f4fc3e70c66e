//! Stubs of a TEE's interface and of a source of collateral.

use std::{pin::Pin, sync::Arc};

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource},
    evidence::Evidence,
    measurement::ReportData,
};
use async_trait::async_trait;
use zeroize::Zeroizing;

/// A machine without a TEE, or a source without collateral.
#[derive(Clone, Copy, Debug)]
pub struct Nothing;

#[async_trait]
impl Attester for Nothing {
    async fn evidence(&self, _report_data: ReportData) -> Result<Evidence, AttesterError> {
        Err(AttesterError::NoTee { looked_for: "nothing".to_owned() })
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        Ok(None)
    }

    fn platform(&self) -> TeePlatform {
        TeePlatform::Simulation
    }
}

#[async_trait]
impl CollateralSource for Nothing {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        Err(CollateralError::Missing { origin: "nowhere".to_owned(), what: request.to_string() })
    }
}

type EvidenceFuture = Pin<Box<dyn Future<Output = Result<Evidence, AttesterError>> + Send>>;

enum Sealing {
    None,
    Key([u8; 32]),
    Of(Arc<dyn Attester>),
}

/// A TEE whose evidence a test makes, to imitate one that hangs, fails or lies.
pub struct ScriptedTee {
    evidence: Box<dyn Fn(ReportData) -> EvidenceFuture + Send + Sync>,
    sealing: Sealing,
    platform: TeePlatform,
}

impl ScriptedTee {
    /// A simulated TEE without a sealing key.
    pub fn new<R>(evidence: impl Fn(ReportData) -> R + Send + Sync + 'static) -> Self
    where
        R: Future<Output = Result<Evidence, AttesterError>> + Send + 'static,
    {
        Self {
            evidence: Box::new(move |report_data| Box::pin(evidence(report_data))),
            sealing: Sealing::None,
            platform: TeePlatform::Simulation,
        }
    }

    /// With the sealing key of this TEE.
    #[must_use]
    pub fn sealing_as(self, tee: Arc<dyn Attester>) -> Self {
        Self { sealing: Sealing::Of(tee), ..self }
    }

    /// With this sealing key.
    #[must_use]
    pub fn sealing_with(self, key: [u8; 32]) -> Self {
        Self { sealing: Sealing::Key(key), ..self }
    }

    /// On this platform.
    #[must_use]
    pub fn on(self, platform: TeePlatform) -> Self {
        Self { platform, ..self }
    }
}

#[async_trait]
impl Attester for ScriptedTee {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        (self.evidence)(report_data).await
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        match &self.sealing {
            Sealing::None => Ok(None),
            Sealing::Key(key) => Ok(Some(SealingKey(Zeroizing::new(*key)))),
            Sealing::Of(tee) => tee.sealing_key(),
        }
    }

    fn platform(&self) -> TeePlatform {
        self.platform
    }
}
