//! One source for each vendor's collateral.

use std::sync::Arc;

use async_trait::async_trait;

use super::{
    CollateralError, CollateralRequest, CollateralSource, QuoteCollateralV3, SnpCollateral, SnpRequest,
    VcekRequest,
};

/// Asks Intel's source for what is Intel's, and AMD's for what is AMD's.
pub struct ByVendor {
    /// For DCAP quotes; simulated platforms' too.
    pub intel: Arc<dyn CollateralSource>,
    /// For SEV-SNP reports.
    pub amd: Arc<dyn CollateralSource>,
}

#[async_trait]
impl CollateralSource for ByVendor {
    async fn collateral(
        &self,
        request: &CollateralRequest,
    ) -> Result<Arc<QuoteCollateralV3>, CollateralError> {
        self.intel.collateral(request).await
    }

    fn refresh(&self) {
        self.intel.refresh();
        self.amd.refresh();
    }

    fn verified(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        self.intel.verified(request, collateral);
    }

    fn refused(&self, request: &CollateralRequest, collateral: &Arc<QuoteCollateralV3>) {
        self.intel.refused(request, collateral);
    }

    async fn snp(&self, request: &SnpRequest) -> Result<Arc<SnpCollateral>, CollateralError> {
        self.amd.snp(request).await
    }

    fn snp_verified(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        self.amd.snp_verified(request, collateral);
    }

    fn snp_refused(&self, request: &SnpRequest, collateral: &Arc<SnpCollateral>) {
        self.amd.snp_refused(request, collateral);
    }

    async fn vcek(&self, request: &VcekRequest) -> Result<Arc<[u8]>, CollateralError> {
        self.amd.vcek(request).await
    }
}
