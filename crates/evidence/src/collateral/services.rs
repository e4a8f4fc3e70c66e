//! Vendors' services as sources of collateral.

use async_trait::async_trait;

use super::{
    kinds::{Collateral, CollateralRequest},
    source::CollateralSource,
};
use crate::{dcap::PccsSource, error::CollateralError, snp::KdsSource};

#[async_trait]
impl CollateralSource for PccsSource {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        match request {
            CollateralRequest::Dcap(request) => self.fetch(request).await.map(Collateral::Dcap),
            CollateralRequest::Snp(_) | CollateralRequest::Vcek(_) => {
                Err(CollateralError::NoSource { what: request.to_string() })
            }
        }
    }

    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        match request {
            CollateralRequest::Dcap(request) => {
                let early = self.fetch_early(request).await?;
                Ok(early.map(Collateral::Dcap))
            }
            CollateralRequest::Snp(_) | CollateralRequest::Vcek(_) => Ok(None),
        }
    }
}

#[async_trait]
impl CollateralSource for KdsSource {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        match request {
            CollateralRequest::Snp(request) => self.fetch(request).await.map(Collateral::Snp),
            CollateralRequest::Vcek(request) => self.vcek(request).await.map(Collateral::Vcek),
            CollateralRequest::Dcap(_) => Err(CollateralError::NoSource { what: request.to_string() }),
        }
    }
}
