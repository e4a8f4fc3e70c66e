//! A program in a TEE that shows a token of Azure Attestation in place of its own evidence.

use std::sync::Arc;

use adytum_evidence::{
    attester::{Attester, AttesterError, SealingKey, TeePlatform},
    collateral::CollateralSource,
    evidence::{Evidence, MAXIMUM_EVIDENCE_LENGTH},
    measurement::ReportData,
};
use async_trait::async_trait;

use super::{
    AttestationService, AzureError,
    attestation::{DataType, NAME},
};

/// An attester whose evidence is a token. The 64 bytes that are to be bound are the token's
/// runtime data, so each token is asked for when they are known, and is good for them alone.
///
/// Nothing that the service answers is believed here: who gets the token verifies it, with the
/// service's pinned keys.
pub struct TokenAttester {
    service: AttestationService,
    attester: Arc<dyn Attester>,
    collateral: Option<Arc<dyn CollateralSource>>,
}

impl TokenAttester {
    /// Tokens of `service` about the TEE of `attester`. `collateral` is where the certificates
    /// above a SEV-SNP report come from; other evidence needs none.
    pub fn new(
        service: AttestationService,
        attester: Arc<dyn Attester>,
        collateral: Option<Arc<dyn CollateralSource>>,
    ) -> Self {
        Self { service, attester, collateral }
    }

    async fn token(&self, report_data: ReportData) -> Result<String, AzureError> {
        let collateral = self.collateral.as_deref();
        let token = self.service.token(&*self.attester, collateral, &report_data.0, DataType::Binary).await?;
        if token.len() > MAXIMUM_EVIDENCE_LENGTH {
            return Err(AzureError::TooLarge { service: NAME });
        }
        Ok(token)
    }
}

#[async_trait]
impl Attester for TokenAttester {
    async fn evidence(&self, report_data: ReportData) -> Result<Evidence, AttesterError> {
        match self.token(report_data).await {
            Ok(token) => Ok(Evidence::azure_token(token)),
            Err(AzureError::Attester(error)) => Err(error),
            Err(error) => {
                let (code, retry) = (error.code(), error.retry());
                Err(AttesterError::Service { code, retry, reason: error.to_string() })
            }
        }
    }

    fn sealing_key(&self) -> Result<Option<SealingKey>, AttesterError> {
        self.attester.sealing_key()
    }

    fn platform(&self) -> TeePlatform {
        self.attester.platform()
    }
}
