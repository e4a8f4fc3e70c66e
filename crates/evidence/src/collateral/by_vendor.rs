//! One source for each vendor's collateral.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    kinds::{Collateral, CollateralRequest},
    source::CollateralSource,
};
use crate::error::CollateralError;

/// Asks Intel's source for what is Intel's, and AMD's for what is AMD's.
pub struct ByVendor {
    /// For DCAP quotes; simulated platforms' too.
    pub intel: Arc<dyn CollateralSource>,
    pub amd: Arc<dyn CollateralSource>,
}

impl ByVendor {
    fn source(&self, request: &CollateralRequest) -> &Arc<dyn CollateralSource> {
        match request {
            CollateralRequest::Dcap(_) => &self.intel,
            CollateralRequest::Snp(_) | CollateralRequest::Vcek(_) => &self.amd,
        }
    }
}

#[async_trait]
impl CollateralSource for ByVendor {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        self.source(request).collateral(request).await
    }

    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        self.source(request).early(request).await
    }

    fn refresh(&self) {
        self.intel.refresh();
        self.amd.refresh();
    }

    fn verified(&self, request: &CollateralRequest, collateral: &Collateral) {
        self.source(request).verified(request, collateral);
    }

    fn refused(&self, request: &CollateralRequest, collateral: &Collateral) {
        self.source(request).refused(request, collateral);
    }
}
