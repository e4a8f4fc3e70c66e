//! A simulated platform's collateral without a network.

use std::sync::Arc;

use adytum_evidence::{
    claims::TeeKind,
    collateral::{Collateral, CollateralError, CollateralRequest, CollateralSource, DcapRequest},
};
use async_trait::async_trait;

use crate::platform::Platform;

/// Knows the collateral of one or more simulated platforms.
#[derive(Clone, Debug)]
pub struct SimCollateralSource {
    platforms: Vec<Arc<Platform>>,
}

impl SimCollateralSource {
    /// Knows one platform.
    pub fn new(platform: Arc<Platform>) -> Self {
        Self { platforms: vec![platform] }
    }

    /// Knows one more. Of two platforms of one family the first is found.
    #[must_use]
    pub fn and(mut self, platform: Arc<Platform>) -> Self {
        self.platforms.push(platform);
        self
    }

    fn platform(&self, request: &DcapRequest) -> Option<&Arc<Platform>> {
        self.platforms.iter().find(|platform| {
            request.tee == TeeKind::Sgx
                && request.fmspc == platform.fmspc()
                && request.ca == platform.pck_ca()
        })
    }
}

impl Platform {
    /// This platform's collateral, from memory.
    pub fn collateral_source(self: &Arc<Self>) -> SimCollateralSource {
        SimCollateralSource::new(Arc::clone(self))
    }
}

#[async_trait]
impl CollateralSource for SimCollateralSource {
    async fn collateral(&self, request: &CollateralRequest) -> Result<Collateral, CollateralError> {
        let CollateralRequest::Dcap(request) = request else {
            return Err(CollateralError::NoSource { what: request.to_string() });
        };
        self.platform(request).map(|platform| Collateral::Dcap(platform.collateral())).ok_or_else(|| {
            CollateralError::Missing {
                origin: "of the simulated platform".to_owned(),
                what: format!(
                    "collateral for {:?} of family {} certified by {:?}",
                    request.tee, request.fmspc, request.ca
                ),
            }
        })
    }

    async fn early(&self, request: &CollateralRequest) -> Result<Option<Collateral>, CollateralError> {
        let CollateralRequest::Dcap(request) = request else { return Ok(None) };
        let Some(platform) = self.platform(request) else { return Ok(None) };
        let early = platform.early_collateral().map_err(|error| CollateralError::Unreachable {
            origin: "of the simulated platform".to_owned(),
            reason: error.to_string(),
        })?;
        Ok(early.map(|early| Collateral::Dcap(Arc::new(early))))
    }
}
